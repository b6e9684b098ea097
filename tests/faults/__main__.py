"""Disturb extraction, training and benchmarks in every way that a machine may, and see whether anything is lost.

python -m tests.faults              # 30 minutes on two cores at most; `make faults` does this
python -m tests.faults --quick      # each fault once or twice
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.namespace import go_apart

if __name__ == "__main__":
    # It starts this process anew, so it comes before all that takes long to import.
    go_apart()

from rich.table import Table

from lare_dassl.commands.console import show
from tests.faults import commands, disks, kills, together
from tests.faults.subjects import Row, Subject
from tests.helpers import make_domain_tree, shifted_embeddings, write_embeddings

Campaign = Iterator[Callable[[], Row]]


def make_data(folder: Path) -> Path:
    """The images and the embedding file that the commands work on."""
    make_domain_tree(folder / "images", ["photo", "sketch"], ["cat", "dog", "owl"], per_class=8)
    write_embeddings(folder / "data.safetensors", shifted_embeddings(described=("photo", "painting")))
    return folder


def campaign(base: Path, chance: random.Random, quick: bool) -> Campaign:
    """All faults, as functions that try them."""
    data = make_data(base / "data")
    forked = {
        command.name: Subject(command, data, base / "forked")
        for command in (commands.EXTRACT, commands.TRAIN, commands.bench(jobs=1, report=False))
    }
    yield from _kills(forked, chance, quick)
    times = 1 if quick else 10
    for subject in forked.values():
        yield partial(disks.full, subject, chance, times)
        yield partial(disks.read_only, subject, chance, times)
    yield partial(together.on_one_cache, forked["extraction"], chance, times)
    yield partial(together.on_a_damaged_cache, forked["extraction"], chance, times)
    yield partial(together.in_one_folder, forked["training"], chance, times)
    yield partial(together.in_one_folder, forked["benchmark"], chance, times)
    if not quick:
        with_report = Subject(commands.bench(jobs=1), data, base / "forked")
        for fault in (kills.at_moments, kills.at_changes, disks.full):
            yield partial(fault, with_report, chance, 2)
        yield from _kills_as_a_user_starts_them(data, base / "started", chance)


def _kills(subjects: dict[str, Subject], chance: random.Random, quick: bool) -> Campaign:
    times = {"extraction": (3, 2), "training": (3, 2), "benchmark": (1, 1)}
    times = times if quick else {"extraction": (45, 45), "training": (45, 45), "benchmark": (10, 10)}
    for name, (at_moments, at_changes) in times.items():
        yield partial(kills.at_moments, subjects[name], chance, at_moments)
        yield partial(kills.at_changes, subjects[name], chance, at_changes)


def _kills_as_a_user_starts_them(data: Path, base: Path, chance: random.Random) -> Campaign:
    for command in (commands.EXTRACT_IMAGES, commands.TRAIN, commands.bench(jobs=2)):
        subject = Subject(command, data, base, forked=False)
        yield partial(kills.at_moments, subject, chance, 3)
    yield partial(kills.of_workers, subject, chance, 3)


def table_of(rows: list[Row]) -> Table:
    """A table of the faults that were tried, and of the losses."""
    table = Table("fault", "tries", "lost", "seconds", "the command was at")
    for row in rows:
        stages = ", ".join(f"{stage} {count}" for stage, count in sorted(row.stages.items(), key=lambda item: -item[1]))
        where = f"skipped: {row.skipped}" if row.skipped else stages
        table.add_row(row.fault, str(row.tries), str(len(row.problems)), f"{row.seconds:.0f}", where)
    return table


def main() -> int:
    """Try all faults and show the table; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each fault once or twice, nothing by its command line")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and places of the faults")
    parser.add_argument("--json", default="", metavar="FILE", help="write the rows to this file too")
    arguments = parser.parse_args()
    base, rows = Path(tempfile.mkdtemp(prefix="faults-")), []
    try:
        for attempt in campaign(base, random.Random(arguments.seed), arguments.quick):
            row = attempt()
            rows.append(row)
            sys.stderr.write(f"{row.fault}: {row.tries} tries, {len(row.problems)} lost, {row.seconds:.0f} s\n")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    show(table_of(rows))
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        show(problem)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps([vars(row) for row in rows]), encoding="utf-8")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
