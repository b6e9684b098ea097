"""A method that is registered from one file appears everywhere, with nothing else edited."""

from __future__ import annotations

import pytest

from lare_dassl.commands.benchmark.command import benchmark
from lare_dassl.errors import exit_code
from lare_dassl.report.figures.style import method_style
from lare_dassl.trainers.base import methods_page
from tests.helpers import benchmark_request, forget_plugins, kept_process, run_train, write_embeddings
from tools import train

MODULE = "one_new_method"
SOURCE = '''
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lare_dassl.host.door import TRAINER_REGISTRY
from lare_dassl.trainers import EmbeddingTrainer


@dataclass(frozen=True)
class ThinnedEmbeddings:
    """Each embedding once more, with a fresh half of its coordinates set to 0."""

    embedding: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.embedding.shape)

    def draw(self, indices: Tensor, generator: torch.Generator) -> list[Tensor]:
        real = self.embedding[indices]
        return [F.normalize(real * (torch.rand(real.shape, generator=generator) < 0.5), dim=-1)]


@TRAINER_REGISTRY.register()
class Thinned(EmbeddingTrainer):
    """Adds embeddings that lack half of their coordinates."""

    label = "Thinned embeddings"
    colour = "#7F3C8D"
    augmentation = "embeddings without half of their coordinates"
    joint = True
    paper = "a test"

    def make_augmentation(self) -> ThinnedEmbeddings:
        return ThinnedEmbeddings(self.train_rows.embedding)
'''


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the plugin, an embedding file, a run of train, and a benchmark with its report."""
    folder = tmp_path_factory.mktemp("world")
    (folder / f"{MODULE}.py").write_text(SOURCE)
    data = write_embeddings(folder / "data.safetensors")
    quick = ("DATASET.NAME", "EmbeddingFile", "OPTIM.MAX_EPOCH", 3)
    with pytest.MonkeyPatch.context() as patch, kept_process():
        forget_plugins(patch, MODULE)
        patch.syspath_prepend(folder)
        patch.chdir(folder)
        run = ("--plugin", MODULE, "--trainer", "Thinned", "--root", data, "--output-dir", folder / "run", "--seed", 0)
        assert run_train(*run, *quick) == 0
        cells = ("--trainers", "Thinned", "FineTune", "--root", data, "--shots", 2, 4, "--seeds", 2, "--jobs", 1)
        request = benchmark_request("--plugin", MODULE, *cells, "--output-dir", folder / "out", *quick)
        assert exit_code(lambda: benchmark(request)) == 0
        yield folder


def test_it_is_trained_and_recorded(world):
    names = {path.name for path in (world / "run").iterdir()}
    assert names >= {"record.json", "classifier.safetensors", "predictions.safetensors"}
    assert len(list((world / "out" / "data" / "Thinned").rglob("record.json"))) == 4


def test_the_report_names_and_draws_it(world):
    page = (world / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("Thinned embeddings") > page.count("<svg") > 0
    assert method_style("Thinned").colour.upper() == "#7F3C8D"
    assert "#7f3c8d" in page.lower()


def test_the_help_and_the_page_of_methods_explain_it(world, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py", "--plugin", MODULE, "--help", "Thinned"])
    with pytest.raises(SystemExit, match=r"^0$"):
        train.main()
    text = capsys.readouterr().out
    assert text.startswith("Thinned (Thinned embeddings): Adds embeddings that lack half of their coordinates.")
    assert "  adds     embeddings without half of their coordinates" in text
    row = "| Thinned embeddings | embeddings without half of their coordinates | linear |"
    assert row in methods_page.page(plugins=True) and row not in methods_page.page()
