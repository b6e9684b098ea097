"""Nothing in the package can run code that a file holds: found in its syntax, so that a new way in is noticed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("lare_dassl", "tools", "benchmarks") for path in (ROOT / folder).rglob("*.py"))

FORBIDDEN_MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "runpy"),
    *("code", "imp", "codeop", "pty", "xmlrpc", "xml"),
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_ATTRIBUTES = {
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader", "yaml.FullLoader"),
    *("yaml.UnsafeLoader", "yaml.CLoader", "np.load", "numpy.load", "np.fromfile", "pd.read_pickle", "os.system"),
    *("os.popen", "os.execv", "os.spawnv", "torch.jit.load", "torch.hub.load", "torch.package", "logging.config"),
    *("shutil.unpack_archive", "serialization.add_safe_globals"),
}
FORBIDDEN_METHODS = {"extractall", "extract", "unsafe_load", "add_safe_globals", "read_pickle", "system", "popen"}
ALLOWED = {
    # An unpickler that looks up nothing but arrays of bytes.
    ("lare_dassl/datasets/cifar_files.py", "import pickle"),
    # Of members that are checked before; tarfile's data filter looks at them again.
    ("lare_dassl/commands/prepare/archives.py", "self.file.extract"),
    ("lare_dassl/commands/prepare/archives.py", "archive.extract"),
    ("lare_dassl/datasets/cifar_files.py", "pickle.Unpickler"),
    ("lare_dassl/datasets/cifar_files.py", "pickle.UnpicklingError"),
    # --plugin names a module of the user's own; the others are names in the source.
    ("lare_dassl/config/plugins.py", "import_module of a variable"),
    ("lare_dassl/host/door.py", "import_module of a variable"),
}


def dotted(node: ast.AST) -> str:
    """The name that an expression spells, such as "torch.load"; "" for others."""
    if isinstance(node, ast.Name):
        return node.id
    base = dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{base}.{node.attr}" if base and isinstance(node, ast.Attribute) else ""


def is_set(call: ast.Call, name: str, *values: bool) -> bool:
    """Whether an argument is given, and as none of these values."""
    given = [word.value for word in call.keywords if word.arg == name]
    return bool(given) and not (isinstance(given[0], ast.Constant) and given[0].value in values)


def is_true(call: ast.Call, name: str) -> bool:
    return is_set(call, name) and not is_set(call, name, True)


def call_faults(call: ast.Call) -> list[str]:
    name = dotted(call.func)
    faults = [f"{name}()"] if name in FORBIDDEN_NAMES else []
    faults += [f"{word}=" for word in ("shell", "allow_pickle", "trust_remote_code") if is_set(call, word, False)]
    if name.endswith("torch.load") and not is_true(call, "weights_only"):
        faults.append("torch.load without weights_only=True")
    if name.rpartition(".")[2] == "import_module" and not isinstance(call.args[0], ast.Constant):
        faults.append("import_module of a variable")
    if name.endswith("Environment") and not is_true(call, "autoescape"):
        faults.append("jinja2 without autoescape=True")
    return faults


def node_faults(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [f"import {name.name}" for name in node.names if name.name.partition(".")[0] in FORBIDDEN_MODULES]
    if isinstance(node, ast.ImportFrom):
        module = node.module or ""
        names = [f"{module}.{name.name}" for name in node.names]
        bad = [name for name in names if name in {*FORBIDDEN_ATTRIBUTES, "torch.load", "importlib.import_module"}]
        return [f"import {module}"] if node.level == 0 and module.partition(".")[0] in FORBIDDEN_MODULES else bad
    if isinstance(node, ast.Attribute):
        name = dotted(node)
        listed = name in FORBIDDEN_ATTRIBUTES or name.startswith("pickle.") or node.attr in FORBIDDEN_METHODS
        return [name or node.attr] if listed else []
    return call_faults(node) if isinstance(node, ast.Call) else []


def faults_of(text: str) -> list[str]:
    """The ways to run a file's code that a source holds."""
    return [fault for node in ast.walk(ast.parse(text)) for fault in node_faults(node)]


def test_no_source_can_run_what_a_file_holds():
    found = {
        (path.relative_to(ROOT).as_posix(), fault)
        for path in SOURCES
        for fault in faults_of(path.read_text(encoding="utf-8"))
    }
    assert len(SOURCES) > 100
    assert found == ALLOWED


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "from pickle import Unpickler as U",
        "import torch\ntorch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "from torch import load",
        "yaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__(name)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "import shelve",
        "import marshal",
        "subprocess.run(text, shell=True)",
        "subprocess.run(text, shell=flag)",
        "os.system(text)",
        "tarfile.open(path).extractall(folder)",
        "importlib.import_module(name)",
        "from importlib import import_module",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "torch.jit.load(path)",
        "torch.serialization.add_safe_globals([f])",
        "jinja2.Environment(loader=loader)",
        "pd.read_pickle(path)",
    ],
)
def test_each_way_would_be_found(text):
    assert faults_of(text)


@pytest.mark.parametrize(
    "text", ["model.eval()", "torch.load(path, weights_only=True)", "yaml.safe_load(text)", "re.compile(text)"]
)
def test_what_runs_nothing_passes(text):
    assert faults_of(text) == []


def test_templates_take_nothing_as_markup_that_is_not_marked_in_the_source():
    template = (ROOT / "lare_dassl/assets/report/page.html").read_text(encoding="utf-8")
    assert "safe" not in template.replace("unsafe-inline", "") and "autoescape" not in template
    marked = {path.name for path in SOURCES if "Markup(" in path.read_text(encoding="utf-8")}
    assert marked == {"page.py"}
