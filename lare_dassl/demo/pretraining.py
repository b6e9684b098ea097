"""Pretraining of the demo VLM: its architecture, losses and optimisers, and the loop."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from lare_dassl.errors import InputError
from lare_dassl.io import checkpoint as checkpoints
from lare_dassl.io.files import make_folder, replaced
from lare_dassl.io.tensors import write_tensors
from lare_dassl.vlm import build_untrained

from .captions import batch, learn_merges, vocabulary
from .rendering import IMAGE_SIZE

Tokenizer = Callable[[Sequence[str]], Tensor]

MERGES_FILE = "merges.txt.gz"
WEIGHTS_FILE = "open_clip_model.safetensors"
CHECKPOINT_FILE = "pretraining.pt"
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
CONTEXT_LENGTH = 12
WIDTH, HEADS = 128, 4
MAX_LOGIT_SCALE = 100.0


@dataclass(frozen=True)
class Settings:
    """How to pretrain.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step.
        lr: learning rate of AdamW, for embeddings, projections, norms and biases.
        matrix_lr: learning rate of Muon, for the matrices of the transformer blocks.
        weight_decay: of both.
        warmup_steps: steps at the start over which the learning rates rise; they stay there, because a fall at the
            end lets the model learn the rare names, which are to stay hard (docs/demo_vlm.md).
        max_grad_norm: gradients are scaled down to this norm.
        seed: of weights and batches.
    """

    steps: int = 1000
    batch_size: int = 128
    lr: float = 1.5e-3
    matrix_lr: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 80
    max_grad_norm: float = 1.0
    seed: int = 0


def model_config(merges: int) -> dict[str, Any]:
    """open_clip's configuration of the demo model, for a vocabulary of so many merges."""
    text = {"context_length": CONTEXT_LENGTH, "vocab_size": 2 * 256 + merges + 2, "width": WIDTH, "heads": HEADS}
    vision = {"image_size": IMAGE_SIZE, "patch_size": 8, "width": WIDTH, "layers": 4, "head_width": WIDTH // HEADS}
    tokenizer = {"bpe_path": MERGES_FILE}
    return {
        "model_cfg": {
            "embed_dim": WIDTH,
            "vision_cfg": {**vision, "mlp_ratio": 2.0, "output_tokens": True},
            "text_cfg": {**text, "layers": 2, "mlp_ratio": 2.0, "output_tokens": True, "tokenizer_kwargs": tokenizer},
            "multimodal_cfg": {**text, "layers": 1, "mlp_ratio": 2},
            "custom_text": True,
        },
        "preprocess_cfg": {"mean": [PIXEL_MEAN] * 3, "std": [PIXEL_STD] * 3},
    }


def write_architecture(folder: Path) -> None:
    """Write the model's configuration and merges file: a folder that open_clip loads by `local-dir:`.

    Raises:
        InputError: the folder cannot be written to.
    """
    make_folder(folder, "--output")
    merges = learn_merges(vocabulary())
    lines = ["#version: lare_dassl demo", *(" ".join(pair) for pair in merges)]
    with replaced(folder / MERGES_FILE) as temporary:
        temporary.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    with replaced(folder / "open_clip_config.json") as temporary:
        temporary.write_text(json.dumps(model_config(len(merges)), indent=2) + "\n", encoding="utf-8")


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, tokens: Tensor) -> Tensor:
    """CLIP's loss, where the captions of a batch that are equal count as one: each is right for all of their images.

    Args:
        image: unit image embeddings (N, D).
        text: unit caption embeddings (N, D).
        scale: inverse temperature, ().
        tokens: the captions, (N, L).
    """
    same = (tokens[:, None] == tokens[None]).all(dim=-1).float()
    right = same / same.sum(dim=1, keepdim=True)
    logits = scale * image @ text.T
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def pretraining_loss(model: nn.Module, pixels: Tensor, tokens: Tensor) -> Tensor:
    """CoCa's loss: contrastive plus captioning, of equal weight.

    Args:
        model: open_clip's CoCa.
        pixels: normalised images (N, 3, IMAGE_SIZE, IMAGE_SIZE).
        tokens: their captions, (N, L); 0 pads.
    """
    output = model(pixels, tokens)
    captioning = F.cross_entropy(output["logits"].flatten(0, 1), output["labels"].flatten(), ignore_index=0)
    contrast = contrastive_loss(output["image_features"], output["text_features"], output["logit_scale"], tokens)
    return contrast + captioning


def learning_rate_factor(step: int, settings: Settings) -> float:
    """The share of the full learning rate at a step: a linear rise, then 1."""
    return min(1.0, (step + 1) / settings.warmup_steps)


def make_optimizers(model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the transformer blocks, AdamW for all else (vectors without weight decay)."""
    in_blocks = {name for name, value in model.named_parameters() if value.ndim == 2 and _is_in_block(name)}
    groups: dict[str, list[Tensor]] = {"block": [], "other": [], "vector": []}
    for name, value in model.named_parameters():
        rest = "other" if value.ndim > 1 else "vector"
        groups["block" if name in in_blocks else rest].append(value)
    decay = settings.weight_decay
    muon = torch.optim.Muon(
        groups["block"], lr=settings.matrix_lr, weight_decay=decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
    )
    others = [{"params": groups["other"], "weight_decay": decay}, {"params": groups["vector"], "weight_decay": 0.0}]
    optimizers = [muon, torch.optim.AdamW(others, lr=settings.lr, betas=(0.9, 0.98), fused=True)]
    for group in chain.from_iterable(optimizer.param_groups for optimizer in optimizers):
        group["full_lr"] = group["lr"]
    return optimizers


def _is_in_block(name: str) -> bool:
    return "resblocks" in name or "cross_attn" in name


@dataclass(frozen=True)
class Learner:
    """A model in training: all that a checkpoint holds, and what makes the next step."""

    model: nn.Module
    tokenizer: Tokenizer
    optimizers: list[torch.optim.Optimizer]
    settings: Settings

    def step(self, number: int) -> float:
        """Train on the batch of one step; returns its loss."""
        data = batch(number, self.settings.batch_size, self.settings.seed)
        pixels = (data.images.float() / 255 - PIXEL_MEAN) / PIXEL_STD
        loss = pretraining_loss(self.model, pixels, self.tokenizer(data.captions))
        self.model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self._update(learning_rate_factor(number, self.settings))
        return loss.item()

    def _update(self, factor: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["full_lr"] * factor
            optimizer.step()
        with torch.no_grad():
            self.model.get_parameter("logit_scale").clamp_(max=math.log(MAX_LOGIT_SCALE))

    def save(self, path: Path, done: int) -> None:
        """Write a checkpoint after `done` steps."""
        state = {
            "step": done,
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        checkpoints.save(state, path)

    def resume(self, path: Path) -> int:
        """Load a checkpoint where there is one; returns the number of steps that are done.

        Raises:
            InputError: it is damaged, or belongs to a run with other settings.
        """
        if not path.is_file():
            return 0
        state = checkpoints.read(path)
        checkpoints.check_holds(path, state, ["settings", "model", "optimizers", "step"])
        if state["settings"] != asdict(self.settings):
            raise InputError(f"{path} belongs to a run with other settings: remove it, or give another --output")
        self.model.load_state_dict(state["model"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
        return int(state["step"])


def make_learner(folder: Path, settings: Settings) -> Learner:
    """An untrained model of the architecture in a folder, with its optimisers; the seed decides the weights."""
    torch.manual_seed(settings.seed)
    model, tokenizer, _ = build_untrained(folder)
    # open_clip leaves this matrix as the memory that it got.
    nn.init.normal_(model.get_parameter("text_decoder.text_projection"), std=WIDTH**-0.5)
    model.train()
    return Learner(model, tokenizer, make_optimizers(model, settings), settings)


def pretrain(folder: Path, settings: Settings, checkpoint_every: int = 100) -> float:
    """Write the demo model into a folder: configuration, merges, and weights once the last step is done.

    A run that was killed goes on from its last checkpoint in the folder, one after every `checkpoint_every` steps; it
    gives the weights of an unbroken one.

    Returns:
        The loss of the last step.

    Raises:
        InputError: the folder cannot be written to, or holds a checkpoint of other settings.
    """
    write_architecture(folder)
    learner, checkpoint = make_learner(folder, settings), folder / CHECKPOINT_FILE
    start, loss = learner.resume(checkpoint), math.nan
    with tqdm(range(start, settings.steps), initial=start, total=settings.steps, unit="step") as progress:
        for number in progress:
            loss = learner.step(number)
            progress.set_postfix(loss=f"{loss:.3f}", refresh=False)
            if (number + 1) % checkpoint_every == 0:
                learner.save(checkpoint, number + 1)
    save_weights(folder / WEIGHTS_FILE, learner.model)
    return loss


def save_weights(path: Path, model: nn.Module) -> None:
    """Write a model's weights in half precision, which is enough to encode with."""
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    write_tensors(path, weights, {"format": "pt"})
