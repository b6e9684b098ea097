"""Classify images with a trained run.

python tools/predict.py --model-dir output/demo/LARE/seed0 IMAGE_OR_FOLDER...
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, run_tool


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(
        description="Classify images with a trained run. Exit code 0 if all are classified, 2 if some cannot be."
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="folders are searched through and through")
    parser.add_argument("--model-dir", required=True, metavar="PATH", help="folder of a run, or its classifier file")
    parser.add_argument("--top", type=int, metavar="K", help="classes to name for each image (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON object per line and image, not a table")
    parser.add_argument("--backbone", metavar="NAME", help="frozen model, if it is called otherwise here")
    parser.add_argument("--pretrained", metavar="TAG_OR_FILE", help="its weights, if they have moved")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images encoded at once (default 64)")
    return vars(parser.parse_args(words))


def main() -> int:
    """Classify and show; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.predict import predict
        from lare_dassl.config.request import PredictRequest, request_of

        predict(request_of(PredictRequest, flags))

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
