"""Write one self-contained HTML file with tables, figures and a look inside LARE from all runs below a folder.

python tools/report.py out/bench
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, run_tool

WRITTEN = (
    "Beside the page, into a folder of its name (FOLDER/report), go its tables, tables.md in Markdown and tables.tex "
    "in LaTeX; summary.csv with mean, standard deviation and number of seeds of each cell, runs.csv with a row and the "
    "folder of each run, and differences.csv with the paired differences; and each figure as .png and .svg."
)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Write an HTML report of all runs below a folder.", epilog=WRITTEN)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds the folders of the runs")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="the HTML file (default FOLDER/report.html)",
    )
    parser.add_argument(
        "--baseline", default="", metavar="NAME", help="method that the others are compared with (default FineTune)"
    )
    parser.add_argument(
        "--reference", default="", metavar="NAME", help="set accuracies that the literature reports beside them: cub"
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="the LARE run to look into (default: the first of those on the most training images)",
    )
    parser.add_argument("--classes", nargs="+", default=[], metavar="NAME", help="classes to show of it, at most 8")
    return parser.parse_args(arguments)


def main() -> int:
    """Write the report, and say where it is; gives the exit code."""
    parsed = parse_arguments()

    def open_command() -> Callable[[], None]:
        from lare_dassl.commands.run import show
        from lare_dassl.report.page import Options, write_report
        from lare_dassl.system.logs import start_logging

        settings = vars(parsed) | {"output": parsed.output or parsed.folder / "report.html"}
        options = Options(**settings | {"classes": tuple(parsed.classes)})
        start_logging(logging.WARNING)
        return lambda: show(f"report: {write_report(options)}")

    return run_tool(open_command)


if __name__ == "__main__":
    sys.exit(main())
