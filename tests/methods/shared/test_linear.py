from __future__ import annotations

import torch
import torch.nn.functional as F

from lare_dassl.methods.shared.linear import random_classifier, text_classifier


def test_a_random_classifier_is_torchs_default_for_its_seed():
    torch.manual_seed(11)
    expected = torch.nn.Linear(6, 3)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    classifier = random_classifier(6, 3, seed=11)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(classifier.weight, expected.weight)
    assert torch.equal(classifier.bias, expected.bias)
    assert not torch.equal(random_classifier(6, 3, seed=12).weight, expected.weight)


def test_a_text_classifier_is_the_scaled_cosine_with_the_texts():
    generator = torch.Generator().manual_seed(0)
    class_text = F.normalize(torch.randn(3, 6, generator=generator), dim=-1)
    embedding = F.normalize(torch.randn(5, 6, generator=generator), dim=-1)
    classifier = text_classifier(class_text, 40.0)
    expected = torch.tensor([[40.0 * sum((e * t).tolist()) for t in class_text] for e in embedding])
    torch.testing.assert_close(classifier(embedding).detach(), expected, rtol=1e-5, atol=1e-5)
    assert classifier.bias.tolist() == [0.0, 0.0, 0.0]
    assert classifier.weight.requires_grad


def test_training_a_text_classifier_leaves_the_class_texts_alone():
    class_text = torch.eye(3)
    classifier = text_classifier(class_text, 1.0)
    with torch.no_grad():
        classifier.weight.add_(1.0)
    assert torch.equal(class_text, torch.eye(3))


def test_a_text_classifier_lies_where_the_texts_do():
    classifier = text_classifier(torch.eye(3, device="meta"), 1.0)
    assert {parameter.device.type for parameter in classifier.parameters()} == {"meta"}
