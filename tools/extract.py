"""Encode a dataset with a frozen model and write its embeddings to one file (format embedding-file/1).

python tools/extract.py --dataset-config-file configs/demo.yaml --output demo.safetensors
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import add_data_flags


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Encode a dataset and write its embeddings to one file.")
    parser.add_argument("--output", required=True, metavar="FILE", help="the embedding file to write (.safetensors)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="in the file")
    add_data_flags(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parsed = parse_arguments()
    from lare_dassl.errors import exit_code
    from lare_dassl.run import extract

    sys.exit(exit_code(lambda: extract(parsed)))
