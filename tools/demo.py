"""Compare ZeroShot, FineTune and LARE on the demo world, which ships with the project and needs no download.

python tools/demo.py --seeds 3
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Compare ZeroShot, FineTune and LARE on the demo world.")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 of each method (default 3)")
    parser.add_argument("--root", default="data", metavar="PATH", help="where the images are rendered (default data)")
    parser.add_argument("--output-dir", default="output/demo", metavar="PATH", help="where the runs go")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    from lare_dassl.comparison import compare_on_demo
    from lare_dassl.errors import exit_code

    output_dir = Path(arguments.output_dir)
    config_file = ROOT / "configs" / "demo.yaml"
    sys.exit(exit_code(lambda: compare_on_demo(config_file, arguments.seeds, arguments.root, output_dir)))
