from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from lare_dassl.host.builtin.optim import build_optimizer
from lare_dassl.host.door import get_cfg_default


def settings(**keys):
    cfg = get_cfg_default().OPTIM
    for key, value in {"NAME": "sgd", "LR": 0.8, "MAX_EPOCH": 10, **keys}.items():
        cfg[key] = value
    return cfg


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", "Adam"),
        ("amsgrad", "Adam"),
        ("sgd", "SGD"),
        ("rmsprop", "RMSprop"),
        ("radam", "RAdam"),
        ("adamw", "AdamW"),
    ],
)
def test_optimisers(name, kind):
    optimizer = build_optimizer(torch.nn.Linear(2, 2), settings(NAME=name))
    assert type(optimizer).__name__ == kind
    assert optimizer.defaults["lr"] == 0.8
    assert optimizer.defaults["weight_decay"] == 5e-4
    assert optimizer.defaults.get("amsgrad", False) == (name == "amsgrad")


def test_parameters_may_be_given_as_a_list_or_as_groups():
    parameters = list(torch.nn.Linear(2, 2).parameters())
    assert len(build_optimizer(parameters, settings()).param_groups[0]["params"]) == 2
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.5}]
    assert [group["lr"] for group in build_optimizer([], settings(), groups).param_groups] == [0.8, 0.5]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"NAME": "adamx"}, "unknown optimiser .* did you mean 'adam"),
        ({"STAGED_LR": True}, "OPTIM.NEW_LAYERS"),
    ],
)
def test_wrong_settings_are_named(keys, message):
    with pytest.raises(InputError, match=message):
        build_optimizer(torch.nn.Linear(2, 2), settings(**keys))
