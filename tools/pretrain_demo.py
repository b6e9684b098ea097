"""Pretrain the demo VLM: a small CoCa on captioned renderings. Reproducible; a killed run goes on where it was."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lare_dassl.demo.pretraining import Settings, pretrain
from lare_dassl.errors import exit_code
from tools.arguments import Parser


def main() -> None:
    """Read the command line, pretrain, and say what was written."""
    parser = Parser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("output/demo_coca"), help="folder of the model")
    parser.add_argument("--checkpoint-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; the shipped weights come of 1")
    for field in dataclasses.fields(Settings):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), default=field.default, help=f"default {field.default}")
    arguments = vars(parser.parse_args())
    torch.set_num_threads(arguments["threads"])
    settings = Settings(**{field.name: arguments[field.name] for field in dataclasses.fields(Settings)})
    loss = pretrain(arguments["output"], settings, arguments["checkpoint_every"])
    print(f"loss of the last step: {loss:.4f}; weights in {arguments['output']}")


if __name__ == "__main__":
    sys.exit(exit_code(main))
