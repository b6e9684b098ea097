from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lare_dassl.system import torchvision_mend

FAILING = """
import torch
from torchvision import extension
torch.library.register_fake("torchvision::nms")(lambda dets, scores, threshold: dets)
torch.library.register_fake("torchvision::unheard_of")(lambda dets, scores, threshold: dets)
"""
LATE = FAILING.replace('"torchvision::nms"', '"torchvision::first"').replace("unheard_of", "second")


@pytest.fixture
def fake_torchvision(tmp_path, monkeypatch):
    """Puts a package `torchvision` with the given text where an import finds it first."""

    def install(text):
        (tmp_path / "torchvision").mkdir()
        (tmp_path / "torchvision" / "__init__.py").write_text(text)
        (tmp_path / "torchvision" / "extension.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchvision"}
    yield install
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    sys.modules.update(kept)


# The package itself would import open_clip and with it torchvision; the module is to be seen alone.
ALONE = f"""
import sys, types
package = types.ModuleType("lare_dassl")
package.__path__ = [{str(Path(torchvision_mend.__file__).parents[1])!r}]
sys.modules["lare_dassl"] = package
from lare_dassl.system import torchvision_mend
"""


def run(code, *folders):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, folders), *sys.path])}
    command = [sys.executable, "-c", ALONE + code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_installed_torchvision_transforms_images_afterwards():
    code = """
torchvision_mend.mend()
torchvision_mend.mend()
from PIL import Image
from torchvision import transforms
image = transforms.Compose([transforms.CenterCrop(2), transforms.ToTensor()])(Image.new("RGB", (4, 4), "white"))
print(image.sum().item())
"""
    result = run(code)
    assert result.stdout == "12.0\n", result.stderr


def test_missing_operators_are_declared(fake_torchvision):
    folder = fake_torchvision(FAILING.replace("unheard_of", "qnms"))
    code = "torchvision_mend.mend(); import torch; print(torch.ops.torchvision.qnms, torch.ops.torchvision.nms)"
    assert run(code, folder).stdout == "torchvision.qnms torchvision.nms\n"


def test_what_stays_broken_is_an_error(fake_torchvision):
    result = run("torchvision_mend.mend()", fake_torchvision(LATE))
    assert "InputError: torchvision does not fit the installed torch" in result.stderr


def test_a_torchvision_that_works_is_left_alone(fake_torchvision):
    fake_torchvision("works = True\n")
    torchvision_mend.mend()
    assert sys.modules["torchvision"].works
    torchvision_mend.mend()


def test_another_error_is_not_hidden(fake_torchvision):
    fake_torchvision("raise RuntimeError('something else')\n")
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_mend.mend()
