"""Dassl's own PACS and OfficeHomeDG work with LARE unchanged, on small trees in their layouts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lare_dassl.host.door import DATASET_REGISTRY, HOST
from lare_dassl.results.record import read_record
from tests.helpers import run_train, write_image, write_tiny_model

pytestmark = pytest.mark.skipif(HOST != "dassl", reason="these datasets are the real Dassl's, and none is installed")

PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
PACS_DOMAINS = ("art_painting", "cartoon", "photo", "sketch")
OFFICE_CLASSES = ("Alarm_Clock", "Backpack", "Desk_Lamp")
OFFICE_DOMAINS = ("art", "clipart", "product", "real_world")


def write_pacs(root: Path) -> None:
    """Four training and two validation images of each class and domain, in lists that count labels from 1."""
    folder = root / "pacs"
    (folder / "splits").mkdir(parents=True)
    for domain in PACS_DOMAINS:
        for part, numbers in {"train": range(4), "crossval": range(4, 6)}.items():
            lines = []
            for label, name in enumerate(PACS_CLASSES, start=1):
                for number in numbers:
                    path = f"{domain}/{name}/{number}.png"
                    write_image(folder / "images" / path, seed=hash_of(path))
                    lines.append(f"{path} {label}\n")
            (folder / "splits" / f"{domain}_{part}_kfold.txt").write_text("".join(lines))


def write_office_home(root: Path) -> None:
    """Four training and two validation images of each class and domain, in folders."""
    for domain in OFFICE_DOMAINS:
        for part, numbers in {"train": range(4), "val": range(4, 6)}.items():
            for name in OFFICE_CLASSES:
                for number in numbers:
                    path = f"office_home_dg/{domain}/{part}/{name}/{number}.jpg"
                    write_image(root / path, seed=hash_of(path))


def hash_of(path: str) -> int:
    """A seed from a path, so that no two images are alike."""
    return int.from_bytes(path.encode()[-6:], "big") + len(path)


CASES = {
    "PACS": (write_pacs, ["photo"], ["art_painting", "cartoon", "sketch"], len(PACS_CLASSES)),
    "OfficeHomeDG": (write_office_home, ["art", "product"], ["real_world"], len(OFFICE_CLASSES)),
}


@pytest.mark.parametrize("name", CASES)
def test_dassls_own_datasets_run(name, tmp_path):
    write, sources, targets, classes = CASES[name]
    write(tmp_path / "data")
    run = tmp_path / "run"
    keys = (
        f"DATASET.NAME {name} VLM.ALLOW_RANDOM True VLM.PRECISION fp32 DATALOADER.NUM_WORKERS 0 OPTIM.MAX_EPOCH 2 "
        f"TRAINER.LARE.EPOCHS 2 EMBEDDINGS.CACHE_DIR {tmp_path}/cache DATASET.NUM_SHOTS 3 DATASET.LONG_TAIL.RATIO 3"
    )
    words = ["--trainer", "LARE", "--root", tmp_path / "data", "--backbone", write_tiny_model(tmp_path / "model")]
    words += ["--source-domains", *sources, "--target-domains", *targets, "--seed", "0", "--output-dir", run]
    assert DATASET_REGISTRY.get(name).__module__.startswith("dassl.")
    assert run_train(*words, *keys.split()) == 0

    record = read_record(run / "record.json")
    assert (record.host, record.dataset, record.shots, record.imbalance) == ("dassl", name, 3, 3.0)
    assert record.source_domains == tuple(sources)
    assert record.target_domains == tuple(targets)
    assert set(record.metrics.domain_accuracy) == set(targets)
    assert record.metrics.in_domain_accuracy is None
    # Two validation images of each class and source domain; all six of each class and target domain are tested.
    assert record.samples["val"] == 2 * classes * len(sources)
    assert record.samples["test"] == 6 * classes * len(targets)

    # Neither dataset knows few shots or long tails: both are applied to what it gives.
    paths = json.loads((run / "split.json").read_text())["train"]
    counts = sorted(Counter(Path(path).parent.name for path in paths).values())
    assert (counts[0], counts[-1], len(counts)) == (1, 3, classes)
    assert record.samples["train"] == sum(counts)
