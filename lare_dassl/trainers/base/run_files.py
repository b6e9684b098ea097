"""The files that a run leaves in its folder: split.json, predictions, the classifier, and the record last."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.datasets.base.split_file import write_split
from lare_dassl.embeddings.embedding_set import VLMIdentity
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.results.classifier_file import FILE_NAME as CLASSIFIER_FILE
from lare_dassl.results.classifier_file import SavedClassifier, write_classifier
from lare_dassl.results.metrics import DomainClassification
from lare_dassl.results.predictions import FILE_NAME as PREDICTIONS_FILE
from lare_dassl.results.predictions import write_predictions
from lare_dassl.results.record import make_record, write_record

logger = logging.getLogger(__name__)


class RunFiles:
    """Writes a run's files, each whole or not at all; split.json as soon as it is made, record.json when asked.

    Args:
        folder: of the run.
        cfg: the configuration that ran, with its seed.
        dataset: that it ran on.

    Attributes:
        checksums: of the files that the record names, by file name.

    Raises:
        InputError: a file cannot be written.
    """

    def __init__(self, folder: Path, cfg: CfgNode, dataset: ImageDataset) -> None:
        self._folder, self._cfg, self._dataset = folder, cfg, dataset
        self._split_file = write_split(folder, dataset, cfg)
        self.checksums: dict[str, str] = {}

    def write_predictions(self, evaluator: DomainClassification) -> None:
        """Write what the last test on TEST.SPLIT predicted; nothing under TEST.NO_TEST."""
        if not self._cfg.TEST.NO_TEST:
            digest = write_predictions(self._folder, evaluator.predictions(), self._cfg.TEST.SPLIT)
            self.checksums[PREDICTIONS_FILE] = digest

    def write_classifier(self, saved: SavedClassifier) -> None:
        """Write the classifier for use on images."""
        self.checksums[CLASSIFIER_FILE] = write_classifier(self._folder / CLASSIFIER_FILE, saved)

    def write_record(self, vlm: VLMIdentity | str, **outcome: Any) -> Path:
        """Write record.json; gives its path.

        Args:
            vlm: the frozen model, or where no more is known of it, its name.
            **outcome: the further arguments of `make_record`.
        """
        record = make_record(
            self._cfg,
            vlm,
            source_domains=self._dataset.source_domains,
            target_domains=self._dataset.target_domains,
            split_sha256=file_sha256(self._split_file),
            files=self.checksums,
            **outcome,
        )
        path = write_record(self._folder, record)
        logger.info("record: %s", path)
        return path
