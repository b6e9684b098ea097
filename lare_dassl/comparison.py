"""Several methods and seeds on one dataset, one after another in this process, and the table of their accuracies."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich.table import Table

from . import dassl_api, run
from .errors import InputError
from .logs import start_logging
from .record import BY_DOMAIN, FILE_NAME, read_record
from .report.summary import show_value, summarise
from .split_settings import ALL_SHOTS

DEMO_TRAINERS = ("ZeroShot", "FineTune", "LADS", "LARE")


def compare_on_demo(config_file: Path, seeds: int, root: str, output_dir: Path) -> None:
    """Run the methods on the demo world with seeds 0 to seeds - 1, and print mean ± std of their accuracies.

    Args:
        config_file: of the demo world.
        seeds: number of seeds, at least 1.
        root: folder of the rendered images.
        output_dir: folder of the runs; runs from before are replaced.

    Raises:
        InputError: fewer than one seed, or a folder that cannot be written to.
    """
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, not {seeds}")
    start_logging(logging.WARNING)
    records = []
    for trainer, seed in product(DEMO_TRAINERS, range(seeds)):
        folder = output_dir / trainer / f"seed{seed}"
        record = run_once(trainer, seed, root, folder, dataset_config_file=str(config_file))
        run.show(f"{trainer}, seed {seed}: {record['seconds']['total']:.1f} s")
        records.append(record)
    run.show(accuracy_table(records, title="Demo world: mean ± std"))
    run.show(domain_table(records, title="Accuracy on each domain, %: mean ± std"))
    run.show(f"records: {output_dir}/<method>/seed<k>/{FILE_NAME}")


def run_once(
    trainer: str, seed: int, root: str, folder: Path, *, dataset_config_file: str = "", settings: Sequence[str] = ()
) -> dict[str, Any]:
    """One run from its start, in an emptied folder; gives its record.

    Args:
        trainer: name of the method.
        seed: of the run.
        root: where the dataset is.
        folder: the run's folder; what is in it is removed.
        dataset_config_file: settings of the dataset.
        settings: KEY, VALUE, KEY, VALUE, ... on top.

    Raises:
        InputError: see run.train.
    """
    shutil.rmtree(folder, ignore_errors=True)
    arguments = argparse.Namespace(
        trainer=trainer,
        dataset_config_file=dataset_config_file,
        config_file=[],
        seed=seed,
        root=root,
        output_dir=str(folder),
        plugin=[],
        opts=list(settings),
    )
    cfg = run.make_config(arguments)
    dassl_api.set_random_seed(seed)
    run.build_trainer(cfg).train()
    return read_record(folder / FILE_NAME)


def accuracy_table(
    records: Sequence[dict[str, Any]], title: str, reached: Mapping[tuple[int, float], float] | None = None
) -> Table:
    """In-domain and out-of-domain accuracy of each method as mean ± std over the seeds.

    Shots and imbalance ratio have a column each where some record has other than all shots or no imbalance.

    Args:
        records: of runs on one dataset.
        title: of the table.
        reached: the ratio of the largest class to the smallest that was reached, by (shots, imbalance ratio); shown
            beside the one that was asked for.
    """
    sources, targets = (", ".join(records[0][role]) or "none" for role in ("source_domains", "target_domains"))
    columns = [name for name, usual in (("shots", ALL_SHOTS), ("imbalance", 1.0)) if _any_other(records, name, usual)]
    columns += ["reached"] if reached and "imbalance" in columns else []
    accuracies = {
        "in_domain_accuracy": f"in-domain, % ({sources})",
        "out_of_domain_accuracy": f"out-of-domain, % ({targets})",
    }
    table = Table("method", *columns, *accuracies.values(), "seeds", title=title)
    for row in summarise(records).to_dict("records"):
        cells = {
            "shots": "all" if row["shots"] == ALL_SHOTS else str(row["shots"]),
            "imbalance": f"{row['imbalance']:g}",
            "reached": f"{reached[row['shots'], row['imbalance']]:.3g}" if reached else "",
        }
        values = [show_value(row[f"{name}_mean"], row[f"{name}_std"]) for name in accuracies]
        table.add_row(row["trainer"], *(cells[name] for name in columns), *values, str(row["n"]))
    return table


def domain_table(records: Sequence[dict[str, Any]], title: str) -> Table:
    """Accuracy of each method on each source and target domain as mean ± std over the seeds.

    Args:
        records: of runs on one dataset that differ in method and seed alone.
        title: of the table.
    """
    domains = [*records[0]["source_domains"], *records[0]["target_domains"]]
    table = Table("method", *domains, title=title)
    for row in summarise(records).to_dict("records"):
        names = [f"{BY_DOMAIN}{domain}" for domain in domains]
        table.add_row(row["trainer"], *(show_value(row[f"{name}_mean"], row[f"{name}_std"]) for name in names))
    return table


def _any_other(records: Sequence[dict[str, Any]], name: str, usual: float) -> bool:
    return any(record[name] != usual for record in records)
