"""How fast LARE trains on cached embeddings of CUB's size, as ratios measured side by side.

python benchmarks/training_speed.py            # all but growth, about 3 minutes
python benchmarks/training_speed.py --growth   # 10 and 100 times the rows, about 10 minutes and 10 GiB
"""

from __future__ import annotations

import argparse
import logging
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lare_dassl import EmbeddingSet, LabelledEmbeddings, RegionSettings, VLMIdentity, fit_regions, sample_regions
from lare_dassl import write_embedding_file as write_file
from lare_dassl.logs import start_logging
from lare_dassl.methods.linear import random_classifier
from lare_dassl.methods.regions import Regions

ROWS, WIDTH, CLASSES, BATCH, HIDDEN = 5994, 768, 200, 256, 384
# So that a linear classifier has about the accuracy that is reported on CUB.
NOISE = 5.0


def synthetic(rows: int, seed: int = 0) -> EmbeddingSet:
    """Embeddings of CUB's width and number of classes: noise around a centre of each class, texts near the centres."""
    generator = torch.Generator().manual_seed(seed)

    def unit(values: Tensor) -> Tensor:
        return F.normalize(values, dim=-1)

    centres = unit(torch.randn(CLASSES, WIDTH, generator=generator))
    noise = NOISE / math.sqrt(WIDTH)

    def part(size: int) -> LabelledEmbeddings:
        label = torch.arange(size) % CLASSES
        embedding = torch.randn(size, WIDTH, generator=generator).mul_(noise).add_(centres[label])
        return LabelledEmbeddings(unit(embedding), label, torch.zeros(size, dtype=torch.int64))

    return EmbeddingSet(
        train=part(rows),
        val=None,
        test=part(4000),
        class_text=unit(centres + 0.5 / math.sqrt(WIDTH) * torch.randn(CLASSES, WIDTH, generator=generator)),
        classnames=tuple(f"class {label}" for label in range(CLASSES)),
        domain_names=("synthetic",),
        source_domains=("synthetic",),
        target_domains=(),
        vlm=VLMIdentity("none", "", "", WIDTH, 100.0),
    )


def bare_stage_one(rows: LabelledEmbeddings, class_text: Tensor) -> None:
    """The matrix products of one epoch of stage 1 as its equations have them, forward and backward."""
    first, second = torch.randn(WIDTH, HIDDEN), torch.randn(HIDDEN, 2 * WIDTH)
    for batch in rows.embedding.split(BATCH):
        hidden = batch @ first
        corners = hidden @ second
        point = corners[:, :WIDTH]
        for _ in range(3):
            gradient = (point @ class_text.T) @ class_text
        hidden.T @ corners, batch.T @ (corners @ second.T), gradient


def bare_stage_two(rows: LabelledEmbeddings, class_text: Tensor) -> None:
    """The matrix products of one epoch of stage 2 with one regional sample of each embedding."""
    for batch in rows.embedding.split(BATCH):
        mixed = batch.repeat(2, 1)
        (mixed @ class_text.T).T @ mixed


def trainer_on(folder: Path, embeddings: EmbeddingSet, *keys: object, trainer: str = "LARE") -> Any:
    """Our trainer on an embedding file, built and not yet trained."""
    from lare_dassl import run
    from tools.train import parse_arguments

    file = folder / f"{len(embeddings.train)}.safetensors"
    if not file.exists():
        write_file(file, embeddings)
    words = ["--trainer", trainer, "--root", str(file), "--seed", "0", "--output-dir", tempfile.mkdtemp(dir=folder)]
    pairs = [str(word) for word in ("DATASET.NAME", "EmbeddingFile", *keys)]
    trainer = run.build_trainer(run.make_config(parse_arguments([*words, *pairs])))
    # The trainer has opened the log.
    logging.disable(logging.CRITICAL)
    return trainer


def plain_loop(rows: LabelledEmbeddings, regions: Regions, steps: int) -> None:
    """Stage 2 as it is written without thinking of speed: items from a DataLoader, and figures read at every step."""
    data = TensorDataset(rows.embedding, rows.label, regions.lower, regions.upper)
    probe = random_classifier(WIDTH, CLASSES, seed=0)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=0.1, weight_decay=0.05)
    meters: dict[str, list[float]] = {"loss": [], "accuracy": []}
    done = 0
    while done < steps:
        for embedding, label, lower, upper in DataLoader(data, batch_size=BATCH, shuffle=True):
            mixed = torch.cat([embedding, sample_regions(Regions(lower, upper))])
            logits, labels = probe(mixed), label.repeat(2)
            loss = F.cross_entropy(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            meters["loss"].append(loss.item())
            meters["accuracy"].append((logits.argmax(dim=1) == labels).float().mean().item())
            done += 1


def seconds(action: Callable[[], Any]) -> float:
    """How long an action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def ratio(ours: Callable[[], Any], other: Callable[[], Any], repetitions: int) -> tuple[float, float, float]:
    """Medians of the seconds of both, and of their ratio, measured in turn after one warm-up of each."""
    ours(), other()
    pairs = [(seconds(ours), seconds(other)) for _ in range(repetitions)]
    times = [statistics.median(values) for values in zip(*pairs, strict=True)]
    return times[0], times[1], statistics.median(mine / theirs for mine, theirs in pairs)


def measure(folder: Path, repetitions: int) -> list[tuple[str, float, float, float]]:
    """The rows of the table: figure, our seconds, the other's seconds, their ratio."""
    embeddings = synthetic(ROWS)
    rows, text = embeddings.train, embeddings.class_text
    # The length of an epoch is the difference of a fit of three and a fit of one.
    results = [("stage 1, an epoch / bare products", *ratio_of_epochs(rows, text, repetitions))]

    trainer = trainer_on(folder, embeddings, "TRAINER.LARE.EPOCHS", 1)
    trainer.before_train()
    other = ratio(trainer.run_epoch, lambda: bare_stage_two(rows, text), repetitions)
    results.append(("stage 2, an epoch / bare products", *other))

    network = fit_regions(rows.embedding, rows.label, text, settings=RegionSettings(epochs=1))
    with torch.no_grad():
        regions = network(rows.embedding)
    steps = trainer.max_epoch * len(trainer.train_loader_x)
    plain = ratio(lambda: stage_two(folder, embeddings), lambda: plain_loop(rows, regions, steps), 3)
    results.append(("stage 2, all / a DataLoader over items", *plain))
    results.append(against_logistic_regression(folder, embeddings))
    return results


def ratio_of_epochs(rows: LabelledEmbeddings, text: Tensor, repetitions: int) -> tuple[float, float, float]:
    """Stage 1: two epochs of it against twice the bare products."""

    def fit(epochs: int) -> float:
        settings = RegionSettings(epochs=epochs)
        return seconds(lambda: fit_regions(rows.embedding, rows.label, text, settings=settings))

    fit(1)
    pairs = []
    for _ in range(repetitions):
        ours = (fit(3) - fit(1)) / 2
        pairs.append((ours, seconds(lambda: bare_stage_one(rows, text))))
    times = [statistics.median(values) for values in zip(*pairs, strict=True)]
    return times[0], times[1], statistics.median(mine / theirs for mine, theirs in pairs)


def stage_two(folder: Path, embeddings: EmbeddingSet) -> None:
    """All epochs of stage 2 of a fresh run, without stage 1 and the test."""
    trainer = trainer_on(folder, embeddings, "TRAINER.LARE.EPOCHS", 1)
    trainer.before_train()
    for epoch in range(trainer.max_epoch):
        trainer.epoch = epoch
        trainer.run_epoch()


def against_logistic_regression(folder: Path, embeddings: EmbeddingSet) -> tuple[str, float, float, float]:
    """A whole run of LARE on embeddings that are at hand, against scikit-learn on the real rows alone."""
    from sklearn.linear_model import LogisticRegression

    rows, test = embeddings.train, embeddings.test
    pairs, accuracies = [], []
    for _ in range(3):
        trainer = trainer_on(folder, embeddings)
        ours = seconds(trainer.train)
        # Of 1, 10 and 100 all have the same accuracy within a point.
        model = LogisticRegression(C=10.0, max_iter=1000)
        theirs = seconds(lambda model=model: model.fit(rows.embedding.numpy(), rows.label.numpy()))
        pairs.append((ours, theirs))
        accuracies.append((trainer.results["accuracy"], 100 * model.score(test.embedding.numpy(), test.label.numpy())))
    times = [statistics.median(values) for values in zip(*pairs, strict=True)]
    title = "whole LARE run / LogisticRegression (accuracy {:.1f} / {:.1f})".format(*accuracies[0])
    return title, times[0], times[1], statistics.median(mine / theirs for mine, theirs in pairs)


def grow(folder: Path, factor: int) -> None:
    """Stages 1 and 2 on `factor` times CUB's rows, an epoch of each; prints seconds and peak memory."""
    embeddings = synthetic(factor * ROWS)
    rows = embeddings.train
    size = rows.embedding.numel() * 4
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    settings = RegionSettings(epochs=2)
    first = seconds(lambda: fit_regions(rows.embedding, rows.label, embeddings.class_text, settings=settings))
    trainer = trainer_on(folder, embeddings, "TRAINER.LARE.EPOCHS", 1, "OPTIM.MAX_EPOCH", 2)
    trainer.before_train()
    second = seconds(lambda: [trainer.run_epoch() for _ in range(2)])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(
        f"{factor} {first / 2:.3f} {second / 2:.3f} {size / 2**20:.0f} {before / 2**20:.0f} {peak / 2**20:.0f}\n"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--growth", action="store_true", help="measure 1, 10 and 100 times the rows, each in a process")
    parser.add_argument("--factor", type=int, help="for --growth: measure this one here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start_logging()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.factor:
            grow(Path(folder), arguments.factor)
        elif arguments.growth:
            sys.stdout.write("rows x, stage 1 s/epoch, stage 2 s/epoch, embeddings MiB, before MiB, peak MiB\n")
            for factor in (1, 10, 100):
                command = [sys.executable, __file__, "--factor", str(factor), "--threads", str(arguments.threads)]
                subprocess.run(command, check=True)
        else:
            for title, ours, theirs, value in measure(Path(folder), arguments.repetitions):
                sys.stdout.write(f"{title:70} {1000 * ours:9.1f} ms {1000 * theirs:9.1f} ms {value:6.2f}\n")


if __name__ == "__main__":
    main()
