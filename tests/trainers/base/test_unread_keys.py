from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.config import merging
from lare_dassl.trainers.base.unread_keys import warn_of_unread

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


def config_of(path, trainer, *overrides):
    cfg = merging.new_config()
    merging.use_trainer_defaults(cfg, trainer)
    merging.merge_file(cfg, path)
    merging.merge_overrides(cfg, ["TRAINER.NAME", trainer, *overrides])
    return cfg


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_key_of_the_shipped_configs_is_read(caplog, path):
    for on_embeddings in (True, False, None):
        warn_of_unread(config_of(path, "LARE"), on_embeddings=on_embeddings)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("name", "overrides", "unread"),
    [
        ("cub", ("DATASET.TEST_FRACTION", "0.3"), "CUBPainting: DATASET.TEST_FRACTION"),
        ("pacs", ("DATASET.SUBSAMPLE_CLASSES", "base"), "DomainFolders: DATASET.SUBSAMPLE_CLASSES"),
        ("embedding_file", ("VLM.PRECISION", "fp32", "OPTIM.LR", "0.5"), "EmbeddingFile: VLM.PRECISION"),
    ],
)
def test_a_key_that_the_dataset_does_not_read_is_named(caplog, name, overrides, unread):
    path = next(path for path in CONFIGS if path.stem == name)
    warn_of_unread(config_of(path, "LARE", *overrides), on_embeddings=True)
    assert [record.getMessage() for record in caplog.records] == [
        f"set, but read by nothing in this run of LARE on {unread}"
    ]
