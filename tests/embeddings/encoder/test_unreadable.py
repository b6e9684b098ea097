from __future__ import annotations

import pytest
import torch

from lare_dassl.errors import InputError
from tests.embeddings.encoder.conftest import encode_by_hand
from tests.helpers import write_image


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_all_named_and_the_others_kept(make, model, images, workers):
    images[1].write_bytes(b"no image")
    images[4].write_bytes(images[4].read_bytes()[:200])
    images[7].unlink()
    with pytest.raises(InputError) as error:
        make(num_workers=workers).encode_images(images)
    message = str(error.value)
    assert message.startswith("3 of 10 images cannot be read: ")
    for place, cause in ((1, "cannot identify image file"), (4, ""), (7, "No such file")):
        assert f"{images[place]} ({cause}" in message
    assert "\n" not in message

    good = [path for place, path in enumerate(images) if place not in (1, 4, 7)]
    embedding, report = make().encode_images(good)
    assert report.decoded == 0
    torch.testing.assert_close(embedding, encode_by_hand(model, good))
    for place in (1, 4, 7):
        write_image(images[place], seed=100 + place)
    assert make().encode_images(images)[1].decoded == 3


def test_every_name_of_an_unreadable_content_is_counted(make, images):
    for path in images[2:9]:
        path.write_bytes(b"")
    with pytest.raises(InputError) as error:
        make().encode_images(images)
    message = str(error.value)
    assert message.startswith("7 of 10 images cannot be read: ")
    assert all(str(path) in message for path in images[2:7])
    assert "; and 2 more" in message
