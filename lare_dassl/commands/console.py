"""Output of the commands on the terminal: tables and lines."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lare_dassl.errors import printable_lines
from lare_dassl.results.record import BY_DOMAIN, METRICS


def show(content: Table | str) -> None:
    """Print a table or a line on standard output."""
    # Names from data are no markup.
    _PlainConsole(file=sys.stdout, highlight=False, markup=False).print(content, soft_wrap=True)


class _PlainConsole(Console):
    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable_lines(text), **options)


def show_results(results: dict[str, float], split: str, skipped: int = 0) -> None:
    """Print the figures of a test as a table.

    Args:
        results: of the evaluator.
        split: that was tested.
        skipped: images of it that were left out, since they cannot be read.
    """
    if not results:
        return
    without = f" without {skipped} images that cannot be read" if skipped else ""
    table = Table(f"measured on the {split} split{without}", "%")
    for name, title in METRICS.items():
        if name in results:
            table.add_row(title, f"{results[name]:.2f}")
    for name, value in results.items():
        if name.startswith(BY_DOMAIN):
            table.add_row(f"accuracy on {name.removeprefix(BY_DOMAIN)}", f"{value:.2f}")
    show(table)
