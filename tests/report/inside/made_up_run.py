"""A run of LARE that is made up, without training."""

from __future__ import annotations

from pathlib import Path

from lare_dassl.methods.lare.regions import Regions
from lare_dassl.report.inside.run import InsideRun, ShownRows
from tests.helpers import shifted_embeddings


def made_up(regions: Regions | None = None) -> InsideRun:
    """A run on `shifted_embeddings`; left out, each region is the embedding itself."""
    embeddings = shifted_embeddings()
    own = embeddings.train.embedding
    train, test = (ShownRows(list(map("row {}".format, range(count))), None) for count in (40, 60))
    return InsideRun(Path("run"), 0, embeddings, regions or Regions(own, own), train, test)
