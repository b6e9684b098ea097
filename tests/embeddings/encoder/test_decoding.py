from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from lare_dassl.embeddings.encoder.decoding import decoded_batches, thread_pool
from lare_dassl.errors import InputError


def pixels_of(place):
    return torch.full((3, 2, 2), float(place))


def batches_of(decode, count, batch_size=4, threads=1, ahead=8):
    return decoded_batches(decode, range(count), batch_size, threads=threads, ahead=ahead)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_hold_every_place_with_its_pixels_or_the_cause(threads):
    def decode(place):
        if place % 3 == 0:
            raise InputError(f"no image {place}")
        return pixels_of(place)

    batches = list(batches_of(decode, 10, threads=threads))
    unreadable = sorted(entry for batch in batches for entry in batch.unreadable)
    assert unreadable == [(place, f"no image {place}") for place in (0, 3, 6, 9)]
    assert sorted(place for batch in batches for place in batch.places) == [1, 2, 4, 5, 7, 8]
    for batch in batches:
        assert len(batch.places) + len(batch.unreadable) <= 4
        assert torch.equal(batch.pixels[:, 0, 0, 0], torch.tensor(batch.places).float())
    assert list(batches_of(pixels_of, 0)) == []


def test_any_other_error_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        list(batches_of(lambda place: place / 0, 3))


def test_no_batch_waits_for_a_slow_image():
    released = threading.Event()

    def decode(place):
        if place == 1:
            released.wait()
        return pixels_of(place)

    seen = []
    for batch in batches_of(decode, 10, threads=2):
        seen += batch.places
        if len(seen) == 9:
            # All others are out, so the slow one may come at last.
            released.set()
    assert seen[-1] == 1
    assert sorted(seen) == list(range(10))


def test_images_are_not_decoded_further_ahead_than_asked():
    begun = []

    def decode(place):
        begun.append(place)
        return pixels_of(place)

    batches = batches_of(decode, 100, batch_size=2, ahead=5)
    for number in range(1, 11):
        next(batches)
        # The generator stands still between batches, and each image taken lets one more begin.
        assert len(begun) <= 5 + 2 * number
    batches.close()
    assert len(begun) <= 25
    assert all("ThreadPool" not in thread.name for thread in threading.enumerate())


def test_threads_have_torch_threads_of_their_own():
    before = torch.get_num_threads()
    with thread_pool(2, torch_threads=3) as pool:
        assert {pool.submit(torch.get_num_threads).result() for _ in range(4)} == {3}
        assert torch.get_num_threads() == before
    with ThreadPoolExecutor() as later:
        assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == before
