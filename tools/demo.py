"""Compare ZeroShot, FineTune, LADS and LARE on the demo world, which ships with the project and needs no download.

python tools/demo.py --seeds 3
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tools.arguments import Parser, run_tool


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Compare ZeroShot, FineTune, LADS and LARE on the demo world.")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 of each method (default 3)")
    parser.add_argument("--root", default="data", metavar="PATH", help="where the images are rendered (default data)")
    parser.add_argument(
        "--output-dir",
        default="output/demo_comparison",
        metavar="PATH",
        help="where the runs go; those that are done there are kept",
    )
    return parser.parse_args()


def main() -> int:
    """Compare, and print the table; gives the exit code."""
    arguments = parse_arguments()

    def command() -> None:
        from lare_dassl.commands.benchmark.command import compare_on_demo

        config_file, output_dir = ROOT / "configs" / "demo.yaml", Path(arguments.output_dir)
        compare_on_demo(config_file, arguments.seeds, arguments.root, output_dir)

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
