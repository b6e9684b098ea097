"""Train and test one method on one dataset with one seed.

python tools/train.py --trainer LARE --dataset-config-file configs/demo.yaml
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import add_config_flags


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train and test one method on one dataset with one seed.")
    parser.add_argument("--resume", default="", metavar="PATH", help="run folder whose latest checkpoint to go on from")
    parser.add_argument("--eval-only", action="store_true", help="test a trained model, do not train")
    parser.add_argument(
        "--model-dir", default="", metavar="PATH", help="run folder of the model that --eval-only tests"
    )
    parser.add_argument("--load-epoch", type=int, metavar="N", help="test the checkpoint of this epoch, not the best")
    parser.add_argument("--no-train", action="store_true", help="build everything, but do not train")
    add_config_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse_arguments()
    from lare_dassl.errors import exit_code
    from lare_dassl.run import train

    sys.exit(exit_code(lambda: train(arguments)))
