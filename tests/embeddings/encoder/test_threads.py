from __future__ import annotations

import logging
import threading

import pytest
import torch

from lare_dassl.embeddings.encoder.decoding import DecodedBatch
from lare_dassl.embeddings.encoder.threads import FittingEncoder, NotFiniteError, calls_side_by_side, encode_batches
from lare_dassl.errors import InputError
from tests.embeddings.encoder.conftest import SmallDevice


def batch_of(*places, unreadable=()):
    return DecodedBatch(list(places), torch.tensor(places, dtype=torch.float32)[:, None], list(unreadable))


def double(pixels):
    return 2 * pixels


@pytest.fixture
def kept():
    """The embeddings kept, by place."""
    return {}


@pytest.fixture
def keep(kept):
    return lambda batch, embedding: kept.update(zip(batch.places, embedding.flatten().tolist(), strict=True))


@pytest.mark.parametrize("calls", [1, 3])
def test_every_batch_is_kept_with_its_own_embeddings(kept, keep, calls):
    encode_batches([batch_of(*range(at, at + 3)) for at in range(0, 30, 3)], double, calls, keep)
    assert kept == {place: 2.0 * place for place in range(30)}


def test_batches_without_a_readable_image_are_passed_on_unencoded():
    passed = []
    batches = [batch_of(), batch_of(unreadable=[(3, "no image")]), batch_of(1)]
    encode_batches(batches, double, 1, lambda batch, embedding: passed.append((batch.unreadable, len(embedding))))
    assert passed == [([], 0), ([(3, "no image")], 0), ([], 1)]


def test_calls_run_side_by_side(keep):
    both = threading.Barrier(2, timeout=60)

    def encode(pixels):
        both.wait()
        return pixels

    encode_batches([batch_of(0), batch_of(1)], encode, 2, keep)


def test_calls_share_torchs_threads(keep):
    found = []
    torch.set_num_threads(4)
    encode_batches([batch_of(0)], lambda pixels: found.append(torch.get_num_threads()) or pixels, 2, keep)
    assert (found, torch.get_num_threads()) == ([2], 4)


@pytest.mark.parametrize(
    ("device", "threads", "batch_size", "calls"),
    [("cpu", 1, 64, 1), ("cpu", 2, 64, 2), ("cpu", 64, 64, 4), ("cpu", 2, 8, 1), ("cpu", 2, 1, 1), ("cuda", 8, 64, 1)],
)
def test_a_cpu_has_a_call_for_each_thread_while_batches_are_large(monkeypatch, device, threads, batch_size, calls):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert calls_side_by_side(torch.device(device), batch_size) == calls


@pytest.mark.parametrize("value", [float("nan"), float("inf"), RuntimeError("broken")])
def test_batches_before_a_failure_are_kept(kept, keep, value):
    """What is not finite is named by its place; an error of the encoder passes through."""

    def encode(pixels):
        if isinstance(value, RuntimeError) and 4 in pixels:
            raise value
        return torch.where(pixels == 4, value, pixels) if isinstance(value, float) else pixels

    with pytest.raises((NotFiniteError, RuntimeError)) as error:
        encode_batches([batch_of(0, 1), batch_of(2, 3), batch_of(5, 4), batch_of(6, 7)], encode, 1, keep)
    assert error.value is value or error.value.place == 4
    assert sorted(kept) == [0, 1, 2, 3]


def test_what_an_interruption_finds_in_the_encoder_is_kept(kept, keep):
    begun = threading.Event()

    def encode(pixels):
        begun.set()
        return pixels

    def batches():
        yield batch_of(0, 1)
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_batches(batches(), encode, 1, keep)
    assert sorted(kept) == [0, 1]


def test_calls_are_halved_when_memory_runs_out(caplog):
    device, pixels = SmallDevice(3, double), torch.arange(16.0)[:, None]
    encode = FittingEncoder(device, 16)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(encode(pixels), 2 * pixels)
        assert torch.equal(encode(pixels[:5]), 2 * pixels[:5])
    assert device.calls == [2] * 8 + [2, 2, 1]
    said = [record.message for record in caplog.records]
    assert said == [f"out of GPU memory with {rows} images in a call: going on with {rows // 2}" for rows in (16, 8, 4)]


def test_a_device_without_memory_for_one_image_is_told():
    with pytest.raises(InputError, match="no memory left for one image"):
        FittingEncoder(SmallDevice(0, double), 4)(torch.ones(3, 1))
