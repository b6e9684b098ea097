"""Encode a dataset with a frozen model and write its embeddings to one file (format embedding-file/1).

python tools/extract.py --dataset-config-file configs/demo.yaml --output demo.safetensors
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, add_data_flags, add_engine_flags, run_tool


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(description="Encode a dataset and write its embeddings to one file.")
    parser.add_argument("--output", required=True, metavar="FILE", help="the embedding file to write (.safetensors)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="in the file (default float32)")
    add_engine_flags(parser)
    add_data_flags(parser)
    return vars(parser.parse_args(words))


def main() -> int:
    """Encode and write; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.extract import extract
        from lare_dassl.config.request import ExtractRequest, request_of

        extract(request_of(ExtractRequest, flags))

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
