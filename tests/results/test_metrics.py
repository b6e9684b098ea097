from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.host.door import build_evaluator
from lare_dassl.results.metrics import ECE_BINS, expected_calibration_error
from tests.helpers import make_cfg

DOMAINS = {
    "domain_names": ("photo", "neon", "sketch", "pixel"),
    "source_domains": ("photo", "pixel"),
    "target_domains": ("neon", "sketch"),
}


def loop_ece(confidence, correct, bins):
    """Guo et al. equation 3 by a loop over bins (low, high]; the first bin holds 0 too."""
    total = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        rows = list(zip(confidence, correct, strict=True))
        inside = [row for row in rows if low < row[0] <= high or (place == 0 and row[0] == 0)]
        if inside:
            gap = sum(value for value, _ in inside) - sum(hit for _, hit in inside)
            total += abs(gap) / len(confidence)
    return 100.0 * total


@pytest.mark.parametrize("bins", [1, 4, 10, 15])
def test_ece_is_the_mean_gap_over_the_bins(bins):
    generator = torch.Generator().manual_seed(bins)
    confidence = torch.rand(300, generator=generator, dtype=torch.float64)
    correct = torch.rand(300, generator=generator) < 0.6
    expected = loop_ece(confidence.tolist(), correct.tolist(), bins)
    assert expected_calibration_error(confidence, correct, bins) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_confidence_on_the_edge_belongs_to_the_bin_below(dtype):
    # Rows on the upper edge of each of four bins and just above it, right and wrong so that the bins matter.
    confidence = torch.tensor([0.0, 0.25, 0.26, 0.5, 0.51, 0.75, 0.76, 1.0], dtype=dtype)
    correct = torch.tensor([False, True, False, True, True, False, False, True])
    by_hand = (abs(1 - 0.25) + abs(1 - 0.76) + abs(1 - 1.26) + abs(1 - 1.76)) / 8 * 100
    assert expected_calibration_error(confidence, correct, 4) == pytest.approx(by_hand, rel=1e-6)


def test_all_edges_of_the_usual_bins_are_kept_apart():
    confidence, correct = torch.arange(1, 16) / 15, torch.arange(15) % 2 == 0
    # Every edge in a bin of its own: the gaps are those of single rows.
    expected = 100 * (correct.double() - confidence.double()).abs().mean().item()
    assert ECE_BINS == 15
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"), [(1.0, True, 0.0), (1.0, False, 100.0), (0.7, True, 30)]
)
def test_ece_of_one_kind_of_row(confidence, correct, expected):
    error = expected_calibration_error(torch.full((5,), confidence), torch.full((5,), correct))
    assert error == pytest.approx(expected, abs=1e-4)


def make_evaluator(**names):
    cfg = make_cfg(TEST__EVALUATOR="DomainClassification")
    return build_evaluator(cfg, lab2cname={label: str(label) for label in range(5)}, **names)


@pytest.fixture(scope="module")
def outputs():
    """Logits, labels and domains of 90 rows."""
    generator = torch.Generator().manual_seed(2)
    true = torch.randint(0, 5, (90,), generator=generator)
    logits = torch.randn(90, 5, generator=generator) + 1.5 * torch.nn.functional.one_hot(true, 5)
    return logits, true, torch.repeat_interleave(torch.arange(4), torch.tensor([50, 10, 25, 5]))


def figures_of(*columns, size=17, **names):
    """The figures of an evaluator that was given the rows in batches."""
    evaluator = make_evaluator(**names)
    for batch in zip(*(column.split(size) for column in columns), strict=True):
        evaluator.process(*batch)
    return evaluator.evaluate()


def test_figures_agree_with_loops_over_the_rows(outputs):
    logits, true, _ = outputs
    results = figures_of(logits, true)
    hits = logits.argmax(dim=1) == true
    confidence = logits.double().softmax(dim=1).amax(dim=1).tolist()
    accuracy = 100.0 * hits.double().mean().item()
    assert 40 < accuracy < 90
    assert list(results) == ["accuracy", "error_rate", "macro_f1", "ece"]
    assert results["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    assert results["error_rate"] == pytest.approx(100 - accuracy, rel=1e-12)
    assert results["ece"] == pytest.approx(loop_ece(confidence, hits.tolist(), 15), rel=1e-5)


def test_without_domains_there_are_no_figures_by_domain(outputs):
    assert list(figures_of(*outputs[:2], **DOMAINS)) == ["accuracy", "error_rate", "macro_f1", "ece"]


def test_every_domain_counts_the_same_whatever_its_size(outputs):
    logits, true, domain = outputs
    results = figures_of(*outputs, **DOMAINS)
    hits = (logits.argmax(dim=1) == true).double()
    photo, neon, sketch, pixel = (100.0 * hits[domain == index].mean().item() for index in range(4))
    assert photo != pixel and neon != sketch
    expected = {"photo": photo, "neon": neon, "sketch": sketch, "pixel": pixel}
    found = {name.removeprefix("domain_accuracy/"): value for name, value in results.items() if "/" in name}
    assert found == pytest.approx(expected, rel=1e-12)
    assert results["in_domain_accuracy"] == pytest.approx((photo + pixel) / 2, rel=1e-12)
    assert results["out_of_domain_accuracy"] == pytest.approx((neon + sketch) / 2, rel=1e-12)
    assert results["accuracy"] == pytest.approx(100.0 * hits.mean().item(), rel=1e-12)


def test_domains_without_rows_are_left_out(outputs):
    only = outputs[2] == 1
    results = figures_of(*(column[only] for column in outputs), **DOMAINS)
    assert "in_domain_accuracy" not in results and "domain_accuracy/sketch" not in results
    assert results["out_of_domain_accuracy"] == results["domain_accuracy/neon"] == results["accuracy"]


def test_reset_forgets_everything(outputs):
    logits, true, domain = outputs
    evaluator = make_evaluator(**DOMAINS)
    evaluator.process(-logits, true, domain)
    evaluator.reset()
    with pytest.raises(InputError, match="no samples"):
        evaluator.evaluate()
    evaluator.process(logits[:50], true[:50])
    assert evaluator.evaluate() == figures_of(logits[:50], true[:50])


def test_half_precision_logits_are_taken(outputs):
    logits, true, domain = outputs
    rounded = logits.bfloat16().float()
    expected = loop_ece(rounded.softmax(dim=1).amax(dim=1).tolist(), (rounded.argmax(dim=1) == true).tolist(), 15)
    assert figures_of(logits.bfloat16(), true, domain, **DOMAINS)["ece"] == pytest.approx(expected, rel=1e-4)
