"""Train and test one method on one dataset with one seed.

python tools/train.py --trainer LARE --dataset-config-file configs/demo.yaml
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, add_data_flags, add_run_flags, run_tool


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(description="Train and test one method on one dataset with one seed.")
    add_run_flags(parser)
    add_data_flags(parser)
    return parser.parse_args(arguments)


def main() -> int:
    """Train, or test; gives the exit code."""
    parsed = parse_arguments()

    def open_command() -> Callable[[], None]:
        from lare_dassl.commands.run import train

        return lambda: train(parsed)

    return run_tool(open_command)


if __name__ == "__main__":
    sys.exit(main())
