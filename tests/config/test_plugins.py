from __future__ import annotations

import sys

import pytest

from lare_dassl.commands.checks import make_config
from lare_dassl.errors import InputError
from lare_dassl.results.record import read_record
from tests.helpers import forget_plugins, run_train, train_arguments, write_embeddings

PLUGIN = """
from lare_dassl.host.door import DATASET_REGISTRY, TRAINER_REGISTRY
from lare_dassl.datasets.embedding_file import EmbeddingFile
from lare_dassl.trainers import FineTune


def extend_cfg(cfg):
    cfg.TRAINER.ALPHA_TRAINER = type(cfg)()
    cfg.TRAINER.ALPHA_TRAINER.STRENGTH = 2.5


@TRAINER_REGISTRY.register()
class ALPHA_Trainer(FineTune):
    def prepare_training(self, directory):
        print("strength", self.cfg.TRAINER.ALPHA_TRAINER.STRENGTH)


@DATASET_REGISTRY.register()
class ALPHA_Dataset(EmbeddingFile):
    pass
"""
DATASET = ("DATASET.NAME", "EmbeddingFile")


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch):
    forget_plugins(monkeypatch)


def test_a_plugin_registers_and_adds_its_keys(tmp_path, monkeypatch, capsys):
    (tmp_path / "plugin_alpha.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    write_embeddings(tmp_path / "data.safetensors")
    words = ("--plugin", "plugin_alpha", "--trainer", "ALPHA_Trainer", "--root", "data.safetensors", "--seed", 0)
    keys = ("DATASET.NAME", "ALPHA_Dataset", "OPTIM.MAX_EPOCH", 2, "TRAINER.ALPHA_TRAINER.STRENGTH", 4)
    assert run_train(*words, "--output-dir", "out", *keys) == 0
    assert "strength 4.0" in capsys.readouterr().out
    record = read_record(tmp_path / "out" / "record.json")
    assert (record.trainer, record.dataset) == ("ALPHA_Trainer", "ALPHA_Dataset")
    # A trainer on embeddings gets their defaults.
    assert record.config["OPTIM"]["NAME"] == "adamw"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "No module named 'plugin_broken'"),
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("def broken(:", "invalid syntax"),
        ("raise RuntimeError('two\\nlines')", "two"),
        ("raise RuntimeError", "RuntimeError"),
        ("import sys\nsys.exit('bye')", "bye"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(tmp_path, monkeypatch, content, cause):
    if content is not None:
        (tmp_path / "plugin_broken.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        make_config(train_arguments("--plugin", "plugin_broken", "--trainer", "LARE", *DATASET))
    message = str(caught.value)
    assert message.startswith(f"--plugin plugin_broken cannot be imported: {cause}")
    assert "\n" not in message


def test_the_working_folder_is_searched_for_plugins_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_config(train_arguments("--trainer", "LARE", *DATASET))
    assert str(tmp_path) not in sys.path
