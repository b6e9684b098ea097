"""Memory and time of a cache of many embeddings, and memory of an encoding as the number of images grows (Linux).

python benchmarks/cache_memory.py --entries 1000000 --width 512
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from rich.table import Table

from lare_dassl import vlm
from lare_dassl.commands.console import show
from lare_dassl.embeddings.cache.keys import KEY_BYTES
from lare_dassl.embeddings.cache.store import EmbeddingStore
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.embeddings.encoder.shard_keeper import SHARD_ROWS

MIB = 2**20
FINGERPRINT = "0" * 64


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the embedding cache with many entries.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="synthetic entries of the cache")
    parser.add_argument("--width", type=int, default=512, help="of an embedding (D)")
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16000], help="small images to encode")
    return parser.parse_args()


def memory(field: str) -> float:
    """MiB of this process: VmRSS now, VmHWM at most since `reset`."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


@contextmanager
def measured(table: Table, name: str, result_mib: float = 0.0) -> Iterator[None]:
    """Add a row: what a block takes, and its peak memory beyond what was held before and what it gives."""
    Path("/proc/self/clear_refs").write_text("5")
    held, start = memory("VmRSS"), time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    table.add_row(name, f"{seconds:.2f}", f"{memory('VmHWM') - held - result_mib:.0f}")


def fill(folder: Path, keys: np.ndarray, width: int) -> None:
    """Write shards of random embeddings, as an encoding of so many images does."""
    store, generator = EmbeddingStore(folder, FINGERPRINT), torch.Generator().manual_seed(0)
    for start in range(0, len(keys), SHARD_ROWS):
        part = keys[start : start + SHARD_ROWS]
        store.add(part, torch.randn(len(part), width, generator=generator))


def measure_cache(folder: Path, entries: int, width: int) -> Table:
    """Fill, open, ask and gather."""
    table = Table(f"{entries:,} entries of width {width}", "s", "peak MiB beyond the result")
    keys = np.random.default_rng(0).integers(0, 256, size=(entries, KEY_BYTES), dtype=np.uint8)
    order = np.random.default_rng(1).permutation(entries)
    with measured(table, f"write {-(-entries // SHARD_ROWS):,} shards"):
        fill(folder, keys, width)
    with measured(table, "open without an index: every shard is read and checked"):
        EmbeddingStore(folder, FINGERPRINT)
    with measured(table, "open"):
        store = EmbeddingStore(folder, FINGERPRINT)
    with measured(table, "ask for all keys: every shard is checked once"):
        assert store.holds(keys).all()
    with measured(table, "ask for all keys again"):
        store.holds(keys)
    with measured(table, "gather all in random order", entries * width * 4 / MIB):
        store.gather(keys[order])
    return table


def measure_encoding(folder: Path, counts: list[int]) -> Table:
    """Encode ever more images with the demo model."""
    table = Table("images encoded with the demo model", "s", "peak MiB beyond the model and the result")
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(max(counts) + 500)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)).save(path)
    source, device = vlm.resolve(vlm.DEMO_MODEL, ""), torch.device("cpu")
    model = vlm.load(source, "fp32", device)
    width = model.encode_texts(["a photo"]).shape[1]
    # The first images bring what is made once: memory pools, compiled kernels, modules.
    for place, count in enumerate((500, *sorted(counts))):
        cache = folder / f"cache{place}"
        cache.mkdir()
        encoder = Encoder(source, "fp32", device, cache, num_workers=4)
        encoder.model = model
        with measured(table if place else Table(), f"{count:,}", count * width * 4 / MIB):
            encoder.encode_images(paths[-count:])
    return table


def main() -> None:
    """Measure both, and print tables."""
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        show(measure_cache(Path(folder), arguments.entries, arguments.width))
    with tempfile.TemporaryDirectory() as folder:
        show(measure_encoding(Path(folder), arguments.images))


if __name__ == "__main__":
    main()
