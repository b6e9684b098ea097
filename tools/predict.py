"""Classify images with a trained run.

python tools/predict.py --model-dir output/demo/LARE/seed0 IMAGE_OR_FOLDER...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, run_tool


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(
        description="Classify images with a trained run. Exit code 0 if all are classified, 2 if some cannot be."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="folders are searched through and through")
    parser.add_argument("--model-dir", required=True, metavar="PATH", help="folder of a run, or its classifier file")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes to name for each image (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line and image, not a table")
    parser.add_argument("--backbone", default="", metavar="NAME", help="frozen model, if it is called otherwise here")
    parser.add_argument("--pretrained", default="", metavar="TAG_OR_FILE", help="its weights, if they have moved")
    parser.add_argument("--batch-size", type=int, default=64, metavar="N", help="images encoded at once (default 64)")
    return parser.parse_args(arguments)


def main() -> int:
    """Classify and show; gives the exit code."""
    parsed = parse_arguments()

    def open_command() -> Callable[[], None]:
        from lare_dassl.commands.predict import predict

        return lambda: predict(parsed)

    return run_tool(open_command)


if __name__ == "__main__":
    sys.exit(main())
