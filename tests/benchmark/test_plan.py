from __future__ import annotations

import json
from pathlib import Path

import pytest

from lare_dassl.benchmark.plan import cell_folder, make_plan, settings_difference, settings_digest
from lare_dassl.errors import InputError
from tests.helpers import shifted_embeddings, write_embeddings


def test_the_plan_is_the_product_in_order(words, tmp_path):
    axes = ("--trainers", "ZeroShot", "LARE", "--shots", 2, "all", "--ratios", 1, 2, "--profile", "step")
    plan = make_plan(words(*axes, "--set", "OPTIM.LR", "0.1", "0.2", "0.3", "--seeds", 2))
    assert plan.refused == ()
    assert len(plan.runs) == 2 * 2 * 2 * 3 * 2
    outlines = [run.outline() for run in plan.runs]
    found = [(o["trainer"], o["shots"], o["imbalance"], o["config"]["OPTIM"]["LR"], o["seed"]) for o in outlines]
    assert found == [
        (trainer, shots, ratio, lr, seed)
        for trainer in ("ZeroShot", "LARE")
        for shots in (2, -1)
        for ratio in (1.0, 2.0)
        for lr in (0.1, 0.2, 0.3)
        for seed in (0, 1)
    ]
    assert {o["config"]["DATASET"]["LONG_TAIL"]["PROFILE"] for o in outlines} == {"step"}
    assert len({run.folder for run in plan.runs}) == len(plan.runs)


def test_without_shots_and_ratios_the_configuration_decides(words):
    (run,) = make_plan(words("--trainers", "LARE", "--seeds", 1, pairs=("DATASET.NUM_SHOTS", 3))).runs
    assert (run.outline()["shots"], run.outline()["imbalance"]) == (3, 1.0)


def test_a_folder_names_the_settings(words, tmp_path):
    shots = ("--trainers", "LARE", "--shots", 4, "--ratios", 2, "--set", "VLM.PRETRAINED", "some/file: v1")
    (run,) = make_plan(words(*shots, "--seeds", 1)).runs
    *place, cell, seed = run.folder.relative_to(tmp_path / "out").parts
    assert (place, seed) == (["data", "LARE"], "seed0")
    name, _, digest = cell.rpartition("-")
    assert name == "shots_4-ratio_2_exp-PRETRAINED_some_file_v1"
    assert len(digest) == 10
    assert run.arguments.output_dir == str(run.folder)


def test_the_hash_is_of_what_decides_the_outcome(words, tmp_path):
    def digest(*pairs):
        (run,) = make_plan(words("--trainers", "LARE", "--seeds", 1, pairs=pairs)).runs
        return run.folder.parent.name

    plain = digest()
    for free in ("EMBEDDINGS.BATCH_SIZE", 7), ("DATALOADER.NUM_WORKERS", 0), ("TRAIN.CHECKPOINT_FREQ", 2):
        assert digest(*free) == plain
    changes = [
        *(("TRAINER.LARE.ALPHA", 0.11), ("TEST.SPLIT", "val"), ("TEST.NO_TEST", True), ("CLASSIFIER.AVERAGE", "0.5")),
        *(("OPTIM.WEIGHT_DECAY", 0.2), ("DATASET.LONG_TAIL.PROFILE", "step"), ("INPUT.SIZE", "(8, 8)")),
    ]
    others = [digest(*pair) for pair in changes]
    assert len({plain, *others}) == 1 + len(changes)


def test_the_content_of_an_embedding_file_counts_and_not_its_place(tmp_path):
    def digest(path):
        keys = {"SPLIT_FILE": "", "ROOT": str(path)}
        return settings_digest({"DATASET": keys, "VLM": {"PROMPTS_FILE": ""}})

    first, copy, other = (tmp_path / name for name in ("first", "copy", "other"))
    write_embeddings(first)
    copy.write_bytes(first.read_bytes())
    write_embeddings(other, shifted_embeddings(with_val=False))
    assert digest(first) == digest(copy) != digest(other)
    assert digest(tmp_path) == digest(tmp_path / "elsewhere")


def test_long_names_are_cut(tmp_path):
    dataset = {"NAME": "DemoWorld", "NUM_SHOTS": -1, "LONG_TAIL": {"RATIO": 1.0, "PROFILE": "exp"}, "ROOT": ""}
    plain = {"DATASET": dataset | {"SPLIT_FILE": ""}, "VLM": {"PROMPTS_FILE": ""}, "TRAINER": {"NAME": "LARE"}}
    folder = cell_folder(Path("out"), plain | {"A": {"B": "x" * 500}}, ["A.B"])
    assert folder.parts[:3] == ("out", "DemoWorld", "LARE")
    assert len(folder.name) == 80 + 1 + 10


def test_one_bad_value_among_many_is_refused_alone(words):
    trainers = ("ZeroShot", "FineTune", "LAER", "LARE", "GaussianNoise")
    plan = make_plan(words("--trainers", *trainers, "--shots", 2, 4, "--seeds", 2))
    assert len(plan.runs) == 4 * 2 * 2
    (line,) = plan.refused
    assert line.startswith("unknown trainer 'LAER': did you mean 'LARE'? known: ")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--shots", "2", "x"), "command line: DATASET.NUM_SHOTS takes a value of type int, not 'x'"),
        (("--shots", "2", "0"), "DATASET.NUM_SHOTS is 0: give the images per class, at least 1, or -1 for all"),
        (("--ratios", "1", "0.5"), "command line: DATASET.LONG_TAIL.RATIO must be at least 1, not 0.5"),
        (("--set", "TRAINER.LARE.ALPHA", "0.5", "7"), "TRAINER.LARE: alpha must lie in [0, 1], not 7.0"),
        (("--set", "EMBEDDINGS.BATCH_SIZE", "8", "9"), "two runs with the same folder {cell}: the second is left out"),
        (("--set", "OPTIM.LR", "0.1", "0.10"), "two runs with the same folder {cell}: the second is left out"),
    ],
)
def test_what_no_run_can_have_is_refused_before_anything_runs(words, flags, line):
    plan = make_plan(words("--trainers", "LARE", *flags, "--seeds", 1))
    assert plan.refused == (line.format(cell=plan.runs[0].folder.parent),)
    assert len(plan.runs) == 1


def test_an_unknown_key_leaves_nothing(words):
    plan = make_plan(words("--trainers", "LARE", "FineTune", "--set", "OPTIM.LRR", "0.1", "0.2"))
    assert plan.runs == ()
    (line,) = plan.refused
    assert line.startswith("command line: unknown config key 'OPTIM.LRR': did you mean 'OPTIM.LR'?")


@pytest.mark.parametrize(
    ("flags", "pairs", "message"),
    [
        (("--seeds", 0), (), "--seeds must be at least 1, not 0"),
        (("--set", "OPTIM.LR"), (), "--set OPTIM.LR: give at least one value behind the key"),
        (("--shots", 4), ("DATASET.NUM_SHOTS", 2), "DATASET.NUM_SHOTS is set twice"),
        (("--set", "OPTIM.LR", 1, "--set", "OPTIM.LR", 2), (), "OPTIM.LR is set twice"),
        ((), ("SEED", 3), "SEED is set twice"),
        (("--set", "TRAINER.NAME", "LARE"), (), "TRAINER.NAME is set twice"),
        (("--shots", 4, "OPTIM.LR", 3), (), "--shots takes in 'OPTIM.LR'"),
    ],
)
def test_a_command_that_contradicts_itself_is_refused(words, flags, pairs, message):
    with pytest.raises(InputError, match=message):
        make_plan(words("--trainers", "LARE", *flags, pairs=pairs))


def test_configurations_differ_by_what_decides_and_by_the_seed(words):
    first, second = make_plan(words("--trainers", "LARE", "--seeds", 2)).runs
    assert settings_difference(first.config, first.config) == ""
    assert settings_difference(first.config, second.config) == "SEED is 0 there and 1 here"
    moved = json.loads(json.dumps(first.config)) | {"OUTPUT_DIR": "elsewhere"}
    assert settings_difference(moved, first.config) == ""
    moved["OPTIM"]["LR"] = 0.5
    assert settings_difference(moved, first.config) == "OPTIM.LR is 0.5 there and 0.03 here"
