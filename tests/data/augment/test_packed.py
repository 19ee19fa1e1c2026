"""The parameters of a batch reach the device whole, in one copy."""

import numpy as np
import pytest
import torch

from data.augment import packed, plain
from data.augment.params import random_params
from tests.devices import DEVICES, no_waiting


def arrays() -> list[np.ndarray]:
    """Of the types and shapes that a batch has; odd sizes, so that each but the first follows a gap."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(5, 3, 3)), np.arange(7) * 2**40, rng.normal(size=3).astype(np.float32), np.ones((1, 2))]


def test_packed_arrays_are_the_same_afterwards():
    """An array that overlaps another would give some clips the augmentation of others."""
    buffer, layout = packed.pack(arrays(), pin_memory=False)
    for ours, expected in zip(packed.unpack(buffer, layout), arrays(), strict=True):
        assert torch.equal(ours, torch.from_numpy(expected))
        assert ours.storage_offset() * ours.element_size() % 64 == 0


@pytest.mark.parametrize("device", DEVICES)
def test_arrays_arrive_in_the_precision_of_the_device(device):
    packed.to_device(arrays(), torch.device(device))
    with no_waiting(device):
        tensors = packed.to_device(arrays(), torch.device(device))
    for ours, expected in zip(tensors, arrays(), strict=True):
        is_integer = expected.dtype == np.int64
        assert ours.dtype == (torch.int64 if is_integer else torch.float32) and ours.device.type == device
        assert torch.equal(ours.cpu(), torch.from_numpy(expected if is_integer else expected.astype(np.float32)))


def test_a_batch_makes_one_copy_to_the_device(monkeypatch):
    """Each further one is a call of the driver and page-locked memory, in a step that the host may limit."""
    copies = []

    def noted(arrays, device):
        copies.append(len(arrays))
        return packed.to_device(arrays, device)

    monkeypatch.setattr(plain, "to_device", noted)
    rng = np.random.default_rng(0)
    params = torch.from_numpy(np.stack([random_params(rng) for _ in range(40)]))
    clips = torch.zeros(40, 3, 1, 8, 8, dtype=torch.uint8)
    plain.augment_together(clips, params, torch.empty(clips.shape), 1)
    assert copies == [18]  # all kinds of augmentation are in the batch
