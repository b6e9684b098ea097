"""Get the files of a dataset, unpack them, and verify what is there.

python tools/prepare_data.py cub --root data
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools.arguments import Parser, run_tool


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Get the files of a dataset, unpack them, and verify what is there.")
    parser.add_argument("name", metavar="NAME", help="cub, cifar100, domainnet_mini, pacs, office_home, vlcs or demo")
    parser.add_argument(
        "--root", default="data", metavar="PATH", help="where the datasets are (DATASET.ROOT; default data)"
    )
    parser.add_argument("--no-download", action="store_true", help="use what is there alone")
    parser.add_argument(
        "--sample", default="200", metavar="N", help="images decoded to see that they can be, or all (default 200)"
    )
    parser.add_argument("--delete-archives", action="store_true", help="delete archives once all is in its place")
    parser.add_argument("opts", nargs="*", default=[], metavar="KEY VALUE", help="further settings")
    return parser.parse_intermixed_args(arguments)


def main() -> int:
    """Prepare a dataset; gives the exit code."""
    parsed = parse_arguments()

    def open_command() -> Callable[[], None]:
        from lare_dassl.commands.prepare.prepare import prepare

        return lambda: prepare(parsed, ROOT / "configs")

    return run_tool(open_command)


if __name__ == "__main__":
    sys.exit(main())
