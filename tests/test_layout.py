"""The order of the floors: a room imports the rooms below it, never one above, and no two rooms import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "lare_dassl"
# From the top down.
FLOORS = (
    *("commands", "estimators", "report", "trainers", "encoding", "cluster", "results", "datasets", "demo"),
    *("embeddings", "config", "vlm", "host", "methods", "io", "system", "errors"),
)
LOOSE = {"__init__", "__main__", "errors"}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(module: str) -> Iterator[str]:
    """The modules of the package that a module imports, wherever in its text."""
    path = MODULES[module]
    folder = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in MODULES)
        if not isinstance(node, ast.ImportFrom):
            continue
        above = folder[: len(folder) - node.level + 1] if node.level else []
        origin = ".".join([*above, *([node.module] if node.module else [])])
        for name in node.names:
            whole = f"{origin}.{name.name}"
            if whole in MODULES or origin in MODULES:
                yield whole if whole in MODULES else origin


IMPORTS = {module: sorted(set(imported(module))) for module in MODULES}


def floor(module: str) -> int:
    return FLOORS.index(module.split(".")[1])


def test_nothing_lies_loose_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} <= LOOSE


def test_every_folder_is_a_floor():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(FLOORS)


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[1:2] not in ([], ["__main__"])])
def test_imports_run_down(module):
    below = [name for name in IMPORTS[module] if "." in name]
    assert [name for name in below if floor(name) < floor(module)] == []
    assert "lare_dassl" not in IMPORTS[module]


def folder_of(module: str) -> str:
    path = MODULES[module]
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def test_no_two_folders_import_each_other():
    pairs = set()
    for module, targets in IMPORTS.items():
        if module != "lare_dassl":
            pairs |= {(folder_of(module), folder_of(target)) for target in targets}
    both = sorted((one, other) for one, other in pairs if one < other and (other, one) in pairs)
    assert both == []
