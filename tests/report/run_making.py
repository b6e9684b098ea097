"""Short runs on embeddings and on images, for the tests of pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.helpers import make_domain_tree, run_train, shifted_embeddings, write_embeddings, write_tiny_model

HOSTILE_CLASSES = ('<img src=x onerror="alert(1)">', "a & b", "$x^$", "\"quoted' </script>", "owl, %")
HOSTILE_DOMAINS = ("photo", "<i>sketch</i>", "neon & $")
QUICK = ("OPTIM.MAX_EPOCH", "3", "TRAINER.LARE.EPOCHS", "2")


def make_runs_on_embeddings(folder: Path, hostile: bool = False) -> Path:
    """Two seeds of FineTune and of LARE on an embedding file beside `runs`; gives the folder of the runs."""
    embeddings = shifted_embeddings()
    if hostile:
        names = {"domain_names": HOSTILE_DOMAINS, "source_domains": HOSTILE_DOMAINS[:1]}
        embeddings = replace(embeddings, classnames=HOSTILE_CLASSES, target_domains=HOSTILE_DOMAINS[1:], **names)
    file = write_embeddings(folder / "embeddings.safetensors", embeddings)
    for trainer in ("FineTune", "LARE"):
        for seed in (0, 1):
            flags = ["--trainer", trainer, "--seed", seed, "--root", file]
            output = folder / "runs" / f"{trainer}-{seed}"
            assert run_train(*flags, "--output-dir", output, "DATASET.NAME", "EmbeddingFile", *QUICK) == 0
    return folder / "runs"


def make_run_on_images(folder: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """One run of LARE on images of noise in `images` beside `runs`; gives the folder of the runs."""
    root = make_domain_tree(folder / "images", ["photo", "sketch"], classes, per_class=6)
    backbone = write_tiny_model(folder / "model", coca=True)
    flags = ["--trainer", "LARE", "--seed", 0, "--root", root, "--backbone", backbone]
    domains = ["--source-domains", "photo", "--target-domains", "sketch", "--output-dir", folder / "runs" / "LARE-0"]
    keys = ["DATASET.NAME", "DomainFolders", "VLM.ALLOW_RANDOM", "True", "VLM.PRECISION", "fp32"]
    keys += ["DATALOADER.NUM_WORKERS", "0", "EMBEDDINGS.CACHE_DIR", folder / "cache", *QUICK]
    assert run_train(*flags, *domains, *keys) == 0
    return folder / "runs"
