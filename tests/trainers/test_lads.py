from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lare_dassl import EmbeddingSet, LabelledEmbeddings, VLMIdentity
from lare_dassl.errors import InputError
from lare_dassl.methods.lads import AugmentationSettings, fit_augmentation
from tests.helpers import CLASSNAMES, shifted_embeddings, write_embeddings
from tests.trainers.interruption import last_state, metrics_of

ALL, TWO = ("photo", "painting", "sketch"), ("photo", "painting")


@pytest.fixture(scope="module")
def described_file(tmp_path_factory):
    """All three domains are described."""
    path = tmp_path_factory.mktemp("described") / "all.safetensors"
    return write_embeddings(path, shifted_embeddings(described=ALL))


@pytest.fixture
def prepared(build, tmp_path, described_file):
    """`prepared(KEY, VALUE, ...)` gives a LADS trainer after stage 1; `described` names the domains described."""

    def prepare(*overrides, root=described_file, described=(), **flags):
        if described:
            root = write_embeddings(tmp_path / "described.safetensors", shifted_embeddings(described=described))
        trainer = build("LADS", "run", *overrides, root=root, **flags)
        trainer.before_train()
        return trainer

    return prepare


def expected_network(embeddings, target, logit_scale=50.0, sources=("photo",)):
    """Stage 1 for one target domain, with the source text of each row looked up in a loop."""
    rows, names = embeddings.train, embeddings.described_domains
    text = {name: embeddings.domain_text[names.index(name)] for name in (*sources, target)}
    own = [embeddings.domain_names[domain] for domain in rows.domain.tolist()]
    source_text = torch.stack([text[name][label] for name, label in zip(own, rows.label.tolist(), strict=True)])
    target_text = torch.stack([text[target][label] for label in rows.label.tolist()])
    return fit_augmentation(
        rows.embedding,
        rows.label,
        embeddings.class_text,
        source_text,
        target_text,
        logit_scale=logit_scale,
        settings=AugmentationSettings(epochs=3, hidden_dim=8),
        seed=0,
    )


def assert_same_weights(network, expected):
    for name, weight in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], weight)


# Stage 1.


@pytest.mark.parametrize(("key", "scale"), [(0.0, 50.0), (7.0, 7.0)])
def test_stage_1_fits_a_network_for_each_described_target(prepared, key, scale):
    """A logit scale of 0 stands for that of the model."""
    trainer = prepared("TRAINER.LADS.LOGIT_SCALE", key)
    assert trainer.targets == ("painting", "sketch")
    for network, domain in zip(trainer.network, trainer.targets, strict=True):
        assert_same_weights(network, expected_network(trainer.embeddings, domain, scale))


def test_rows_of_each_source_move_away_from_its_description(prepared, tmp_path):
    embeddings = shifted_embeddings(described=ALL)
    train = replace(embeddings.train, domain=torch.arange(40) % 2)
    two_sources = replace(embeddings, train=train, source_domains=TWO, target_domains=("sketch",))
    trainer = prepared(root=write_embeddings(tmp_path / "two.safetensors", two_sources))
    assert trainer.targets == ("sketch",)
    expected = expected_network(trainer.embeddings, "sketch", sources=TWO)
    assert_same_weights(trainer.network[0], expected)


# The domains it moves embeddings to.


@pytest.mark.parametrize(
    ("described", "overrides", "told"),
    [
        (TWO, (), ("painting",)),
        (("sketch", "photo", "painting"), (), ("sketch", "painting")),
        (ALL, ("TRAINER.LADS.TARGETS", "['sketch']"), ("sketch",)),
        (ALL, ("DATASET.SOURCE_DOMAINS", "['photo']"), ("painting", "sketch")),
        # A domain that the run leaves out is moved to only where it is named.
        (ALL, ("DATASET.TARGET_DOMAINS", "['sketch']"), ("sketch",)),
        (ALL, ("DATASET.TARGET_DOMAINS", "['sketch']", "TRAINER.LADS.TARGETS", "['painting']"), ("painting",)),
    ],
)
def test_it_moves_to_the_described_targets_or_to_those_named(prepared, described, overrides, told):
    assert prepared(*overrides, described=described).targets == told


@pytest.mark.parametrize(
    ("described", "told", "untold"),
    [(TWO, "painting", ["sketch"]), (ALL, "painting, sketch", [])],
)
def test_the_log_says_which_domains_it_is_told_of(prepared, caplog, described, told, untold):
    with caplog.at_level(logging.INFO, "lare_dassl"):
        prepared(described=described)
    assert caplog.messages.count(f"LADS moves embeddings to: {told}") == 1
    lines = [line for line in caplog.messages if line.startswith("target domains without a description: ")]
    assert [line.partition(": ")[2] for line in lines] == untold


def test_a_domain_without_images_may_be_imagined(prepared, tmp_path):
    embeddings = shifted_embeddings(described=TWO)
    neon = F.normalize(embeddings.class_text + 0.5, dim=-1)
    texts = torch.cat([embeddings.domain_text, neon[None]])
    imagined = replace(embeddings, domain_text=texts, described_domains=(*TWO, "neon"))
    assert prepared(root=write_embeddings(tmp_path / "set.safetensors", imagined)).targets == ("painting", "neon")


# Stage 2.


def test_batches_hold_an_embedding_moved_to_each_domain(prepared):
    trainer = prepared()
    train = trainer.embeddings.train
    for batch in trainer.train_loader_x:
        real = len(batch) // 3
        assert batch.sampled.tolist() == [False] * real + [True] * 2 * real
        assert batch.label.tolist() == batch.label[:real].tolist() * 3
        places = [int((train.embedding == row).all(dim=1).nonzero()[0]) for row in batch.embedding[:real]]
        assert batch.label[:real].tolist() == train.label[places].tolist()
        for block, network in enumerate(trainer.network, start=1):
            with torch.no_grad():
                moved = network(train.embedding)[places]
            torch.testing.assert_close(batch.embedding[block * real : (block + 1) * real], moved)


def test_validation_rows_are_neither_trained_on_nor_tested_on(prepared, build, tmp_path):
    trainer = prepared()
    rows_of = {name: set(map(tuple, rows.embedding.tolist())) for name, rows in trainer.embeddings.splits().items()}
    assert not rows_of["val"] & (rows_of["train"] | rows_of["test"])
    batches = torch.cat([batch.embedding[~batch.sampled] for batch in trainer.train_loader_x])
    assert set(map(tuple, batches.tolist())) == rows_of["train"]
    described = shifted_embeddings(described=TWO)
    for name, embeddings in (("with", described), ("without", replace(described, val=None))):
        build("LADS", name, root=write_embeddings(tmp_path / f"{name}.safetensors", embeddings)).train()
    first, second = (last_state(tmp_path / name)["state_dict"]["weight"] for name in ("with", "without"))
    assert torch.equal(first, second)
    assert metrics_of(tmp_path / "with") == metrics_of(tmp_path / "without")


def described_world():
    """Painting and sketch shift the images of photo far; photo and painting are described so."""
    generator = torch.Generator().manual_seed(3)
    class_text = F.normalize(torch.randn(5, 16, generator=generator), dim=-1)
    shifts = 1.2 * F.normalize(torch.randn(3, 16, generator=generator), dim=-1)

    def rows(domains, per_class):
        domain = torch.tensor(domains).repeat_interleave(5 * per_class)
        label = torch.arange(len(domain)) % 5
        noise = 0.25 * torch.randn(len(domain), 16, generator=generator)
        return LabelledEmbeddings(F.normalize(class_text[label] + shifts[domain] + noise, dim=-1), label, domain)

    return EmbeddingSet(
        train=rows([0], 16),
        val=None,
        test=rows([0, 1, 2], 40),
        class_text=class_text,
        classnames=CLASSNAMES,
        domain_names=ALL,
        source_domains=("photo",),
        target_domains=("painting", "sketch"),
        vlm=VLMIdentity("made", "up", "", 16, 50.0),
        domain_text=F.normalize(class_text + shifts[:2, None], dim=-1),
        described_domains=TWO,
    )


def test_it_is_better_than_a_probe_in_a_described_domain(build, tmp_path):
    path = write_embeddings(tmp_path / "world.safetensors", described_world())
    longer = ("OPTIM.MAX_EPOCH", 40)
    build("FineTune", "probe", *longer, root=path).train()
    build("LADS", "lads", *longer, "TRAINER.LADS.EPOCHS", 200, "TRAINER.LADS.HIDDEN_DIM", 384, root=path).train()
    probe, lads = (metrics_of(tmp_path / name)["domain_accuracy"] for name in ("probe", "lads"))
    assert probe["painting"] < 75
    assert lads["painting"] > probe["painting"] + 10
    assert lads["photo"] > 90


# Testing again.


def test_a_trained_model_is_tested_where_no_domain_is_described(build, described_file, embedding_file, tmp_path):
    trained = build("LADS", "run", root=described_file)
    trained.train()
    tester = build("LADS", "test", root=embedding_file)
    tester.load_model(str(tmp_path / "run"))
    assert tester.test() == trained.results["accuracy"]


def test_a_record_of_a_loaded_model_needs_its_described_domains(build, tmp_path, described_file):
    targets = ("DATASET.TARGET_DOMAINS", "['painting']")
    build("LADS", "run", *targets, root=described_file).train()
    other = ("DATASET.TARGET_DOMAINS", "['sketch']")
    tester = build("LADS", "test", *other, root=described_file)
    tester.load_model(str(tmp_path / "run"))
    with pytest.raises(InputError, match=r"\(domains told of is painting there and sketch here"):
        tester.check_loaded_settings()
    tester = build("LADS", "test", *other, "TRAINER.LADS.TARGETS", "['painting']", root=described_file)
    tester.load_model(str(tmp_path / "run"))
    tester.check_loaded_settings()


# What cannot be run.


def test_an_embedding_file_without_descriptions_is_refused(prepared, embedding_file):
    with pytest.raises(InputError) as error:
        prepared(root=embedding_file)
    assert str(error.value).startswith(f"embedding file {embedding_file} has no text/domain: LADS needs domain")
    assert "tools/extract.py" in str(error.value)


@pytest.mark.parametrize(
    ("described", "targets", "message"),
    [
        (("painting",), [], "source domain 'photo' is not described (described: painting)"),
        (("photo",), [], "no target domain is described (described: photo)"),
        (TWO, ["paintings"], "unknown described domain (TRAINER.LADS.TARGETS) 'paintings': did you mean 'painting'?"),
        (TWO, ["sketch"], "unknown described domain (TRAINER.LADS.TARGETS) 'sketch'"),
        (TWO, ["painting", "photo"], "TRAINER.LADS.TARGETS names 'photo', which is a source domain of the run: take"),
        (TWO, ["painting", "painting"], "TRAINER.LADS.TARGETS names 'painting' twice"),
    ],
)
def test_descriptions_that_do_not_suffice_are_told(prepared, described, targets, message):
    with pytest.raises(InputError) as error:
        prepared("TRAINER.LADS.TARGETS", str(targets), described=described)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


# Images.

PHOTO = ("DATASET.SOURCE_PROMPTS.photo", "a photo of a {}.")
PAINTING = ("DATASET.TARGET_PROMPTS.painting", "a painting of a {}.")


def test_images_are_described_by_the_prompts_of_the_dataset(build_on_images, tmp_path):
    trainer = build_on_images("LADS", "run", *PHOTO, *PAINTING, "DATASET.TARGET_PROMPTS.neon", "a neon sign of a {}.")
    trainer.train()
    assert trainer.targets == ("painting", "neon")
    assert trainer.embeddings.domain_text.shape == (3, 2, 32)
    assert set(metrics_of(tmp_path / "run")["domain_accuracy"]) == {"photo", "painting"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "DATASET.SOURCE_PROMPTS and DATASET.TARGET_PROMPTS are empty: LADS needs domain descriptions"),
        (PHOTO, "no target domain is described (described: photo): add one to DATASET.TARGET_PROMPTS"),
        (("DATASET.SOURCE_PROMPTS.photos", "a photo of a {}.", *PAINTING), "source domain 'photo' is not described"),
        ((*PHOTO, *PAINTING, "TRAINER.LADS.TARGETS", "['sketch']"), "unknown described domain (TRAINER.LADS.TARGETS)"),
        ((*PHOTO, "DATASET.TARGET_PROMPTS.painting", "a painting."), "has no {} for the class name"),
        ((*PHOTO, *PAINTING, "TRAINER.LADS.ALPHA", 2.0), "TRAINER.LADS.ALPHA must lie in [0, 1], not 2.0"),
    ],
)
def test_descriptions_are_checked_before_images_are_encoded(build_on_images, tmp_path, overrides, message):
    with pytest.raises(InputError) as error:
        build_on_images("LADS", "run", *overrides)
    assert message in str(error.value)
    assert not (tmp_path / "cache").exists()
