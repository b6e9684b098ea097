from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lare_dassl.commands.checks import make_config
from lare_dassl.commands.console import show, show_results
from lare_dassl.config.merging import new_config
from lare_dassl.errors import InputError
from lare_dassl.io import locks
from lare_dassl.results.record import read_record
from tests.helpers import forget_plugins, run_train, train_arguments, write_embeddings

CONFIGS = Path(__file__).parents[2] / "configs"
PLUGIN = """
from lare_dassl.host.door import DATASET_REGISTRY, TRAINER_REGISTRY
from lare_dassl.datasets.embedding_file import EmbeddingFile
from lare_dassl.trainers import FineTune


def extend_cfg(cfg):
    cfg.TRAINER.{name}_TRAINER = type(cfg)()
    cfg.TRAINER.{name}_TRAINER.STRENGTH = 2.5


@TRAINER_REGISTRY.register()
class {name}_Trainer(FineTune):
    def prepare_training(self, directory):
        print("strength", self.cfg.TRAINER.{name}_TRAINER.STRENGTH)


@DATASET_REGISTRY.register()
class {name}_Dataset(EmbeddingFile):
    pass
"""


@pytest.fixture(autouse=True)
def _no_traces(monkeypatch):
    forget_plugins(monkeypatch)


def configured(*words, dataset="EmbeddingFile"):
    return make_config(train_arguments(*words, "DATASET.NAME", dataset))


def write_yaml(path, text):
    path.write_text(text)
    return path


def test_later_sources_override_earlier_ones(tmp_path):
    data = write_yaml(tmp_path / "data.yaml", "OPTIM: {LR: 0.1, MAX_EPOCH: 11, WEIGHT_DECAY: 0.1}\nSEED: 1\n")
    method = write_yaml(tmp_path / "method.yaml", "OPTIM: {MAX_EPOCH: 12, WEIGHT_DECAY: 0.2}\nSEED: 2\n")
    files = ("--dataset-config-file", data, "--config-file", method)
    cfg = configured("--trainer", "LARE", *files, "--seed", 3, "OPTIM.WEIGHT_DECAY", 0.4)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.MAX_EPOCH, cfg.OPTIM.WEIGHT_DECAY) == ("adamw", 0.1, 12, 0.4)
    assert cfg.SEED == 3
    assert configured("--trainer", "LARE", *files, "--seed", 3, "SEED", 4).SEED == 4


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


def test_flags_left_out_change_nothing(tmp_path):
    data = write_yaml(tmp_path / "data.yaml", "DATASET: {ROOT: here, SOURCE_DOMAINS: [a]}\nSEED: 7\n")
    cfg = configured("--trainer", "LARE", "--dataset-config-file", data)
    assert (cfg.DATASET.ROOT, list(cfg.DATASET.SOURCE_DOMAINS), cfg.SEED) == ("here", ["a"], 7)


@pytest.mark.parametrize("text", ["2024", "1e3", "None", "[a]", "{}", "a b", "'x'"])
def test_a_path_is_taken_as_it_is_written(text):
    cfg = configured("--trainer", "LARE", "--root", text, "--output-dir", text)
    assert {cfg.DATASET.ROOT, cfg.OUTPUT_DIR} == {text}


def test_domains_may_look_like_numbers(tmp_path):
    data = write_yaml(tmp_path / "data.yaml", "DATASET: {SOURCE_DOMAINS: [2020], TARGET_DOMAINS: ['2021', 2022]}")
    cfg = configured("--trainer", "LARE", "--dataset-config-file", data)
    assert list(cfg.DATASET.SOURCE_DOMAINS) == ["2020"] and list(cfg.DATASET.TARGET_DOMAINS) == ["2021", "2022"]
    assert list(configured("--source-domains", "2020", "--trainer", "LARE").DATASET.SOURCE_DOMAINS) == ["2020"]


def test_the_default_output_folder_names_the_run():
    assert configured("--trainer", "LARE", "--seed", 3).OUTPUT_DIR == "output/EmbeddingFile/LARE/seed3"
    assert configured("--trainer", "LARE", "--output-dir", "mine").OUTPUT_DIR == "mine"


def test_the_configuration_is_frozen_and_holds_its_trainer_alone():
    cfg = configured("--trainer", "LARE")
    assert set(cfg.TRAINER) == {"NAME", "LARE"}
    with pytest.raises(AttributeError):
        cfg.SEED = 5


def test_a_plugin_registers_and_adds_its_keys(tmp_path, monkeypatch, capsys):
    (tmp_path / "plugin_alpha.py").write_text(PLUGIN.format(name="ALPHA"))
    monkeypatch.chdir(tmp_path)
    write_embeddings(tmp_path / "data.safetensors")
    words = ("--plugin", "plugin_alpha", "--trainer", "ALPHA_Trainer", "--root", "data.safetensors", "--seed", 0)
    keys = ("DATASET.NAME", "ALPHA_Dataset", "OPTIM.MAX_EPOCH", 2, "TRAINER.ALPHA_TRAINER.STRENGTH", 4.5)
    assert run_train(*words, "--output-dir", "out", *keys) == 0
    assert "strength 4.5" in capsys.readouterr().out
    record = run_record(tmp_path / "out")
    assert (record.trainer, record.dataset) == ("ALPHA_Trainer", "ALPHA_Dataset")


def test_a_plugins_trainer_on_embeddings_gets_their_defaults(tmp_path, monkeypatch):
    (tmp_path / "plugin_gamma.py").write_text(PLUGIN.format(name="GAMMA"))
    monkeypatch.chdir(tmp_path)
    words = ("--plugin", "plugin_gamma", "--trainer", "GAMMA_Trainer", "TRAINER.GAMMA_TRAINER.STRENGTH", 4)
    cfg = configured(*words)
    assert (cfg.OPTIM.NAME, cfg.TRAINER.GAMMA_TRAINER.STRENGTH) == ("adamw", 4.0)


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
        configured("--plugin", "plugin_broken", "--trainer", "LARE")
    message = str(caught.value)
    assert message.startswith(f"--plugin plugin_broken cannot be imported: {cause}")
    assert "\n" not in message


def test_the_working_folder_is_searched_for_plugins_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configured("--trainer", "LARE")
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trainer", "LAER"), "unknown trainer 'LAER': did you mean 'LARE'? known: "),
        ((), "no trainer named: give --trainer; known: FineTune, LARE, ZeroShot"),
    ],
)
def test_trainers_are_checked(words, message):
    with pytest.raises(InputError) as caught:
        configured(*words)
    assert str(caught.value).startswith(message.partition("known")[0]) and "LARE" in str(caught.value)


def test_datasets_and_domains_are_checked():
    with pytest.raises(InputError, match=r"unknown dataset 'CUBPaintings': did you mean 'CUBPainting'\?"):
        configured("--trainer", "LARE", dataset="CUBPaintings")
    with pytest.raises(InputError, match=r"^no dataset named: give --dataset-config-file; known: "):
        configured("--trainer", "LARE", dataset="")
    with pytest.raises(InputError, match=r"unknown domain of CUBPainting 'paintings': did you mean 'painting'\?"):
        configured("--source-domains", "paintings", "--trainer", "LARE", dataset="CUBPainting")


def test_results_are_shown_as_a_table(capsys):
    show_results(
        {"accuracy": 81.239, "ece": 3.0, "out_of_domain_accuracy": 70.0, "domain_accuracy/neon": 69.999, "loss": 1.0},
        "test",
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines]
    assert rows == [
        ["accuracy", "81.24"],
        ["out-of-domain accuracy", "70.00"],
        ["calibration error (ECE)", "3.00"],
        ["accuracy on neon", "70.00"],
    ]
    show_results({}, "test")
    assert capsys.readouterr().out == ""


def test_names_from_data_are_shown_as_they_are(capsys):
    show_results({"accuracy": 50.0, "domain_accuracy/[/b]": 1.0, "domain_accuracy/[red]x": 2.0}, "test")
    show("report: out [new]/report.html")
    output = capsys.readouterr().out
    assert "accuracy on [/b]" in output and "accuracy on [red]x" in output
    assert "out [new]/report.html" in output


def test_no_train_builds_and_stops(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "LARE", "--root", path, "--output-dir", tmp_path / "out", "--no-train")
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
    assert "LARE on EmbeddingFile, host: " in capsys.readouterr().out
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [".lock", "log.txt"]


def test_eval_only_shows_the_figures_of_training(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "FineTune", "--root", path, "--seed", 0)
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 4, "TEST.FINAL_MODEL", "best_val")
    assert run_train(*words, "--output-dir", tmp_path / "run", *keys) == 0
    trained = table_of(capsys)
    assert run_train(*words, "--eval-only", "--model-dir", tmp_path / "run", *keys) == 0
    assert table_of(capsys) == trained and len(trained) == 8
    files = {entry.name for entry in (tmp_path / "run").iterdir()}
    left = {"classifier.safetensors", "predictions.safetensors", "record.json", "split.json"}
    assert files == left | {".lock", "log.txt", "model", "tensorboard"}


def test_eval_only_writes_a_record_where_it_is_told_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "FineTune", "--root", path)
    # The training rows follow from the seed too, which the second command takes from the run.
    keys = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 2, "DATASET.NUM_SHOTS", 2)
    assert run_train(*words, "--seed", 3, "--output-dir", "run", *keys) == 0
    assert run_train(*words, "--eval-only", "--model-dir", "run", *keys) == 0
    assert not Path("output").exists()
    assert run_train(*words, "--eval-only", "--model-dir", "run", "--output-dir", "eval", *keys) == 0
    first, second = (run_record(Path(folder)) for folder in ("run", "eval"))
    assert first.metrics == second.metrics
    assert first.seed == second.seed == 3
    assert Path("run/split.json").read_bytes() == Path("eval/split.json").read_bytes()


def run_record(folder):
    return read_record(folder / "record.json")


def table_of(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]


def test_the_log_holds_what_was_printed(tmp_path, capsys):
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "ZeroShot", "--root", path, "--output-dir", tmp_path / "out", "--seed", 0)
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
    output = capsys.readouterr().out
    assert (tmp_path / "out" / "log.txt").read_text() == output
    assert output.count("record: ") == 1


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (("--trainer", "LARE", "--dataset-config-file", CONFIGS / "cub.yaml", "--seed", 3), "output/cub/LARE/seed3"),
        (("--trainer", "LARE", "--dataset-config-file", CONFIGS / "pacs.yaml"), "output/pacs/LARE/unseeded"),
        (
            ("--trainer", "LADS", "--root", "x/caltech.safetensors", "DATASET.NAME", "EmbeddingFile"),
            "output/caltech/LADS/unseeded",
        ),
        (("--trainer", "LARE", "--backbone", "demo", "DATASET.NAME", "DemoWorld"), "output/DemoWorld/LARE/unseeded"),
        (
            (
                *("--trainer", "LARE", "--dataset-config-file", CONFIGS / "demo.yaml", "--seed", 0),
                *("DATASET.NUM_SHOTS", 4, "DATASET.LONG_TAIL.RATIO", 2.5),
            ),
            "output/demo/LARE/shots4-exp2.5/seed0",
        ),
    ],
)
def test_a_run_that_names_no_folder_has_one_of_its_dataset_and_split(words, folder):
    assert folder == make_config(train_arguments(*words)).OUTPUT_DIR


def test_a_model_folder_that_is_not_there_is_refused_before_anything_is_read(tmp_path, capsys):
    words = ("--trainer", "FineTune", "--root", tmp_path / "none.safetensors", "--eval-only")
    assert run_train(*words, "--model-dir", tmp_path / "gone", "DATASET.NAME", "EmbeddingFile") == 2
    assert capsys.readouterr().err == f"error: --model-dir {tmp_path / 'gone'}: there is no such folder\n"


def test_a_second_training_in_the_same_folder_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.1)
    path = write_embeddings(tmp_path / "data.safetensors")
    words = ("--trainer", "ZeroShot", "--root", path, "--seed", 0, "--output-dir", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with locks.only_one(tmp_path / "out" / ".lock", "trains there"):
        assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 2
    folder = f"{tmp_path}/out (--output-dir)"
    told = f"error: another process is at work in {folder}: wait for its end, or give another folder\n"
    assert capsys.readouterr().err == told
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [".lock"]
    assert run_train(*words, "DATASET.NAME", "EmbeddingFile") == 0
