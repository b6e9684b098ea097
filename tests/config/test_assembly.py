from __future__ import annotations

from pathlib import Path

import pytest

from lare_dassl.commands.checks import make_config
from lare_dassl.config.merging import new_config
from tests.helpers import train_arguments

ROOT = Path(__file__).parents[2]


def configured(*words, dataset="EmbeddingFile"):
    return make_config(train_arguments(*words, "DATASET.NAME", dataset))


def test_later_sources_override_earlier_ones(tmp_path):
    data, method = tmp_path / "data.yaml", tmp_path / "method.yaml"
    data.write_text("OPTIM: {LR: 0.1, MAX_EPOCH: 11, WEIGHT_DECAY: 0.1}\nSEED: 1\nDATASET: {ROOT: here}\n")
    method.write_text("OPTIM: {MAX_EPOCH: 12, WEIGHT_DECAY: 0.2}\nSEED: 2\n")
    files = ("--trainer", "LARE", "--dataset-config-file", data, "--config-file", method)
    cfg = configured(*files, "--seed", 3, "OPTIM.WEIGHT_DECAY", 0.4)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WEIGHT_DECAY) == ("adamw", 0.1, 12, 0.4)
    assert cfg.SEED == 3
    assert configured(*files, "--seed", 3, "SEED", 4).SEED == 4
    # Flags that are left out change nothing.
    assert (configured(*files).SEED, cfg.DATASET.ROOT) == (2, "here")


def test_trainers_on_embeddings_have_their_own_defaults():
    probe = configured("--trainer", "FineTune").OPTIM
    assert (probe.NAME, probe.LR, probe.LR_SCHEDULER, probe.MAX_EPOCH) == ("adamw", 0.03, "cosine", 0)
    assert new_config().OPTIM.NAME == "adam"
    named = make_config(train_arguments("TRAINER.NAME", "FineTune", "DATASET.NAME", "EmbeddingFile"))
    assert dict(named.OPTIM) == dict(probe)


def test_flags_set_dassls_keys(tmp_path):
    cfg = configured(
        *("--trainer", "LARE", "--root", tmp_path, "--output-dir", tmp_path / "out", "--resume", tmp_path / "old"),
        *("--seed", 0, "--source-domains", "photo", "sketch", "--target-domains", "neon"),
        *("--transforms", "random_flip", "--backbone", "ViT-B-32", "--head", "mlp"),
    )
    assert (cfg.TRAINER.NAME, cfg.DATASET.NAME, cfg.SEED) == ("LARE", "EmbeddingFile", 0)
    paths = [cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.RESUME]
    assert paths == [str(tmp_path / name) for name in ("", "out", "old")]
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["photo", "sketch"] and list(cfg.DATASET.TARGET_DOMAINS) == ["neon"]
    assert list(cfg.INPUT.TRANSFORMS) == ["random_flip"]
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.HEAD.NAME) == ("ViT-B-32", "mlp")


@pytest.mark.parametrize("text", ["2024", "1e3", "None", "[a]", "{}", "a b", "'x'"])
def test_a_path_is_taken_as_it_is_written(text):
    cfg = configured("--trainer", "LARE", "--root", text, "--output-dir", text)
    assert {cfg.DATASET.ROOT, cfg.OUTPUT_DIR} == {text}


def test_domains_may_look_like_numbers(write):
    data = write("DATASET: {SOURCE_DOMAINS: [2020], TARGET_DOMAINS: ['2021', 2022]}")
    cfg = configured("--trainer", "LARE", "--dataset-config-file", data)
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["2020"] and list(cfg.DATASET.TARGET_DOMAINS) == ["2021", "2022"]
    assert list(configured("--source-domains", "2020", "--trainer", "LARE").DATASET.SOURCE_DOMAINS) == ["2020"]


def test_the_configuration_is_frozen_and_holds_its_trainer_alone():
    cfg = configured("--trainer", "LARE")
    assert set(cfg.TRAINER) == {"NAME", "LARE"}
    with pytest.raises(AttributeError):
        cfg.SEED = 5


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        ("--dataset-config-file configs/cub.yaml --seed 3", "cub/LARE/seed3"),
        ("--dataset-config-file configs/pacs.yaml", "pacs/LARE/unseeded"),
        ("--root x/caltech.safetensors DATASET.NAME EmbeddingFile", "caltech/LARE/unseeded"),
        ("--seed 3 DATASET.NAME EmbeddingFile", "EmbeddingFile/LARE/seed3"),
        ("--backbone demo DATASET.NAME DemoWorld", "DemoWorld/LARE/unseeded"),
        (
            "--dataset-config-file configs/demo.yaml --seed 0 DATASET.NUM_SHOTS 4 DATASET.LONG_TAIL.RATIO 2.5",
            "demo/LARE/shots4-exp2.5/seed0",
        ),
    ],
)
def test_a_run_that_names_no_folder_has_one_of_its_dataset_and_split(monkeypatch, words, folder):
    monkeypatch.chdir(ROOT)
    assert f"output/{folder}" == make_config(train_arguments("--trainer", "LARE", *words.split())).OUTPUT_DIR
