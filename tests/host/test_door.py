from __future__ import annotations

import os
import runpy
import subprocess
import sys

import pytest

from lare_dassl.errors import InputError
from lare_dassl.host import builtin, door

pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules")

PARTS = {
    "config": ("cfg_default", "clean_cfg", "get_cfg_default"),
    "data/datasets": ("DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"),
    "engine": ("TRAINER_REGISTRY", "TrainerX", "build_trainer"),
    "evaluation": ("EVALUATOR_REGISTRY", "Classification", "EvaluatorBase", "build_evaluator"),
    "optim": ("build_optimizer",),
    "utils": ("Registry", "set_random_seed"),
}


@pytest.fixture
def dassl(tmp_path, monkeypatch):
    """Puts a package `dassl` with the given lines in its modules where an import finds it first."""
    for name in [name for name in sys.modules if name.split(".")[0] == "dassl"]:
        monkeypatch.delitem(sys.modules, name)

    def install(lines=None, package=True):
        folder = tmp_path / "site" / "dassl"
        for part, names in PARTS.items():
            (folder / part).mkdir(parents=True)
            body = "".join(f"{name} = 'dassl {name}'\n" for name in names)
            body += "build_lr_scheduler = 'dassl build_lr_scheduler'\n" if part == "optim" else ""
            (folder / part / "__init__.py").write_text((lines or {}).get(part, "") + body)
        if package:
            (folder / "__init__.py").write_text("__version__ = '0.6.3'\n")
            (folder / "data" / "__init__.py").touch()
        monkeypatch.syspath_prepend(folder.parent)
        return folder.parent

    yield install
    for name in [name for name in sys.modules if name.split(".")[0] == "dassl"]:
        del sys.modules[name]


def opened(monkeypatch, choice):
    """The door's names as a fresh process would see them."""
    monkeypatch.setenv(door.VARIABLE, choice)
    return runpy.run_module("lare_dassl.host.door")


@pytest.mark.parametrize("choice", ["auto", "builtin", ""])
def test_without_dassl_it_is_the_stand_in(monkeypatch, choice):
    monkeypatch.setitem(sys.modules, "dassl", None)
    names = opened(monkeypatch, choice)
    assert names["HOST"] == "builtin"
    assert names["HOST_VERSION"] == "0.6.3"
    assert names["TrainerX"] is builtin.TrainerX


@pytest.mark.parametrize("choice", ["auto", "dassl"])
def test_an_installed_dassl_is_taken(monkeypatch, dassl, choice):
    dassl()
    names = opened(monkeypatch, choice)
    assert (names["HOST"], names["HOST_VERSION"]) == ("dassl", "0.6.3")
    for name in (name for part in PARTS.values() for name in part):
        assert names[name] == f"dassl {name}"


def test_torchvision_is_mended_before_dassl_is_imported(monkeypatch, dassl):
    dassl({"engine": "from torchvision import transforms\n"})
    assert opened(monkeypatch, "dassl")["HOST"] == "dassl"


def test_builtin_is_taken_although_dassl_is_installed(monkeypatch, dassl):
    dassl({"engine": "import wilds_that_is_missing\n"})
    assert opened(monkeypatch, "builtin")["HOST"] == "builtin"


@pytest.mark.parametrize("choice", ["auto", "dassl"])
def test_a_dassl_that_cannot_be_imported_is_an_error_with_two_ways_out(monkeypatch, dassl, choice):
    dassl({"data/datasets": "import wilds_that_is_missing\n"})
    with pytest.raises(InputError) as caught:
        opened(monkeypatch, choice)
    message = str(caught.value)
    assert "No module named 'wilds_that_is_missing'" in message
    assert "pip install wilds==1.2.2" in message
    assert "LARE_DASSL_HOST=builtin" in message
    assert "\n" not in message


def test_a_folder_that_is_called_dassl_is_no_dassl(monkeypatch, dassl):
    dassl(package=False)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "dassl_src" not in path])
    assert opened(monkeypatch, "auto")["HOST"] == "builtin"


def test_asking_for_a_dassl_that_is_absent_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "dassl", None)
    with pytest.raises(InputError, match=r"no Dassl is installed here.*LARE_DASSL_HOST=builtin"):
        opened(monkeypatch, "dassl")


def test_a_wrong_value_is_an_error(monkeypatch):
    with pytest.raises(InputError, match="LARE_DASSL_HOST value 'dasl': did you mean 'dassl'"):
        opened(monkeypatch, "dasl")


def test_in_a_process_of_its_own(dassl):
    site = dassl({"engine": "raise AttributeError('no _LRScheduler')\n"})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), *sys.path]), "LARE_DASSL_HOST": "auto"}
    command = [sys.executable, "-c", "import lare_dassl.host.door"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "InputError: the installed Dassl cannot be imported (no _LRScheduler)" in result.stderr


def test_everything_promised_is_there():
    assert all(hasattr(door, name) for name in door.__all__)
