"""Images per second of our encoding beside the bare encoder and a plain open_clip loop, measured in turns in one run.

python benchmarks/encoding_speed.py --images IMAGES

On a GPU many images are needed, for which copies are made; processes then decode (--count 20000, --workers for their
number), and the same with threads is measured beside them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from measuring import spread
from PIL import Image
from rich.table import Table

from lare_dassl import vlm
from lare_dassl.commands.console import show
from lare_dassl.embeddings.cache.hashes import FileHashes
from lare_dassl.embeddings.encoder import encoder as encoding
from lare_dassl.embeddings.encoder.decoding import decode_image, thread_pool
from lare_dassl.embeddings.encoder.decoding_processes import decoded_by_processes
from lare_dassl.embeddings.encoder.encoder import Encoder
from lare_dassl.embeddings.encoder.threads import calls_side_by_side
from lare_dassl.system.cores import usable_cores

BATCH = 64
WORKERS = 4
# Images, at most, that one core decodes by itself.
ALONE = 1000
OURS, BARE, ARRANGED, PLAIN = (
    "our path: files → cache → embeddings",
    "bare encoder, ready tensors",
    "bare encoder, ready tensors, a call to each core",
    "plain fp32 open_clip loop over a DataLoader",
)
# Measured on a GPU alone.
THREADS, PROCESSES_ALONE, HASHING = (
    "our path, decoding in threads",
    "decoding in processes, without encoder",
    "hashing, into an empty table",
)
DECODE = "decoding and preprocessing alone, one core"


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the encoding of images.")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="images in any depth below")
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip architecture; its weights are random")
    parser.add_argument("--count", type=int, default=192, help="images in a repetition; copies where there are fewer")
    parser.add_argument("--workers", type=int, default=0, help="that decode for a GPU; 0: one for each core")
    parser.add_argument("--plain-count", type=int, default=64, help="of these, images for the plain loop")
    parser.add_argument("--repetitions", type=int, default=5)
    return parser.parse_args()


class Bench:
    """The ways of encoding, each a method that takes what it needs and encodes some images."""

    def __init__(self, model: str, paths: list[Path], device: torch.device) -> None:
        self.source = vlm.resolve(model, "", allow_random=True)
        self.paths = paths
        self.device = device
        self.precision = vlm.resolve_precision("auto", device)
        self.vlm = vlm.load(self.source, self.precision, device)
        self.plain: Any = vlm.load(self.source, "fp32", device)
        self.pixels = torch.stack([decode_image(path, self.vlm.preprocess) for path in paths[:BATCH]])

    def ours(self) -> None:
        """Our encoding, once the model is loaded, as tools/extract.py does it: hash, decode, encode, keep, gather."""
        with tempfile.TemporaryDirectory() as folder:
            encoder = Encoder(
                self.source, self.precision, self.device, Path(folder), batch_size=BATCH, num_workers=WORKERS
            )
            encoder.model = self.vlm
            encoder.encode_images(self.paths)

    def ours_in_threads(self) -> None:
        """The same, with threads in the place of processes."""
        with mock.patch.object(encoding, "processes_pay", lambda *_: False):
            self.ours()

    def processes(self) -> None:
        """Decoding alone, in processes, with their start."""
        places = range(len(self.paths))
        workers = encoding.usable_cores()
        resize = self.vlm.parts.resize
        for _ in decoded_by_processes(self.paths, resize, places, BATCH, processes=workers, ahead=2 * BATCH):
            pass

    def hashing(self) -> None:
        """The keys of all files."""
        with tempfile.TemporaryDirectory() as folder:
            FileHashes(Path(folder)).keys(self.paths)

    def bare(self) -> None:
        """The encoder as it is called by itself."""
        for _ in range(len(self.paths) // BATCH):
            self.vlm.encode_images(self.pixels)

    def arranged(self) -> None:
        """The encoder as our path calls it, with nothing to decode."""
        calls = calls_side_by_side(self.device, BATCH)
        with thread_pool(calls, max(1, torch.get_num_threads() // calls)) as pool:
            list(pool.map(self.vlm.encode_images, self.pixels.split(BATCH // calls) * (len(self.paths) // BATCH)))

    def decode(self) -> None:
        """Decoding and preprocessing, in one thread that torch does not divide either."""
        with thread_pool(1, torch_threads=1) as pool:
            pool.submit(lambda: [decode_image(path, self.vlm.preprocess) for path in self.paths[:ALONE]]).result()

    def loop(self, count: int) -> None:
        """A plain loop: a DataLoader with a worker for each core, and open_clip in fp32."""
        files = [(path, self.plain.preprocess) for path in self.paths[:count]]
        loader = torch.utils.data.DataLoader(Files(files), batch_size=BATCH, num_workers=usable_cores())
        with torch.inference_mode():
            for pixels in loader:
                self.plain.model.encode_image(pixels.to(self.device), normalize=True)


class Files(torch.utils.data.Dataset):
    """Images of files."""

    def __init__(self, files: list[tuple[Path, Callable[[Any], torch.Tensor]]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        path, preprocess = self.files[index]
        return preprocess(Image.open(path))


def rate(count: int, work: Callable[[], None]) -> float:
    """Images per second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def measure(bench: Bench, plain_count: int, repetitions: int) -> list[dict[str, float]]:
    """Images per second of each way, in turns, so that what else the machine does meets all alike."""
    count = len(bench.paths)
    on_gpu = {THREADS: bench.ours_in_threads, PROCESSES_ALONE: bench.processes, HASHING: bench.hashing}
    bench.bare()
    return [
        {
            BARE: rate(count // BATCH * BATCH, bench.bare),
            OURS: rate(count, bench.ours),
            ARRANGED: rate(count // BATCH * BATCH, bench.arranged),
            PLAIN: rate(plain_count, lambda: bench.loop(plain_count)),
            DECODE: rate(min(count, ALONE), bench.decode),
            **({name: rate(count, way) for name, way in on_gpu.items()} if bench.device.type != "cpu" else {}),
        }
        for _ in range(repetitions)
    ]


def floor(rates: dict[str, float], encoder: str) -> float:
    """The best that a path can reach, relative to an encoder, when decoding takes its time from the same cores."""
    return 1 / (1 + rates[encoder] / (rates[DECODE] * usable_cores()))


def chosen(folder: Path, count: int, place: Path) -> list[Path]:
    """So many image files below a folder; and copies at a place, with bytes of their own, where there are fewer."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".png")]
    paths = files[:: max(1, len(files) // count)][:count]
    for number in range(len(paths), count):
        original = files[number % len(files)]
        copy = Path(shutil.copy(original, place / f"{number}{original.suffix}"))
        # Readers of images do not look behind their end.
        with copy.open("ab") as file:
            file.write(b"copy %d" % number)
        paths.append(copy)
    return paths


def main() -> None:
    """Measure, and print rates and ratios."""
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    arguments = parse_arguments()
    if arguments.workers:
        mock.patch.object(encoding, "usable_cores", lambda: arguments.workers).start()
    with tempfile.TemporaryDirectory() as place:
        paths = chosen(arguments.images, max(BATCH, arguments.count), Path(place))
        bench = Bench(arguments.model, paths, vlm.available_device())
        runs = measure(bench, arguments.plain_count, arguments.repetitions)
    show_tables(f"{arguments.model}, {bench.precision}, {len(paths)} images, {len(runs)} repetitions", runs)


def show_tables(title: str, runs: list[dict[str, float]]) -> None:
    """Print the rates of each way, and how they compare in each repetition."""
    rates = Table(title, "images/s")
    for name in runs[0]:
        rates.add_row(name, spread([run[name] for run in runs]))
    ratios = Table("ratio, side by side in each repetition", "median (least to greatest)")
    for name in [name for name in (BARE, ARRANGED, PLAIN, THREADS) if name in runs[0]]:
        ratios.add_row(f"our path ÷ {name}", spread([run[OURS] / run[name] for run in runs]))
    ratios.add_row(f"floor: the most possible ÷ {ARRANGED}", spread([floor(run, ARRANGED) for run in runs]))
    show(rates)
    show(ratios)


if __name__ == "__main__":
    main()
