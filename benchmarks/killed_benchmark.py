"""Kill a benchmark at random, start it again, and compare its records with those of an undisturbed one.

python benchmarks/killed_benchmark.py --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
COMMAND = (
    *("--dataset-config-file", "configs/demo.yaml", "--trainers", "FineTune", "LADS", "LARE", "TipAdapterF"),
    *("--shots", "1", "4", "--seeds", "5", "--jobs", "2"),
)


def start(output_dir: Path, root: str) -> subprocess.Popen[bytes]:
    """The benchmark, in a process group of its own."""
    tool = [sys.executable, str(PROJECT / "tools" / "benchmark.py"), *COMMAND, "--output-dir", str(output_dir)]
    tool += ["--root", root] if root else []
    return subprocess.Popen(
        tool, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def metrics(output_dir: Path) -> dict[str, Any]:
    """The metrics of all finished runs by their place."""
    return {
        path.relative_to(output_dir).as_posix(): json.loads(path.read_text(encoding="utf-8"))["metrics"]
        for path in sorted(output_dir.rglob("record.json"))
    }


def kill_somewhere(process: subprocess.Popen[bytes], output_dir: Path, chance: random.Random) -> bool:
    """Kill the benchmark and all its workers at a random moment behind its next record; False if it ends before."""
    before = len(metrics(output_dir))
    while len(metrics(output_dir)) == before:
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    time.sleep(chance.uniform(0.0, 2.0))
    if process.poll() is not None:
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def main() -> int:
    """Run both, and say whether they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--root", default="", metavar="PATH", help="where the demo world is rendered")
    arguments = parser.parse_args()
    chance, kills = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, disturbed = Path(folder) / "undisturbed", Path(folder) / "disturbed"
        start(undisturbed, arguments.root).wait()
        while kills < arguments.kills and kill_somewhere(start(disturbed, arguments.root), disturbed, chance):
            kills += 1
        start(disturbed, arguments.root).wait()
        expected, found = metrics(undisturbed), metrics(disturbed)
    equal = bool(expected) and expected == found
    verdict = "equal to the last digit" if equal else "NOT equal"
    sys.stdout.write(f"{kills} kills; {len(found)} of {len(expected)} records, {verdict}\n")
    return 0 if equal and kills == arguments.kills else 1


if __name__ == "__main__":
    sys.exit(main())
