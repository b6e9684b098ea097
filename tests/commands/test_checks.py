from __future__ import annotations

import pytest

from lare_dassl.commands.checks import make_config
from lare_dassl.errors import InputError
from tests.helpers import train_arguments


def configured(*words, dataset="EmbeddingFile"):
    return make_config(train_arguments(*words, "DATASET.NAME", dataset))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--trainer", "LAER"), "unknown trainer 'LAER': did you mean 'LARE'? known: "),
        ((), "no trainer named: give --trainer; known: "),
    ],
)
def test_trainers_are_checked(words, message):
    with pytest.raises(InputError) as caught:
        configured(*words)
    start, names = str(caught.value)[: len(message)], str(caught.value)[len(message) :]
    assert start == message
    assert {"CLIPAdapter", "CrossModal"} <= set(names.split(", "))


def test_datasets_and_domains_are_checked():
    with pytest.raises(InputError, match=r"unknown dataset 'CUBPaintings': did you mean 'CUBPainting'\?"):
        configured("--trainer", "LARE", dataset="CUBPaintings")
    with pytest.raises(InputError, match=r"^no dataset named: give --dataset-config-file; known: "):
        configured("--trainer", "LARE", dataset="")
    with pytest.raises(InputError, match=r"unknown domain of CUBPainting 'paintings': did you mean 'painting'\?"):
        configured("--source-domains", "paintings", "--trainer", "LARE", dataset="CUBPainting")
