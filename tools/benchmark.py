"""Compare methods: run the product of methods, shots, ratios, datasets, settings and seeds, and print the table.

python tools/benchmark.py --dataset-config-file configs/demo.yaml --trainers ZeroShot FineTune LADS LARE \\
    --shots 1 4 16 all --seeds 5 --output-dir out/bench
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, add_engine_flags, add_settings_flags, run_tool, trainer_names

DESCRIPTION = (
    "Run the product of methods, shots, ratios, datasets, settings and seeds, and print mean ± std of each cell. Runs "
    "that are done are skipped, so the same command goes on from where it was stopped, and a longer one adds to it."
)


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(description=DESCRIPTION)
    _add_product_flags(parser)
    _add_common_flags(parser)
    add_engine_flags(parser)
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further settings of all runs")
    return vars(parser.parse_args(words))


def _add_product_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that take several values: the benchmark runs every combination."""
    add = parser.add_argument
    add(
        "--dataset-config-file",
        action="append",
        dest="dataset_config_files",
        metavar="YAML",
        help="a dataset; may be repeated",
    )
    add(
        "--trainers",
        nargs="+",
        required=True,
        metavar="NAME",
        help=f"methods: {', '.join(trainer_names())}, or a plugin's",
    )
    add("--shots", nargs="+", metavar="K", help="images per class; 'all' for all of them")
    add("--ratios", nargs="+", metavar="R", help="long tail: largest class to smallest; 1 is none")
    add("--profile", metavar="NAME", help="of the long tail: exp (default) or step")
    add("--seeds", type=int, metavar="N", help="seeds 0 to N-1 of everything (default 5)")
    add(
        "--set",
        action="append",
        nargs="+",
        dest="varied",
        metavar=("KEY", "VALUE"),
        help="a key and the values to try, such as --set TRAINER.LARE.ALPHA 0.3 0.5; may be repeated",
    )


def _add_common_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that all runs share."""
    add = parser.add_argument
    add(
        "--root",
        action="append",
        dest="roots",
        metavar="PATH",
        help="where the datasets are (DATASET.ROOT); once for all, or once for each --dataset-config-file",
    )
    add_settings_flags(parser)
    add(
        "--config-of",
        action="append",
        nargs=2,
        metavar=("NAME", "YAML"),
        help="further settings of one method's runs alone; may be repeated",
    )
    add("--output-dir", metavar="PATH", help="where the runs go (default output/benchmark)")
    add("--jobs", type=int, metavar="N", help="runs side by side (default: as many as the cores or GPUs allow)")
    add(
        "--together",
        choices=("auto", "yes", "no"),
        help="train the seeds of a setting at once, where the method can; auto (default): on a GPU",
    )
    add(
        "--threads",
        type=int,
        metavar="N",
        help="threads of each run (default 1); runs with other numbers may differ in the last digits",
    )


def main() -> int:
    """Run the benchmark, and print the table; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.benchmark.command import benchmark
        from lare_dassl.config.request import BenchmarkRequest, request_of

        benchmark(request_of(BenchmarkRequest, flags))

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
