from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint
from lare_dassl.report.inside.run import check_run, open_run, recorded_config
from lare_dassl.results.record import read_record, write_record
from tests.helpers import shifted_embeddings
from tests.report.run_making import make_runs_on_embeddings


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return make_runs_on_embeddings(tmp_path_factory.mktemp("inside"))


@pytest.fixture
def copied_runs(runs, tmp_path):
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def test_a_run_is_rebuilt_with_the_regions_that_its_network_gives(runs):
    run = open_run(runs / "LARE-1")
    expected = shifted_embeddings()
    assert run.seed == 1
    torch.testing.assert_close(run.embeddings.train.embedding, expected.train.embedding)
    assert run.test.names == [f"row {row}" for row in range(60)] and run.test.pictures is None

    weights = checkpoint.read(checkpoint.latest(runs / "LARE-1" / "regions"))["state_dict"]
    hidden = (expected.train.embedding @ weights["hidden.weight"].T + weights["hidden.bias"]).clamp(min=0)
    first, second = (hidden @ weights["corners.weight"].T + weights["corners.bias"]).split(16, dim=1)
    torch.testing.assert_close(run.regions.lower, torch.minimum(first, second))
    torch.testing.assert_close(run.regions.upper, torch.maximum(first, second))


def test_the_recorded_config_is_the_one_that_ran(copied_runs):
    record = read_record(copied_runs / "LARE-0" / "record.json")
    record.config["DATASET"]["FOLDER"] = "2024"
    record.config["NO_LONGER_KNOWN"] = {"KEY": 1}
    del record.config["CLASSIFIER"]
    write_record(copied_runs / "LARE-0", record)
    cfg = recorded_config(copied_runs / "LARE-0")
    assert cfg.DATASET.FOLDER == "2024"
    assert (cfg.TRAINER.LARE.EPOCHS, cfg.SEED, cfg.CLASSIFIER.INIT) == (2, 0, "random")


def test_data_that_is_gone_or_has_changed_is_named(runs, copied_runs):
    file = runs.parent / "embeddings.safetensors"
    split = copied_runs / "LARE-0" / "split.json"
    split.write_text(split.read_text().replace('"test": [\n  0,', '"test": [\n  1,'))
    with pytest.raises(InputError, match=r"the test rows of EmbeddingFile are no longer those that .*split\.json"):
        open_run(copied_runs / "LARE-0")
    split.write_text("{")
    with pytest.raises(InputError, match=r"split\.json is damaged"):
        open_run(copied_runs / "LARE-0")
    split.unlink()
    with pytest.raises(InputError, match=r"the data of \S+LARE-0 cannot be read: .*split\.json"):
        open_run(copied_runs / "LARE-0")
    moved = file.rename(file.with_suffix(".moved"))
    with pytest.raises(InputError, match=r"embeddings\.safetensors"):
        open_run(runs / "LARE-0")
    moved.rename(file)


def test_a_run_without_regions_is_refused(runs, tmp_path):
    check_run(runs / "LARE-0")
    with pytest.raises(InputError, match="is a run of FineTune without regions: give one of LARE"):
        check_run(runs / "FineTune-0")
    with pytest.raises(InputError, match="cannot read the record"):
        check_run(tmp_path)


def test_a_run_without_its_network_is_told(copied_runs):
    folder = next(copied_runs.rglob("regions")).parent
    shutil.rmtree(folder / "regions")
    with pytest.raises(InputError) as error:
        open_run(folder)
    assert str(error.value) == f"no region network in {folder / 'regions'}"


def test_a_run_on_a_dataset_of_a_plugin_that_is_not_there_is_told(copied_runs):
    folder = next(copied_runs.rglob("regions")).parent
    record = read_record(folder / "record.json")
    record.config["DATASET"]["NAME"] = "EmbeddingFiles"
    write_record(folder, record)
    with pytest.raises(InputError, match=r"unknown dataset 'EmbeddingFiles'.*EmbeddingFile"):
        open_run(folder)


def test_a_network_of_another_width_is_refused(copied_runs):
    folder = copied_runs / "LARE-0"
    record = read_record(folder / "record.json")
    record.config["TRAINER"]["LARE"]["HIDDEN_DIM"] = 100
    write_record(folder, record)
    with pytest.raises(InputError, match=r"HIDDEN_DIM is 384 there and 100 here"):
        open_run(folder)
    state = checkpoint.read(checkpoint.latest(folder / "regions"))
    del state["run"]["TRAINER.LARE.HIDDEN_DIM"]
    checkpoint.write(state, folder / "regions", "model.pth.tar-2")
    with pytest.raises(InputError, match="is of another model"):
        open_run(folder)


def test_the_network_of_another_run_is_refused(copied_runs):
    shutil.rmtree(copied_runs / "LARE-0" / "regions")
    shutil.copytree(copied_runs / "LARE-1" / "regions", copied_runs / "LARE-0" / "regions")
    with pytest.raises(InputError, match=r"is of another run than .*record\.json \(SEED is 1 there and 0 here\)"):
        open_run(copied_runs / "LARE-0")
