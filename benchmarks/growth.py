"""Seconds and memory of LARE's stages with 10 and 100 times the rows of CUB, each in a process of its own.

python benchmarks/growth.py            # about 5 minutes and 8 GiB
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

from measuring import ROWS, WIDTH, Runs, machine, parser, prepare, synthetic
from rich.table import Table

from lare_dassl.commands.console import show

FACTORS = (1, 10, 100)
EPOCHS = 2


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(file: Path) -> None:
    """Print seconds per epoch of both stages, and memory before and after, as JSON."""
    before = peak_bytes()
    trainer = Runs(file).trainer("LARE", "TRAINER.LARE.EPOCHS", EPOCHS, "OPTIM.MAX_EPOCH", EPOCHS)
    trainer.train()
    stages = trainer.clock.seconds()
    figures = {name: stages[name] / EPOCHS for name in ("stage1", "stage2")}
    sys.stdout.write(json.dumps(figures | {"before": before, "peak": peak_bytes()}))


def main() -> None:
    """Measure each number of rows, and print the table."""
    flags = parser(__doc__)
    flags.add_argument("--file", type=Path, help="measure in this process, on this embedding file")
    arguments = flags.parse_args()
    prepare(arguments.threads)
    if arguments.file:
        return measure(arguments.file)
    table = Table(
        *("rows", "embeddings, MiB", "stage 1, s/epoch", "÷ linear", "stage 2, s/epoch", "÷ linear"),
        *("memory at start, MiB", "peak, MiB", "peak ÷ embeddings"),
    )
    first = None
    for factor in FACTORS:
        runs = Runs(synthetic(factor * ROWS))
        command = [sys.executable, __file__, "--threads", str(arguments.threads), "--file", str(runs.file)]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        first = first or figures
        size = factor * ROWS * WIDTH * 4
        cells = [f"{factor * ROWS:,}", f"{size / 2**20:.0f}"]
        for stage in ("stage1", "stage2"):
            cells += [f"{figures[stage]:.3f}", f"{figures[stage] / first[stage] / factor:.2f}"]
        cells += [f"{figures[name] / 2**20:.0f}" for name in ("before", "peak")] + [f"{figures['peak'] / size:.2f}"]
        table.add_row(*cells)
    show(f"LARE, two epochs of each stage ({machine()})")
    show(table)


if __name__ == "__main__":
    main()
