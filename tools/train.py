"""Train and test one method on one dataset with one seed.

python tools/train.py --trainer LARE --dataset-config-file configs/demo.yaml
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import add_data_flags, add_run_flags


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train and test one method on one dataset with one seed.")
    add_run_flags(parser)
    add_data_flags(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    parsed = parse_arguments()
    from lare_dassl.errors import exit_code
    from lare_dassl.run import train

    sys.exit(exit_code(lambda: train(parsed)))
