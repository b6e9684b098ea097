"""Files that describe the repository, for people and for services."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import yaml

import lare_dassl

ROOT = Path(__file__).parents[1]
YAML_FILES = [ROOT / "CITATION.cff", ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github").rglob("*.yml"))]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
COMMAND = re.compile(r"^python (tools|benchmarks)/(\w+)\.py(.*)", re.MULTILINE)
FILE = re.compile(r"(?<!CoOp/)\b(?:lare_dassl|tests|tools|benchmarks|configs)/[\w/]+\.(?:py|json|yaml)\b")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_yaml_files_are_mappings(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_citation_names_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lare_dassl.__version__


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_files_that_pages_name_are_there(page):
    names = FILE.findall(page.read_text(encoding="utf-8"))
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page):
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_the_examples_of_contributing_are_real():
    blocks = re.findall(r"```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    diffs = [part for block in blocks for part in block.split("+++ b/")[1:]]
    assert len(diffs) >= 8
    for diff in diffs:
        path, added = diff.split("\n", 1)
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not [name for name in re.findall(r"(?:class|def|import|NAME:) (\w+)", added) if name not in source]


def commands(page):
    """Folder, script and words of each command in the code blocks of a page."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [(folder, name, shlex.split(words, comments=True)) for folder, name, words in COMMAND.findall(text)]


@pytest.mark.parametrize("page", list(filter(commands, PAGES)), ids=lambda path: path.name)
def test_commands_in_pages_have_flags_and_configs_that_exist(page):
    for folder, name, words in commands(page):
        assert (ROOT / folder / f"{name}.py").is_file()
        read = getattr(importlib.import_module(f"{folder}.{name}"), "read_flags", None)
        if read and "..." not in words:
            read(words)
        configs = [word for word in words if word.startswith("configs/")]
        assert not [word for word in configs if not (ROOT / word).is_file()]
