"""Few-shot accuracy of several methods on an embedding file, mean ± std over seeds.

python benchmarks/few_shot.py --embedding-file FILE --shots 1 4 16 --seeds 5
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Few-shot accuracy of several methods on an embedding file.")
    parser.add_argument("--embedding-file", required=True, metavar="FILE")
    parser.add_argument("--trainers", nargs="+", default=["ZeroShot", "FineTune", "LARE"])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further settings")
    return parser.parse_args()


def main() -> None:
    """Run the product of shots, methods and seeds, and print the table."""
    arguments = parse_arguments()
    from lare_dassl import comparison, run
    from lare_dassl.logs import start_logging

    start_logging(logging.WARNING)
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for shots, trainer, seed in product(arguments.shots, arguments.trainers, range(arguments.seeds)):
            settings = ["DATASET.NAME", "EmbeddingFile", "DATASET.NUM_SHOTS", str(shots), *arguments.opts]
            root = arguments.embedding_file
            records.append(comparison.run_once(trainer, seed, root, Path(folder) / "run", settings=settings))
    run.show(comparison.accuracy_table(records, title=f"{Path(arguments.embedding_file).name}: mean ± std"))


if __name__ == "__main__":
    from lare_dassl.errors import exit_code

    sys.exit(exit_code(main))
