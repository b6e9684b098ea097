from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.evaluation import Classification, build_evaluator
from lare_dassl.host.door import get_cfg_default


def test_the_confusion_matrix_is_written_by_rows_of_true_labels(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TEST.COMPUTE_CMAT = str(tmp_path / "new"), True
    evaluator = Classification(cfg, lab2cname={0: "a", 1: "b"})
    evaluator.process(torch.eye(2)[[0, 1, 1, 1]], torch.tensor([0, 0, 1, 1]))
    evaluator.evaluate()
    assert torch.load(tmp_path / "new" / "cmat.pt", weights_only=True).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_an_empty_split_is_refused():
    with pytest.raises(InputError, match="no samples"):
        Classification(get_cfg_default()).evaluate()


def test_an_unknown_evaluator_is_refused():
    cfg = get_cfg_default()
    cfg.TEST.EVALUATOR = "Clasification"
    with pytest.raises(InputError, match=r"did you mean '.*Classification'"):
        build_evaluator(cfg, lab2cname={})
