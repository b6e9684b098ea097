"""The page docs/methods.md, made from the descriptions of the methods; `make docs` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from .description import LAST, Description, described

HEAD = """# Methods

Each method is a trainer class in `lare_dassl/trainers/`, which declares what stands here; this page is made from these
classes by `make docs`, and `python tools/train.py --help NAME` prints a row. A method trains its head on the embeddings
of the source domains' training images, and on those that it *adds*.

*Needs* names what a method uses beside image embeddings and labels: the class text embeddings (`texts`), descriptions
of domains, the text tower of the model, or validation rows for settings that are left at 0. [keys.md](keys.md) explains
the *keys* of its section; it *sets* other defaults than a linear probe has, and *ignores* some keys.
"""
GROUPS = {
    "paper": "Methods that LARE's paper compares",
    "sibling": "Other methods on frozen embeddings",
    "control": "Controls for LARE",
    "other": "Methods of plugins",
}


def page(plugins: bool = False) -> str:
    """The text of the page.

    Args:
        plugins: take in methods that plugins have registered, in a part of their own.
    """
    methods = [method for method in described() if plugins or method.place < LAST]
    parts = [HEAD]
    for group, title in GROUPS.items():
        rows = [_row(method) for method in methods if method.group == group]
        if rows:
            parts += [f"## {title}\n", *_head(methods[0]), *rows, ""]
    return "\n".join(parts)


def _head(method: Description) -> tuple[str, str]:
    titles = ["method", *method.facts()]
    return f"| {' | '.join(titles)} |", f"|{' --- |' * len(titles)}"


def _row(method: Description) -> str:
    facts = method.facts() | {"keys": f"`{method.section}.*`" if method.own_keys() else ""}
    return f"| {' | '.join([method.label, *facts.values()])} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
