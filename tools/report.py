"""Write one self-contained HTML file with tables, figures and a look inside LARE from all runs below a folder.

python tools/report.py out/bench
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, run_tool

WRITTEN = (
    "Beside the page, into a folder of its name (FOLDER/report), go its tables, tables.md in Markdown and tables.tex "
    "in LaTeX; summary.csv with mean, standard deviation and number of seeds of each cell, runs.csv with a row and the "
    "folder of each run, and differences.csv with the paired differences; and each figure as .png and .svg."
)


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(description="Write an HTML report of all runs below a folder.", epilog=WRITTEN)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="holds the folders of the runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the HTML file (default FOLDER/report.html)")
    parser.add_argument(
        "--baseline", metavar="NAME", help="method that the others are compared with (default FineTune)"
    )
    parser.add_argument(
        "--reference", metavar="NAME", help="set accuracies that the literature reports beside them: cub"
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="FOLDER",
        help="the LARE run to look into (default: the first of those on the most training images)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes to show of it, at most 8")
    return vars(parser.parse_args(words))


def main() -> int:
    """Write the report, and say where it is; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.console import show
        from lare_dassl.config.request import request_of
        from lare_dassl.report.page import Options, write_report
        from lare_dassl.system.logs import start_logging

        options = request_of(Options, {"output": flags["folder"] / "report.html", **flags})
        start_logging(logging.WARNING)
        show(f"report: {write_report(options)}")

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
