"""The demo: three methods on the demo world, several seeds each, one table."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from . import dassl_api, run
from .errors import InputError
from .record import FILE_NAME, read_record
from .report.summary import show_value, summarise

TRAINERS = ("ZeroShot", "FineTune", "LARE")


def compare(config_file: Path, seeds: int, root: str, output_dir: Path) -> None:
    """Run the methods on the demo world, seeds 0 to seeds - 1, and print mean ± std of their accuracies.

    Args:
        config_file: of the demo world.
        seeds: number of seeds, at least 1.
        root: folder of the rendered images.
        output_dir: folder of the runs; a run from before is replaced.

    Raises:
        InputError: fewer than one seed, or a folder that cannot be written to.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {seeds}")
    run.start_logging()
    records = [
        _run(config_file, trainer, seed, root, output_dir / trainer / f"seed{seed}")
        for trainer in TRAINERS
        for seed in range(seeds)
    ]
    _show(records, output_dir)


def _run(config_file: Path, trainer: str, seed: int, root: str, folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    arguments = argparse.Namespace(
        trainer=trainer,
        dataset_config_file=str(config_file),
        config_file="",
        seed=seed,
        root=root,
        output_dir=str(folder),
        plugin=[],
        opts=[],
    )
    cfg = run.make_config(arguments)
    dassl_api.set_random_seed(seed)
    run.build_trainer(cfg).train()
    return read_record(folder / FILE_NAME)


def _show(records: list[dict[str, Any]], output_dir: Path) -> None:
    sources, targets = (", ".join(records[0][role]) for role in ("source_domains", "target_domains"))
    table = Table(
        "method",
        f"in-domain accuracy, % ({sources})",
        f"out-of-domain accuracy, % ({targets})",
        "seeds",
        title="Demo world: mean ± std",
    )
    for row in summarise(records).to_dict("records"):
        cells = [
            show_value(row[f"{name}_mean"], row[f"{name}_std"])
            for name in ("in_domain_accuracy", "out_of_domain_accuracy")
        ]
        table.add_row(row["trainer"], *cells, str(row["n"]))
    run.show(table)
    run.show(f"records: {output_dir}/<method>/seed<k>/{FILE_NAME}")
