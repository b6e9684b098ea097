"""Two processes at once: on one cache, on one damaged cache, in one output folder."""

from __future__ import annotations

import random
import time
from functools import partial
from pathlib import Path

from tests.faults.subjects import Row, Subject, repeated

# Files that vanish from a damaged cache while two extractions mend it.
REMOVED = 3
REFUSED = "error: another process is at work in"


def on_one_cache(subject: Subject, chance: random.Random, times: int) -> Row:
    """Two extractions of the same images into a new cache."""
    return repeated("two extractions on one cache", times, partial(_extract_twice, subject, chance, damaged=False))


def on_a_damaged_cache(subject: Subject, chance: random.Random, times: int) -> Row:
    """Two extractions that find much of the cache damaged, and both mend it, while files go from it."""
    return repeated(
        "two extractions on one damaged cache", times, partial(_extract_twice, subject, chance, damaged=True)
    )


def in_one_folder(subject: Subject, chance: random.Random, times: int) -> Row:
    """Two of the same command with one output folder: one is refused; where both had their turn, it was no try."""
    name = f"two {subject.command.name}s in one output folder"
    return repeated(name, times, partial(_work_twice, subject, chance))


def _work_twice(subject: Subject, chance: random.Random, row: Row) -> None:
    with subject.folder() as folder:
        first = subject.start(folder)
        time.sleep(chance.uniform(0.0, 0.6 * subject.seconds))
        second = subject.start(folder)
        codes, errors = [first.wait(), second.wait()], first.errors.read_text() + second.errors.read_text()
        as_it_should = 0 in codes and errors.count(REFUSED) == codes.count(2) and "Traceback" not in errors
        problems = [] if as_it_should else [f"ended with {codes}: {errors[-1000:]}"]
        problems += subject.problems_at_the_end(folder)
        if problems or 2 in codes:
            row.note("first refused" if codes[0] else "second refused", problems)


def _extract_twice(subject: Subject, chance: random.Random, row: Row, *, damaged: bool) -> None:
    with subject.folder() as folder, subject.folder() as other:
        if damaged:
            subject.start(folder).wait()
            _damage(folder / "cache", chance)
        for name in ("cache", "images"):
            (folder / name).mkdir(exist_ok=True)
            (other / name).symlink_to(folder / name)
        processes = [subject.start(folder)]
        time.sleep(chance.uniform(0.0, 0.3 * subject.seconds))
        processes.append(subject.start(other))
        for _ in range(REMOVED if damaged else 0):
            time.sleep(chance.uniform(0.0, 0.4 * subject.seconds))
            _remove_one(folder / "cache", chance)
        codes = [process.wait() for process in processes]
        errors = "".join(process.errors.read_text() for process in processes)
        problems = [f"ended with {codes}: {errors[-2000:]}"] if any(codes) or "Traceback" in errors else []
        outcomes = [subject.command.outcome(place) for place in (folder, other)]
        problems += ["another outcome"] if outcomes != 2 * [subject.expected] else []
        row.note("both", problems + subject.problems_at_the_end(folder))


def _damage(cache: Path, chance: random.Random) -> None:
    """Change, cut or remove about half of the files of a cache."""
    for path in [path for path in cache.rglob("*") if path.is_file() and chance.random() < 0.5]:
        content = bytearray(path.read_bytes())
        place = chance.randrange(len(content)) if content else 0
        content[place : place + 1] = bytes([255 - content[place]]) if content else b"x"
        whole = bytes(content)
        path.write_bytes(chance.choice([whole, whole[:place], b""]))


def _remove_one(cache: Path, chance: random.Random) -> None:
    """Remove a file, as a process does that finds it damaged."""
    files = [path for path in cache.rglob("*") if path.suffix in (".safetensors", ".index", ".sqlite")]
    if files:
        chance.choice(files).unlink(missing_ok=True)
