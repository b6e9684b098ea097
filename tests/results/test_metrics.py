from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.host.door import build_evaluator
from lare_dassl.results.metrics import ECE_BINS, expected_calibration_error
from tests.helpers import make_cfg


def loop_ece(confidence, correct, bins):
    """Guo et al. equation 3 by a loop over bins (low, high]; the first bin holds 0 too."""
    total = 0.0
    for place in range(bins):
        low, high = place / bins, (place + 1) / bins
        inside = [
            (value, hit)
            for value, hit in zip(confidence, correct, strict=True)
            if low < value <= high or (place == 0 and value == 0)
        ]
        if inside:
            mean_confidence = sum(value for value, _ in inside) / len(inside)
            accuracy = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(confidence) * abs(accuracy - mean_confidence)
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
    expected = loop_ece(confidence.tolist(), correct.tolist(), 4)
    assert expected_calibration_error(confidence, correct, 4) == pytest.approx(expected, rel=1e-6)
    by_hand = (abs(1 - 0.25) + abs(1 - 0.76) + abs(1 - 1.26) + abs(1 - 1.76)) / 8 * 100
    assert expected == pytest.approx(by_hand, rel=1e-6)


def test_all_edges_of_the_usual_bins_are_kept_apart():
    assert ECE_BINS == 15
    confidence = torch.arange(1, 16) / 15
    # Every edge in a bin of its own: the gaps are those of single rows.
    correct = torch.arange(15) % 2 == 0
    expected = sum(abs(float(hit) - (place + 1) / 15) for place, hit in enumerate(correct.tolist())) / 15 * 100
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("confidence", "correct", "expected"), [(1.0, True, 0.0), (1.0, False, 100.0), (0.7, True, 30)]
)
def test_ece_of_one_kind_of_row(confidence, correct, expected):
    error = expected_calibration_error(torch.full((5,), confidence), torch.full((5,), correct))
    assert error == pytest.approx(expected, abs=1e-4)


def loop_macro_f1(true, predicted):
    scores = []
    for label in sorted(set(true)):
        pairs = list(zip(true, predicted, strict=True))
        hits = sum(t == p == label for t, p in pairs)
        false_alarms = sum(p == label != t for t, p in pairs)
        misses = sum(t == label != p for t, p in pairs)
        scores.append(2 * hits / (2 * hits + false_alarms + misses))
    return 100.0 * sum(scores) / len(scores)


def make_evaluator(**names):
    return build_evaluator(
        make_cfg(TEST__EVALUATOR="DomainClassification"), lab2cname={label: str(label) for label in range(5)}, **names
    )


@pytest.fixture
def outputs():
    generator = torch.Generator().manual_seed(2)
    true = torch.randint(0, 5, (90,), generator=generator)
    logits = torch.randn(90, 5, generator=generator) + 1.5 * torch.nn.functional.one_hot(true, 5)
    domain = torch.tensor([0] * 50 + [1] * 10 + [2] * 25 + [3] * 5)
    return logits, true, domain


DOMAINS = {
    "domain_names": ("photo", "neon", "sketch", "pixel"),
    "source_domains": ("photo", "pixel"),
    "target_domains": ("neon", "sketch"),
}


def process_in_batches(evaluator, *columns, size=17):
    for batch in zip(*(column.split(size) for column in columns), strict=True):
        evaluator.process(*batch)


def test_figures_agree_with_loops_over_the_rows(outputs):
    logits, true, _ = outputs
    evaluator = make_evaluator()
    process_in_batches(evaluator, logits, true)
    results = evaluator.evaluate()

    predicted = [row.index(max(row)) for row in logits.tolist()]
    hits = [t == p for t, p in zip(true.tolist(), predicted, strict=True)]
    confidence = logits.double().softmax(dim=1).amax(dim=1).tolist()
    accuracy = 100.0 * sum(hits) / 90
    assert 40 < accuracy < 90
    assert next(iter(results)) == "accuracy"
    assert results["accuracy"] == pytest.approx(accuracy, rel=1e-12)
    assert results["error_rate"] == pytest.approx(100 - accuracy, rel=1e-12)
    assert results["macro_f1"] == pytest.approx(loop_macro_f1(true.tolist(), predicted), rel=1e-12)
    assert results["ece"] == pytest.approx(loop_ece(confidence, hits, 15), rel=1e-5)


def test_without_domains_there_are_no_figures_by_domain(outputs):
    evaluator = make_evaluator(**DOMAINS)
    evaluator.process(mo=outputs[0], gt=outputs[1])
    assert list(evaluator.evaluate()) == ["accuracy", "error_rate", "macro_f1", "ece"]


def test_every_domain_counts_the_same_whatever_its_size(outputs):
    logits, true, domain = outputs
    evaluator = make_evaluator(**DOMAINS)
    process_in_batches(evaluator, logits, true, domain)
    results = evaluator.evaluate()

    hits = (logits.argmax(dim=1) == true).tolist()
    by_domain = {}
    for index, name in enumerate(DOMAINS["domain_names"]):
        of_domain = [hit for hit, place in zip(hits, domain.tolist(), strict=True) if place == index]
        by_domain[name] = 100.0 * sum(of_domain) / len(of_domain)
    assert by_domain["photo"] != by_domain["pixel"] and by_domain["neon"] != by_domain["sketch"]
    for name, value in by_domain.items():
        assert results[f"domain_accuracy/{name}"] == pytest.approx(value, rel=1e-12)
    inside = (by_domain["photo"] + by_domain["pixel"]) / 2
    outside = (by_domain["neon"] + by_domain["sketch"]) / 2
    assert results["in_domain_accuracy"] == pytest.approx(inside, rel=1e-12)
    assert results["out_of_domain_accuracy"] == pytest.approx(outside, rel=1e-12)
    assert results["accuracy"] == pytest.approx(100.0 * sum(hits) / 90, rel=1e-12)


def test_domains_without_rows_are_left_out(outputs):
    logits, true, domain = outputs
    evaluator = make_evaluator(**DOMAINS)
    only = domain == 1
    evaluator.process(logits[only], true[only], domain[only])
    results = evaluator.evaluate()
    assert "in_domain_accuracy" not in results
    assert results["out_of_domain_accuracy"] == results["domain_accuracy/neon"] == results["accuracy"]
    assert "domain_accuracy/sketch" not in results


def test_reset_forgets_everything(outputs):
    logits, true, domain = outputs
    evaluator = make_evaluator(**DOMAINS)
    evaluator.process(-logits, true, domain)
    evaluator.reset()
    with pytest.raises(InputError, match="no samples"):
        evaluator.evaluate()
    evaluator.process(logits[:50], true[:50])
    fresh = make_evaluator()
    fresh.process(logits[:50], true[:50])
    assert evaluator.evaluate() == fresh.evaluate()


def test_half_precision_logits_are_taken(outputs):
    logits, true, domain = outputs
    evaluator = make_evaluator(**DOMAINS)
    evaluator.process(logits.bfloat16(), true, domain)
    rounded = logits.bfloat16().float()
    expected = loop_ece(rounded.softmax(dim=1).amax(dim=1).tolist(), (rounded.argmax(dim=1) == true).tolist(), 15)
    assert evaluator.evaluate()["ece"] == pytest.approx(expected, rel=1e-4)
