from __future__ import annotations

import json

import pytest
import torch

from lare_dassl.results.predictions import read_predictions
from lare_dassl.results.record import Metrics, read_record
from tests.helpers import forget_plugins, make_domain_tree, run_train, write_tiny_model

# A trainer as others write them: it predicts from the place of an image in its split, and prints its accuracy.
PLUGIN = """
from types import SimpleNamespace

import torch
from torch.utils.data import DataLoader

from lare_dassl.host.door import EVALUATOR_REGISTRY, TRAINER_REGISTRY, EvaluatorBase, build_dataset, build_evaluator


def extend_cfg(cfg):
    cfg.TRAINER.PLACES = type(cfg)()
    cfg.TRAINER.PLACES.MODE = ""


@EVALUATOR_REGISTRY.register()
class Foreign(EvaluatorBase):
    def __init__(self, cfg, **kwargs):
        super().__init__(cfg)

    def reset(self):
        self.rows = 0

    def process(self, mo, gt):
        self.rows += len(gt)

    def evaluate(self):
        return {"rows": self.rows}


@TRAINER_REGISTRY.register()
class Places:
    def __init__(self, cfg):
        self.cfg, self.mode = cfg, cfg.TRAINER.PLACES.MODE
        self.dataset = build_dataset(cfg)
        if self.mode != "no manager":
            self.dm = SimpleNamespace(dataset=self.dataset)
        self.val_loader, self.test_loader = self.loader(self.dataset.val), self.loader(self.dataset.test)
        self.evaluator = build_evaluator(cfg, lab2cname=self.dataset.lab2cname)

    def loader(self, items):
        rows = [{"label": item.label, "index": place} for place, item in enumerate(items)]
        if self.mode == "reversed":
            rows.reverse()
        if self.mode == "without index":
            rows = [{"label": row["label"]} for row in rows]
        return DataLoader(rows, batch_size=7)

    def train(self):
        print("first draw", torch.rand(()).item())
        self.test(split="val")
        if not self.cfg.TEST.NO_TEST:
            self.test()

    def load_model(self, directory, epoch=None):
        print("loaded", directory)

    def test(self, split=None):
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        if self.mode == "always test":
            split = "test"
        batches = self.val_loader if split == "val" else self.test_loader
        if self.mode == "kept":
            batches = list(batches)
        for place, batch in enumerate(batches):
            if self.mode == "leaves out" and place == 1:
                continue
            index = batch.get("index", torch.arange(len(batch["label"])))
            for _ in range(2 if self.mode == "twice" else 1):
                self.evaluator.process(torch.eye(3)[index % 3] * 5.0, batch["label"])
        print("their figures:", dict(self.evaluator.evaluate()))
"""
CLASSES = ["heron", "owl", "wren"]
MODE = "TRAINER.PLACES.MODE"


@pytest.fixture(autouse=True)
def _plugin(tmp_path, monkeypatch):
    (tmp_path / "places.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    forget_plugins(monkeypatch, "places")
    make_domain_tree(tmp_path / "images", ["photo", "sketch"], CLASSES, per_class=10)


def train(*keys, trainer="Places", folder="run", flags=()):
    domains = ("--source-domains", "photo", "--target-domains", "sketch")
    words = (*domains, "--plugin", "places", "--trainer", trainer, "--root", "images", "--output-dir", folder)
    return run_train(*words, *flags, "DATASET.NAME", "DomainFolders", "DATALOADER.NUM_WORKERS", 0, *keys)


def items(split):
    return json.loads(split.read_text())["test"]


def test_its_record_is_that_of_a_trainer_of_ours(tmp_path, capsys):
    assert train("DATASET.NUM_SHOTS", 2, "MODEL.BACKBONE.NAME", "RN50", flags=("--seed", 3)) == 0
    record = read_record(tmp_path / "run" / "record.json")
    tested = items(tmp_path / "run" / "split.json")
    assert len(tested) == 36 and tested[0].startswith("photo/heron/")

    correct = {"photo": [], "sketch": []}
    for place, path in enumerate(tested):
        domain, classname, _ = path.split("/")
        correct[domain].append(CLASSES[place % 3] == classname)
    accuracy = {domain: 100.0 * sum(hits) / len(hits) for domain, hits in correct.items()}
    metrics = record.metrics
    assert metrics.domain_accuracy == pytest.approx(accuracy)
    assert metrics.in_domain_accuracy == pytest.approx(accuracy["photo"])
    assert metrics.out_of_domain_accuracy == pytest.approx(accuracy["sketch"])
    every = correct["photo"] + correct["sketch"]
    assert metrics.accuracy == pytest.approx(100.0 * sum(every) / len(every))
    confidence = torch.tensor([5.0, 0, 0]).softmax(0)[0].item()
    assert metrics.ece == pytest.approx(abs(100 * confidence - metrics.accuracy), abs=1e-4)

    assert (record.trainer, record.seed, record.shots) == ("Places", 3, 2)
    assert record.vlm.model == "RN50"
    assert record.vlm.weights_sha256 is None
    assert record.samples == {"train": 6, "val": 3, "test": 36}
    predictions = read_predictions(tmp_path / "run" / "predictions.safetensors")
    assert predictions.predicted.tolist() == [place % 3 for place in range(36)]
    assert predictions.of_domains(["photo"]).correct.tolist() == correct["photo"]
    # The trainer still goes by its own evaluator, whose figures know no domain.
    output = capsys.readouterr().out
    assert output.count("their figures: ") == 2
    assert "in_domain" not in output.partition("measured on the test split")[0]
    assert "out-of-domain accuracy" in output


def test_it_shares_its_split_with_trainers_of_ours(tmp_path):
    keys = ("DATASET.NUM_SHOTS", 3, "DATASET.LONG_TAIL.RATIO", 3)
    model = ("MODEL.BACKBONE.NAME", write_tiny_model(tmp_path / "model"), "VLM.ALLOW_RANDOM", True)
    cache = ("EMBEDDINGS.CACHE_DIR", tmp_path / "cache")
    assert train(*keys, flags=("--seed", 0)) == 0
    assert train(*keys, *model, *cache, trainer="ZeroShot", folder="ours", flags=("--seed", 0)) == 0
    theirs, ours = (read_record(tmp_path / folder / "record.json") for folder in ("run", "ours"))
    assert theirs.split_sha256 == ours.split_sha256
    assert theirs.samples == ours.samples


def test_batches_that_are_kept_until_all_are_there_count_too(tmp_path):
    assert train(MODE, "kept", flags=("--seed", 0)) == 0
    assert train(folder="plain", flags=("--seed", 0)) == 0
    kept, plain = (read_record(tmp_path / folder / "record.json") for folder in ("run", "plain"))
    assert kept.metrics == plain.metrics


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ((MODE, "reversed"), "did not test each image of the test split once, in order"),
        ((MODE, "without index"), "in batches with their 'index'"),
        ((MODE, "leaves out"), "did not test each image"),
        ((MODE, "twice"), "did not test each image"),
        ((MODE, "no manager"), "Places has no DataManager 'dm'"),
        (("TEST.EVALUATOR", "Foreign"), "TEST.EVALUATOR Foreign is not Dassl's"),
        ((MODE, "always test", "TEST.SPLIT", "val"), "did not test each image of the val split"),
    ],
)
def test_one_that_cannot_be_watched_runs_without_a_record(tmp_path, capsys, keys, reason):
    assert train(*keys, flags=("--seed", 0)) == 0
    assert not (tmp_path / "run" / "record.json").exists()
    output = capsys.readouterr().out
    (line,) = [line for line in output.splitlines() if "no record" in line]
    assert reason in line
    assert output.count("their figures: ") == 2


def test_the_split_that_test_split_names_is_recorded(tmp_path):
    assert train("TEST.SPLIT", "val", flags=("--seed", 0)) == 0
    record = read_record(tmp_path / "run" / "record.json")
    assert record.split == "val"
    assert record.metrics.out_of_domain_accuracy is None
    assert len(read_predictions(tmp_path / "run" / "predictions.safetensors")) == record.samples["val"] == 3


def test_no_test_leaves_a_record_without_figures(tmp_path):
    assert train("TEST.NO_TEST", True, flags=("--seed", 0)) == 0
    record = read_record(tmp_path / "run" / "record.json")
    assert record.metrics == Metrics.of({})
    assert not (tmp_path / "run" / "predictions.safetensors").exists()


def test_without_a_seed_one_is_drawn_and_kept(tmp_path, capsys):
    assert train() == 0
    first = draw_of(capsys)
    seed = read_record(tmp_path / "run" / "record.json").seed
    assert seed >= 0
    assert train(folder="again", flags=("--seed", seed)) == 0
    assert draw_of(capsys) == first


def draw_of(capsys):
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("first draw")]
    return line


def test_eval_only_writes_a_record_where_it_is_told_to(tmp_path, capsys):
    assert train(folder="run", flags=("--seed", 0)) == 0
    assert train(folder="tested", flags=("--seed", 0, "--eval-only", "--model-dir", "run")) == 0
    assert "loaded run" in capsys.readouterr().out
    trained, tested = (read_record(tmp_path / folder / "record.json") for folder in ("run", "tested"))
    assert trained.metrics == tested.metrics
