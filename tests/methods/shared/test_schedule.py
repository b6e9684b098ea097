from __future__ import annotations

import io

import pytest
import torch
from torch.optim import lr_scheduler

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.optim import build_optimizer
from lare_dassl.host.door import get_cfg_default
from lare_dassl.methods.shared.schedule import build_lr_scheduler


def settings(**keys):
    cfg = get_cfg_default().OPTIM
    for key, value in {"NAME": "sgd", "LR": 0.8, "MAX_EPOCH": 10, **keys}.items():
        cfg[key] = value
    return cfg


def rates(cfg, epochs=10):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    return walk(optimizer, scheduler, epochs)


def walk(optimizer, scheduler, epochs):
    seen = []
    for _ in range(epochs):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize(
    ("keys", "reference"),
    [
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (3,)}, lambda o: lr_scheduler.StepLR(o, 3, 0.1)),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (-1,)}, lambda o: lr_scheduler.StepLR(o, 10, 0.1)),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": (2, 7)}, lambda o: lr_scheduler.MultiStepLR(o, [2, 7], 0.1)),
        ({"LR_SCHEDULER": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, 10)),
    ],
)
def test_schedules_agree_with_pytorch(keys, reference):
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.8)
    expected = walk(optimizer, reference(optimizer), 10)
    assert rates(settings(**keys)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"WARMUP_TYPE": "constant", "WARMUP_CONS_LR": 0.1}, [0.1, 0.1, 0.8, 0.8, 0.08, 0.08, 0.008]),
        ({"WARMUP_TYPE": "linear", "WARMUP_MIN_LR": 0.01}, [0.01, 0.4, 0.8, 0.8, 0.08, 0.08, 0.008]),
        (
            {"WARMUP_TYPE": "constant", "WARMUP_CONS_LR": 0.1, "WARMUP_RECOUNT": False, "STEPSIZE": (3,)},
            [0.1, 0.1, 0.8, 0.08, 0.08, 0.08, 0.008],
        ),
    ],
)
def test_warm_up(keys, expected):
    cfg = settings(WARMUP_EPOCH=2, LR_SCHEDULER="single_step", **{"STEPSIZE": (2,), **keys})
    assert rates(cfg, 7) == pytest.approx(expected, rel=1e-9)


def test_each_group_warms_up_to_its_own_rate():
    cfg = settings(WARMUP_EPOCH=1, WARMUP_TYPE="constant", WARMUP_CONS_LR=0.1)
    layers = torch.nn.ModuleDict({"old": torch.nn.Linear(1, 1), "new": torch.nn.Linear(1, 1)})
    cfg.STAGED_LR, cfg.NEW_LAYERS, cfg.BASE_LR_MULT = True, ("new",), 0.5
    optimizer = build_optimizer(layers, cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1])
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.4, 0.8])


def test_the_state_survives_a_safe_load_and_continues_exactly():
    cfg = settings(WARMUP_EPOCH=2, LR_SCHEDULER="cosine")
    optimizer = build_optimizer(torch.nn.Linear(2, 2), cfg)
    scheduler = build_lr_scheduler(optimizer, cfg)
    whole = rates(cfg, 10)
    walk(optimizer, scheduler, 4)
    file = io.BytesIO()
    torch.save([optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    resumed = build_optimizer(torch.nn.Linear(2, 2), cfg)
    resumed_scheduler = build_lr_scheduler(resumed, cfg)
    for part, state in zip((resumed, resumed_scheduler), torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    assert walk(resumed, resumed_scheduler, 6) == whole[4:]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"LR_SCHEDULER": "cosin"}, "did you mean 'cosine'"),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "liner"}, "did you mean 'linear'"),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (2.5,)}, "OPTIM.STEPSIZE"),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, "OPTIM.STEPSIZE"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(InputError, match=message):
        rates(settings(**keys))
