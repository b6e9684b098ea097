"""Nothing in the package can run code that a file holds: found in its text, so that a new way in is noticed."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("lare_dassl", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

# Each is sought in the source as Python writes it again: a statement in one line, without comments.
FORBIDDEN = [
    r"^\s*(?:import|from) (?:_?pickle|cPickle|dill|cloudpickle|joblib|shelve|marshal|jsonpickle|runpy)\b",
    r"^\s*(?:import|from) (?:code|imp|codeop|pty|xmlrpc|xml)\b",
    r"^\s*from (?!safetensors)\w[\w.]* import .*\b(?:load|load_all|unsafe_load|full_load|fromfile|read_pickle)\b",
    r"^\s*from \w[\w.]* import .*\b(?:import_module|system|popen|execv|spawnv|unpack_archive|add_safe_globals)\b",
    r"(?<![\w.])(?:eval|exec|compile|__import__)\(",
    r"\b(?:shell|allow_pickle|trust_remote_code)=(?!False)",
    r"\btorch\.load\((?!.*\bweights_only=True)",
    r"\bimport_module\((?!['\"])",
    r"\bEnvironment\((?!.*\bautoescape=True)",
    r"\byaml\.(?:load|load_all|full_load|unsafe_load|Loader|FullLoader|UnsafeLoader|CLoader)\b",
    r"\b(?:np|numpy)\.(?:load|fromfile)\b",
    r"\bpickle\.\w+",
    r"\btorch\.(?:(?:jit|hub)\.load|package)\b",
    r"\bos\.(?:execv|spawnv)\b",
    r"\blogging\.config\b",
    r"\bshutil\.unpack_archive\b",
    r"\.(?:extractall|extract|unsafe_load|add_safe_globals|read_pickle|system|popen)\b(?!\.| import)",
]
ALLOWED = {
    # An unpickler that looks up nothing but arrays of bytes.
    ("lare_dassl/datasets/cifar_files.py", "import pickle"),
    ("lare_dassl/datasets/cifar_files.py", "pickle.Unpickler"),
    ("lare_dassl/datasets/cifar_files.py", "pickle.UnpicklingError"),
    # Of members that are checked before; tarfile's data filter looks at them again.
    ("lare_dassl/commands/prepare/archives.py", ".extract"),
    # --plugin names a module of the user's own; the others are names in the source.
    ("lare_dassl/config/assembly.py", "import_module("),
    ("lare_dassl/host/door.py", "import_module("),
    ("lare_dassl/trainers/__init__.py", "import_module("),
}


def faults_of(text: str) -> list[str]:
    """The ways to run a file's code that a source holds."""
    lines = ast.unparse(ast.parse(text)).splitlines()
    return [found[0].strip() for line in lines for pattern in FORBIDDEN for found in re.finditer(pattern, line)]


def test_no_source_can_run_what_a_file_holds():
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    assert len(texts) > 100
    assert {(path, fault) for path, text in texts.items() for fault in faults_of(text)} == ALLOWED


WAYS = """
import pickle
from pickle import loads
from pickle import Unpickler as U
import shelve
import marshal
torch.load(path)
torch.load(path, weights_only=False)
torch.load(path, weights_only=flag)
from torch import load
yaml.load(text, Loader=yaml.Loader)
from yaml import unsafe_load
eval(text)
exec(text)
compile(text, '', 'exec')
__import__(name)
np.load(path)
np.load(path, allow_pickle=True)
subprocess.run(text, shell=True)
subprocess.run(text, shell=flag)
os.system(text)
tarfile.open(path).extractall(folder)
importlib.import_module(name)
from importlib import import_module
AutoModel.from_pretrained(name, trust_remote_code=True)
torch.jit.load(path)
torch.serialization.add_safe_globals([f])
jinja2.Environment(loader=loader)
pd.read_pickle(path)
"""


@pytest.mark.parametrize("text", WAYS.strip().splitlines())
def test_each_way_would_be_found(text):
    assert faults_of(text)


@pytest.mark.parametrize(
    "text", ["model.eval()", "torch.load(path, weights_only=True)", "yaml.safe_load(text)", "re.compile(text)"]
)
def test_harmless_calls_pass(text):
    assert faults_of(text) == []


def test_templates_take_nothing_as_markup_that_is_not_marked_in_the_source():
    template = (ROOT / "lare_dassl/assets/report/page.html").read_text(encoding="utf-8")
    assert "safe" not in template.replace("unsafe-inline", "") and "autoescape" not in template
    marked = {path.name for path in SOURCES if "Markup(" in path.read_text(encoding="utf-8")}
    assert marked == {"page.py"}
