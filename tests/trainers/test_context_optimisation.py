from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lare_dassl import EmbeddingSet, LabelledEmbeddings, VLMIdentity, vlm
from lare_dassl.commands.checks import make_config
from lare_dassl.errors import InputError
from lare_dassl.io.sha256 import file_sha256
from lare_dassl.system import network
from tests.helpers import shifted_embeddings, train_arguments, write_embeddings
from tests.trainers.interruption import metrics_of

CONTEXT = "TRAINER.CONTEXTOPTIMISATION"
NEW_WORDS = [300, 301, 302, 303]


# The tests that a text tower of another shape could fail.
OF_BOTH = pytest.mark.parametrize("build_on_images", ["clip", "coca"], indirect=True)


def demo_file(path, **vlm_values):
    """An embedding file of the demo model, with rows near the texts of five of its classes."""
    source = vlm.resolve("demo", "")
    assert source.weights is not None
    identity = VLMIdentity("demo", "", file_sha256(source.weights), 128, 50.0)
    names = ("red circle", "blue star", "green square", "red star", "blue circle")
    model = vlm.load(source, "fp32", torch.device("cpu"))
    class_text = model.encode_texts([f"a photo of a {name}." for name in names])
    generator = torch.Generator().manual_seed(0)
    shift = 0.05 * torch.randn(128, generator=generator)

    def rows(per_class):
        label = torch.arange(5 * per_class) % 5
        noise = 0.05 * torch.randn(len(label), 128, generator=generator)
        return LabelledEmbeddings(
            F.normalize(class_text[label] + shift + noise, dim=-1), label, torch.zeros_like(label)
        )

    embeddings = EmbeddingSet(
        rows(8), rows(4), rows(20), class_text, names, ("photo",), ("photo",), (), replace(identity, **vlm_values)
    )
    return write_embeddings(path, embeddings)


def class_text_of(tower, tokenizer, context, names):
    """The oracle of a prompt's text: unused words of the vocabulary get the context vectors, and the tower reads on."""
    tower = copy.deepcopy(tower)
    tokens = tokenizer([f"a photo of a {name}." for name in names])
    tokens[:, 1:5] = torch.tensor(NEW_WORDS)
    table = tower.token_embedding.weight.detach().clone()
    table[NEW_WORDS] = context.detach()
    tower.token_embedding.weight = torch.nn.Parameter(table)
    output = tower(text=tokens)
    features = output if isinstance(output, torch.Tensor) else output[isinstance(tower, vlm.open_clip.CLIP)]
    return F.normalize(features, dim=-1), tower.token_embedding.weight


def model_of(trainer):
    identity = trainer.embeddings.vlm
    model = vlm.load(vlm.resolve(identity.model, "", allow_random=True), "fp32", torch.device("cpu"))
    return getattr(model.model, "text", model.model), model.tokenizer


@OF_BOTH
def test_it_starts_as_the_zero_shot_classifier_of_its_words(build_on_images):
    trainer = build_on_images("ContextOptimisation", "run")
    assert trainer.cfg.VLM.TEMPLATES == ["a photo of a {}."]
    torch.testing.assert_close(trainer.model.class_text(), trainer.embeddings.class_text)


@OF_BOTH
def test_it_learns_the_context_through_the_text_tower(build_on_images):
    """The trainer's context is that of a plain loop over the same batches, in which the tower reads new words."""
    rate = ("OPTIM.NAME", "sgd", "OPTIM.LR", 0.01, "OPTIM.WARMUP_EPOCH", 0, "OPTIM.WEIGHT_DECAY", 0.0005)
    trainer = build_on_images(
        "ContextOptimisation", "run", *rate, "OPTIM.MAX_EPOCH", 3, "DATALOADER.TRAIN_X.BATCH_SIZE", 4
    )
    start = trainer.model.context.detach().clone()
    context = start.clone().requires_grad_()
    trainer.train()
    tower, tokenizer = model_of(trainer)
    rows, scale = trainer.embeddings.train, trainer.embeddings.vlm.logit_scale
    optimiser = torch.optim.SGD([context], lr=0.01, momentum=0.9, weight_decay=0.0005)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=3)
    names = [name.replace("_", " ") for name in trainer.embeddings.classnames]
    for epoch in range(3):
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(epoch))
        for part in order.split(4):
            text, table = class_text_of(tower, tokenizer, context, names)
            F.cross_entropy(scale * rows.embedding[part] @ text.T, rows.label[part]).backward()
            context.grad = table.grad[NEW_WORDS]
            optimiser.step()
        schedule.step()
    torch.testing.assert_close(trainer.learner.context - start, context - start, rtol=1e-3, atol=1e-5)
    assert (context - start).abs().mean() > 1e-3
    text, _ = class_text_of(tower, tokenizer, context, names)
    torch.testing.assert_close(trainer.model.weight, scale * text, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [
        ((f"{CONTEXT}.CSC", True), (2, 4, 32)),
        ((f"{CONTEXT}.INIT", "", f"{CONTEXT}.N_CTX", 6), (6, 32)),
        ((f"{CONTEXT}.INIT", "a picture"), (2, 32)),
    ],
)
def test_the_context_has_the_shape_that_is_asked_for(build_on_images, overrides, shape):
    trainer = build_on_images("ContextOptimisation", "run", *overrides)
    before = trainer.model.context.detach().clone()
    assert before.shape == shape
    trainer.train()
    assert trainer.learner.context.shape == shape
    assert not torch.equal(trainer.learner.context, before)


def test_random_contexts_follow_from_the_seed(build_on_images):
    first, again, other = (
        build_on_images("ContextOptimisation", f"run{place}", f"{CONTEXT}.INIT", "", seed=seed).model.context
        for place, seed in enumerate((0, 0, 1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("keys", [(), ("TEST.FINAL_MODEL", "best_val", "DATASET.VAL_FRACTION", 0.3)])
def test_a_linear_classifier_with_the_same_logits_is_tested(build_on_images, tmp_path, keys):
    trainer = build_on_images("ContextOptimisation", "run", *keys)
    trainer.train()
    embedding = trainer.embeddings.test.embedding
    assert isinstance(trainer.model, torch.nn.Linear)
    torch.testing.assert_close(trainer.model(embedding), trainer.learner(embedding))


# The demo model, and embedding files.


def test_the_loss_of_the_demo_model_falls(build, tmp_path):
    path = demo_file(tmp_path / "demo.safetensors", logit_scale=5.0)
    trainer = build("ContextOptimisation", "run", "OPTIM.LR", 0.05, "OPTIM.MAX_EPOCH", 20, root=path)
    rows, start = trainer.train_rows, trainer.model.linear()
    trainer.train()
    before, after = (F.cross_entropy(model(rows.embedding), rows.label).item() for model in (start, trainer.model))
    assert after < 0.9 * before
    assert metrics_of(tmp_path / "run")["accuracy"] >= 95.0


def test_its_optimiser_is_its_own(build, tmp_path):
    flags = ("--trainer", "ContextOptimisation", "--root", demo_file(tmp_path / "demo.safetensors"))
    cfg = make_config(train_arguments(*flags, "DATASET.NAME", "EmbeddingFile"))
    assert (cfg.OPTIM.NAME, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_CONS_LR) == ("sgd", 1, 1e-5)


def test_a_context_too_long_is_refused_with_the_largest_allowed(build, tmp_path):
    path = demo_file(tmp_path / "demo.safetensors")
    with pytest.raises(InputError) as error:
        build("ContextOptimisation", "run", f"{CONTEXT}.INIT", "", f"{CONTEXT}.N_CTX", 8, root=path)
    assert str(error.value).startswith(f"{CONTEXT}.N_CTX: the context and the class name '")
    assert str(error.value).endswith("are longer than the 12 tokens of a prompt: take at most 7 context tokens")
    build("ContextOptimisation", "run", f"{CONTEXT}.INIT", "", f"{CONTEXT}.N_CTX", 7, root=path)
    with pytest.raises(InputError, match=rf"{CONTEXT}\.INIT: "):
        build("ContextOptimisation", "run", f"{CONTEXT}.INIT", "one of very many photos of a large", root=path)


def test_embeddings_of_other_weights_are_refused(build, tmp_path):
    path = demo_file(tmp_path / "demo.safetensors", weights_sha256="0123456789abcdef")
    with pytest.raises(InputError) as error:
        build("ContextOptimisation", "run", root=path)
    assert "are not those of the embedding file" in str(error.value) and "(0123456789ab...)" in str(error.value)
    unknown = demo_file(tmp_path / "unknown.safetensors", weights_sha256="")
    assert build("ContextOptimisation", "run", root=unknown).model.context.shape == (4, 128)


def test_embeddings_of_another_width_are_refused(build, tmp_path):
    embeddings = shifted_embeddings()
    identity = replace(embeddings.vlm, model="demo", pretrained="", weights_sha256="")
    path = write_embeddings(tmp_path / "narrow.safetensors", replace(embeddings, vlm=identity))
    with pytest.raises(InputError, match=r"the embeddings of demo are 128 wide, those of the embedding file .* 16: "):
        build("ContextOptimisation", "run", root=path)


def test_a_text_tower_that_cannot_be_had_is_told_in_one_line(build, monkeypatch):
    monkeypatch.setattr(network, "reachable", lambda _: False)
    monkeypatch.setattr(vlm.weights, "cached_weights", lambda _: None)
    with pytest.raises(InputError) as error:
        build("ContextOptimisation", "run")
    assert str(error.value).startswith(
        "ContextOptimisation needs the text tower of the model: no weights for ViT-B-32 (openai) in "
    )
    assert "\n" not in str(error.value)
