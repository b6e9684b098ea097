"""Get the files of a dataset, unpack them, and verify what is there.

python tools/prepare_data.py cub --root data
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools.arguments import Parser, run_tool


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(description="Get the files of a dataset, unpack them, and verify what is there.")
    parser.add_argument("name", metavar="NAME", help="cub, cifar100, domainnet_mini, pacs, office_home, vlcs or demo")
    parser.add_argument("--root", metavar="PATH", help="where the datasets are (DATASET.ROOT; default data)")
    parser.add_argument("--no-download", action="store_true", help="use what is there alone")
    parser.add_argument("--sample", metavar="N", help="images decoded to see that they can be, or all (default 200)")
    parser.add_argument("--delete-archives", action="store_true", help="delete archives once all is in its place")
    parser.add_argument("overrides", nargs="*", metavar="KEY VALUE", help="further settings")
    return vars(parser.parse_intermixed_args(words))


def main() -> int:
    """Prepare a dataset; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.prepare.prepare import prepare
        from lare_dassl.config.request import PrepareRequest, request_of

        prepare(request_of(PrepareRequest, flags), ROOT / "configs")

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
