from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lare_dassl.commands.benchmark.cells import cell_folder, settings_difference, settings_digest
from lare_dassl.commands.benchmark.plan import make_plan
from lare_dassl.commands.checks import make_config
from lare_dassl.config.request import RunRequest
from lare_dassl.errors import InputError
from tests.helpers import make_domain_tree, shifted_embeddings, write_embeddings

DEMO = Path(__file__).parents[3] / "configs" / "demo.yaml"


@pytest.fixture
def plan(words):
    """`plan(FLAG, VALUE, ...)`: the plan of a benchmark, of LARE with one seed where the flags say nothing else."""
    return lambda *flags, pairs=(): make_plan(words("--trainers", "LARE", "--seeds", 1, *flags, pairs=pairs))


def test_the_plan_is_the_product_in_order(plan):
    axes = ("--trainers", "FineTune", "LARE", "--shots", 2, "all", "--ratios", 1, 2, "--profile", "step")
    found = plan(*axes, "--set", "OPTIM.LR", "0.1", "0.2", "0.3", "--seeds", 2)
    assert found.refused == ()
    facts = [run.facts for run in found.runs]
    assert [(of.trainer, of.shots, of.imbalance, of.settings["OPTIM.LR"], of.seed) for of in facts] == [
        (trainer, shots, ratio, lr, seed)
        for trainer in ("FineTune", "LARE")
        for shots in (2, -1)
        for ratio in (1.0, 2.0)
        for lr in (0.1, 0.2, 0.3)
        for seed in (0, 1)
    ]
    assert {of.settings["DATASET.LONG_TAIL.PROFILE"] for of in facts} == {"step"}
    assert len({run.folder for run in found.runs}) == 2 * 2 * 2 * 3 * 2


def test_without_shots_and_ratios_the_configuration_decides(plan):
    (run,) = plan(pairs=("DATASET.NUM_SHOTS", 3)).runs
    assert (run.facts.shots, run.facts.imbalance) == (3, 1.0)


def test_a_folder_names_the_settings(plan, tmp_path):
    (run,) = plan("--shots", 4, "--ratios", 2, "--set", "VLM.PRETRAINED", "some/file: v1").runs
    *place, cell, seed = run.folder.relative_to(tmp_path / "out").parts
    assert (place, seed) == (["data", "LARE"], "seed0")
    name, _, digest = cell.rpartition("-")
    assert name == "shots_4-ratio_2_exp-PRETRAINED_some_file_v1"
    assert len(digest) == 10
    assert run.request.output_dir == str(run.folder)


def test_the_hash_is_of_what_decides_the_outcome(plan):
    def digest(*pairs):
        return plan(pairs=pairs).runs[0].folder.parent.name

    plain = digest()
    for free in ("EMBEDDINGS.BATCH_SIZE", 7), ("DATALOADER.NUM_WORKERS", 0), ("TRAIN.CHECKPOINT_FREQ", 2):
        assert digest(*free) == plain
    changes = [
        *(("TRAINER.LARE.ALPHA", 0.11), ("TEST.SPLIT", "val"), ("TEST.NO_TEST", True), ("CLASSIFIER.AVERAGE", "0.5")),
        *(("OPTIM.WEIGHT_DECAY", 0.2), ("DATASET.LONG_TAIL.RATIO", 2), ("INPUT.SIZE", "(8, 8)")),
    ]
    others = [digest(*pair) for pair in changes]
    assert len({plain, *others}) == 1 + len(changes)


def test_the_content_of_an_embedding_file_counts_and_not_its_place(tmp_path):
    first, copy, other = (tmp_path / name for name in ("first", "copy", "other"))
    write_embeddings(first)
    copy.write_bytes(first.read_bytes())
    write_embeddings(other, shifted_embeddings(with_val=False))
    digests = [settings_digest(plain_settings(path, "EmbeddingFile")) for path in (first, copy, other)]
    assert digests[0] == digests[1] != digests[2]


def plain_settings(root, dataset, weights=""):
    keys = {"NAME": dataset, "ROOT": str(root), "FOLDER": "", "SPLIT_FILE": ""}
    keys |= {"NUM_SHOTS": -1, "LONG_TAIL": {"RATIO": 1.0, "PROFILE": "exp"}}
    return {"DATASET": keys, "VLM": {"PROMPTS_FILE": "", "PRETRAINED": str(weights)}, "TRAINER": {"NAME": "LARE"}}


def test_the_images_of_any_folder_count_and_not_its_place(tmp_path):
    for name, per_class in (("one", 2), ("copy", 2), ("more", 3)):
        make_domain_tree(tmp_path / name, ["photo"], ["cat", "dog"], per_class)
    make_domain_tree(tmp_path / "other", ["photo"], ["cat", "owl"], 2)
    names = ("one", "copy", "more", "other")
    digests = {name: settings_digest(plain_settings(tmp_path / name, "DomainFolders")) for name in names}
    assert digests["one"] == digests["copy"]
    assert len(set(digests.values())) == 3
    # What a known dataset holds is known, and the demo world may not be rendered yet.
    assert len({settings_digest(plain_settings(tmp_path / name, "DemoWorld")) for name in ("one", "other")}) == 1


def test_the_content_of_a_weights_file_counts(tmp_path):
    def digest(name, content):
        (tmp_path / name).write_bytes(content)
        return settings_digest(plain_settings("", "DemoWorld", tmp_path / name))

    assert digest("weights", b"first") == digest("moved", b"first") != digest("weights", b"second")


def test_a_folder_of_an_earlier_version_keeps_its_name():
    words = ("DATASET.LONG_TAIL.RATIO", "10", "DATASET.NUM_SHOTS", "4")
    request = RunRequest(trainer="LARE", dataset_config_file=str(DEMO), root="data", seed=0, overrides=words)
    # The digest that version 0.1.0 had on its first day; a newer key has to be `later` in the table.
    assert settings_digest(json.loads(json.dumps(make_config(request)))) == "efecd93beb"


def test_the_same_settings_in_other_words_are_the_same_run(plan):
    (plain,) = plan().runs
    plain.folder.mkdir(parents=True)
    (named,) = plan("--set", "TRAINER.LARE.ALPHA", 0.3).runs
    assert named.folder == plain.folder
    (other,) = plan("--set", "TRAINER.LARE.ALPHA", 0.4).runs
    assert other.folder.parent.name.startswith("shots_all-ALPHA_0.4-")


def test_a_file_that_was_moved_makes_no_other_run(plan, tmp_path):
    def run_of(name):
        (tmp_path / name).write_text("{}")
        return plan(pairs=("DATASET.SPLIT_FILE", tmp_path / name)).runs[0]

    first, moved = run_of("first.json"), run_of("moved.json")
    assert first.folder == moved.folder
    assert settings_difference(first.config, moved.config) == ""


def test_settings_of_one_method_are_its_own(plan, tmp_path):
    for name, rate in (("slow", 0.001), ("slower", 0.0001)):
        (tmp_path / f"{name}.yaml").write_text(f"OPTIM: {{LR: {rate}}}\n")
    files = ("--config-of", "LARE", tmp_path / "slow.yaml", "--config-of", "LADS", tmp_path / "slower.yaml")
    runs = plan(*files, "--trainers", "FineTune", "LARE", "LADS").runs
    assert [run.config["OPTIM"]["LR"] for run in runs] == [0.03, 0.001, 0.0001]


def test_long_names_are_cut(tmp_path):
    plain = plain_settings("", "DemoWorld") | {"A": {"B": "x" * 500}}
    folder = cell_folder(Path("out"), plain, ["A.B"])
    assert folder.parts[:3] == ("out", "DemoWorld", "LARE")
    assert len(folder.name) == 80 + 1 + 10


def test_one_bad_value_among_many_is_refused_alone(plan):
    trainers = ("ZeroShot", "FineTune", "LAER", "LARE", "GaussianNoise")
    found = plan("--trainers", *trainers, "--shots", 2, 4, "--seeds", 2)
    assert len(found.runs) == 4 * 2 * 2
    (line,) = found.refused
    assert line.startswith("unknown trainer 'LAER': did you mean 'LARE'? known: ")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--shots", "2", "x"), "--shots x: give the images per class, at least 1, or 'all'"),
        (("--shots", "2", "0"), "--shots 0: give the images per class, at least 1, or 'all'"),
        (("--ratios", "1", "0.5"), "--ratios 0.5: give a number, at least 1"),
        (("--ratios", "1", "nan"), "--ratios nan: give a number, at least 1"),
        (("--set", "TRAINER.LARE.ALPHA", "0.5", "7"), "command line: TRAINER.LARE.ALPHA must lie in [0, 1], not 7.0"),
    ],
)
def test_what_no_run_can_have_is_refused_before_anything_runs(plan, flags, line):
    found = plan(*flags)
    assert (found.refused, len(found.runs)) == ((line,), 1)


@pytest.mark.parametrize(
    "flags",
    [
        ("--set", "EMBEDDINGS.BATCH_SIZE", "8", "9"),
        ("--set", "OPTIM.LR", "0.1", "0.10"),
        ("--shots", "-1", "all"),
        ("--ratios", "2", "2.0"),
    ],
)
def test_a_second_run_of_the_same_settings_is_named_and_left_out(plan, flags):
    found = plan(*flags)
    (run,) = found.runs
    assert found.refused == ()
    assert found.repeated == (f"left out: a second run with the same folder {run.folder.parent}",)


def test_settings_without_effect_on_a_method_are_not_varied(plan):
    varied = ("--set", "CLASSIFIER.INIT", "random", "text", "--set", "OPTIM.LR", "0.1", "0.2")
    varied += ("--set", "TRAINER.LARE.ALPHA", 0.3, 0.5, 0.7)
    found = plan("--trainers", "ZeroShot", "CLIPAdapter", "FineTune", "LARE", *varied)
    assert (found.refused, found.repeated) == ((), ())
    assert Counter(run.trainer for run in found.runs) == {"ZeroShot": 1, "CLIPAdapter": 2, "FineTune": 4, "LARE": 12}
    assert {run.config["CLASSIFIER"]["INIT"] for run in found.runs if run.trainer == "CLIPAdapter"} == {"random"}


def test_the_profile_has_no_meaning_without_a_long_tail(plan):
    first, second = (plan("--ratios", 1, 2, "--profile", profile).runs for profile in ("exp", "step"))
    assert [one.folder == other.folder for one, other in zip(first, second, strict=True)] == [True, False]


def test_each_dataset_may_have_its_root(plan, tmp_path):
    write_embeddings(tmp_path / "one.safetensors")
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("DATASET: {NAME: EmbeddingFile}\n")
    # The fixture names one root of its own.
    one = ("--root", tmp_path / "one.safetensors")
    files = [word for name in ("one", "two") for word in ("--dataset-config-file", tmp_path / f"{name}.yaml")]
    roots = [Path(run.config["DATASET"]["ROOT"]).name for run in plan(*files, *one).runs]
    assert roots == ["one.safetensors", "data.safetensors"]
    with pytest.raises(InputError, match="--root is given 3 times for 2 datasets: give it once, or once for each"):
        plan(*files, *one, *one)


def test_an_unknown_key_leaves_nothing(plan):
    found = plan("--trainers", "LARE", "FineTune", "--set", "OPTIM.LRR", "0.1", "0.2")
    assert found.runs == ()
    (line,) = found.refused
    assert line.startswith("command line: unknown config key 'OPTIM.LRR': did you mean 'OPTIM.LR'?")


@pytest.mark.parametrize(
    ("flags", "pairs", "message"),
    [
        (("--seeds", 0), (), "--seeds must be at least 1, not 0"),
        (("--set", "OPTIM.LR"), (), "--set OPTIM.LR: give at least one value behind the key"),
        (("--shots", 4), ("DATASET.NUM_SHOTS", 2), "DATASET.NUM_SHOTS is set twice"),
        (("--set", "OPTIM.LR", 1, "--set", "OPTIM.LR", 2), (), "OPTIM.LR is set twice"),
        ((), ("SEED", 3), "SEED is set twice"),
        (("--config-of", "LADS", "x.yaml"), (), "--config-of LADS x.yaml: LADS is not among --trainers"),
        (("--set", "TRAINER.NAME", "LARE"), (), "TRAINER.NAME is set twice"),
        (("--shots", 4, "OPTIM.LR", 3), (), "--shots takes in 'OPTIM.LR'"),
    ],
)
def test_a_command_that_contradicts_itself_is_refused(plan, flags, pairs, message):
    with pytest.raises(InputError, match=message):
        plan(*flags, pairs=pairs)


def test_configurations_differ_by_what_decides_and_by_the_seed(plan):
    first, second = plan("--seeds", 2).runs
    assert settings_difference(first.config, first.config) == ""
    assert settings_difference(first.config, second.config) == "SEED is 0 there and 1 here"
    moved = json.loads(json.dumps(first.config)) | {"OUTPUT_DIR": "elsewhere"}
    assert settings_difference(moved, first.config) == ""
    moved["OPTIM"]["LR"] = 0.5
    assert settings_difference(moved, first.config) == "OPTIM.LR is 0.5 there and 0.03 here"
