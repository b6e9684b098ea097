"""Encode a dataset with a frozen model and write its embeddings to one file (format embedding-file/1).

python tools/extract.py --dataset-config-file configs/demo.yaml --output demo.safetensors
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, add_data_flags, add_engine_flags, run_tool


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Encode a dataset and write its embeddings to one file.")
    parser.add_argument("--output", required=True, metavar="FILE", help="the embedding file to write (.safetensors)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="in the file")
    add_engine_flags(parser)
    add_data_flags(parser)
    return parser.parse_args(arguments)


def main() -> int:
    """Encode and write; gives the exit code."""
    parsed = parse_arguments()

    def open_command() -> Callable[[], None]:
        from lare_dassl.commands.run import extract

        return lambda: extract(parsed)

    return run_tool(open_command)


if __name__ == "__main__":
    sys.exit(main())
