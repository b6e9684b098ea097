"""Train and test one method on one dataset with one seed.

python tools/train.py --trainer LARE --dataset-config-file configs/demo.yaml
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools.arguments import Parser, add_data_flags, add_run_flags, run_tool


def read_flags(words: list[str] | None = None) -> dict[str, Any]:
    """The flags of a command line that are given."""
    parser = Parser(description="Train and test one method on one dataset with one seed.")
    add_run_flags(parser)
    add_data_flags(parser)
    return vars(parser.parse_args(words))


def main() -> int:
    """Train, or test; gives the exit code."""
    flags = read_flags()

    def command() -> None:
        from lare_dassl.commands.train import train
        from lare_dassl.config.request import RunRequest, request_of

        train(request_of(RunRequest, flags))

    return run_tool(command)


if __name__ == "__main__":
    sys.exit(main())
