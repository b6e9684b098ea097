"""Accuracy of several methods on an embedding file against the number of shots, or the imbalance of the classes.

python benchmarks/curves.py --embedding-file FILE --shots 1 2 4 8 16 --seeds 5
python benchmarks/curves.py --embedding-file FILE --ratios 1 10 50 100 --seeds 5 DATASET.LONG_TAIL.MIN_IMAGES 1
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Accuracy of several methods on an embedding file, mean ± std over seeds: one row for each method, "
        "number of shots and imbalance ratio."
    )
    parser.add_argument("--embedding-file", required=True, metavar="FILE")
    parser.add_argument("--trainers", nargs="+", default=["ZeroShot", "FineTune", "LARE"], metavar="NAME")
    parser.add_argument("--shots", type=int, nargs="+", default=[-1], metavar="K", help="images per class; -1 is all")
    parser.add_argument(
        "--ratios",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="R",
        help="largest class to smallest; 1 is no long tail",
    )
    parser.add_argument("--profile", default="exp", metavar="NAME", help="of the long tail: exp (default) or step")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="seeds 0 to N-1 of each row (default 5)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further settings, behind --seeds")
    return parser.parse_args()


def main() -> None:
    """Run the product of shots, ratios, methods and seeds, and print the table."""
    arguments = parse_arguments()
    from lare_dassl import comparison, run
    from lare_dassl.errors import InputError
    from lare_dassl.logs import start_logging

    if arguments.seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {arguments.seeds}")
    start_logging(logging.WARNING)
    records, reached = [], {}
    for shots, ratio in product(arguments.shots, arguments.ratios):
        of_point, reached_ratio = run_point(arguments, shots, ratio)
        # The settings at the end of the command may have set another number of shots.
        reached[of_point[0]["shots"], of_point[0]["imbalance"]] = reached_ratio
        records += of_point
    title = f"{Path(arguments.embedding_file).name}: mean ± std"
    run.show(comparison.accuracy_table(records, title=title, reached=reached))


def run_point(arguments: argparse.Namespace, shots: int, ratio: float) -> tuple[list[dict[str, Any]], float]:
    """The records of every method and seed at one number of shots and one ratio, and the ratio that was reached."""
    from lare_dassl import comparison
    from lare_dassl.datasets.splits import FILE_NAME

    settings = ["DATASET.NAME", "EmbeddingFile", "DATASET.NUM_SHOTS", str(shots)]
    settings += ["DATASET.LONG_TAIL.RATIO", str(ratio), "DATASET.LONG_TAIL.PROFILE", arguments.profile]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        records = [
            comparison.run_once(trainer, seed, arguments.embedding_file, folder, settings=[*settings, *arguments.opts])
            for trainer, seed in product(arguments.trainers, range(arguments.seeds))
        ]
        # How the classes fall does not depend on the seed, only which of them is large.
        split = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
    return records, split["reached_ratio"]


if __name__ == "__main__":
    from lare_dassl.errors import exit_code

    sys.exit(exit_code(main))
