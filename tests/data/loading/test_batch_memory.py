"""The memory of batches: a batch in use is never written to, and its slot is free when it is no longer used."""

import resource

import pytest
import torch

from common.errors import DataError
from data.loading.batch_memory import BatchMemory


def test_a_slot_is_free_when_its_last_tensor_is_gone():
    """Including views of views: a step may keep any part of a batch."""
    memory = BatchMemory(slots=1, slot_bytes=24)
    frames = memory.tensor(memory.reserve(), (2, 3, 4))
    part = frames.permute(2, 0, 1)[1:, :1]
    del frames
    with pytest.raises(RuntimeError, match=r"two.*clone\(\)"):
        memory.reserve()
    del part
    assert memory.reserve() == 0


def test_a_reserved_slot_is_not_reserved_again_until_released():
    memory = BatchMemory(slots=2, slot_bytes=8)
    assert {memory.reserve(), memory.reserve()} == {0, 1}
    with pytest.raises(RuntimeError):
        memory.reserve()
    memory.release_reserved()
    assert memory.reserve() in {0, 1}


def test_a_batch_held_only_by_a_reference_cycle_does_not_stop_the_run():
    """A caught exception is such a cycle, and its traceback holds the batch of the step that raised it."""
    memory = BatchMemory(slots=1, slot_bytes=8)
    cycle: list[object] = [memory.tensor(memory.reserve(), (8,))]
    cycle.append(cycle)
    del cycle
    assert memory.reserve() == 0


def test_slots_do_not_overlap():
    memory = BatchMemory(slots=3, slot_bytes=5000)
    tensors = [memory.tensor(memory.reserve(), (5000,)) for _ in range(3)]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    for number, tensor in enumerate(tensors):
        assert torch.equal(tensor, torch.full((5000,), number, dtype=torch.uint8))


@pytest.mark.parametrize("slot_bytes", [2**45, 2**61])
def test_more_memory_than_the_machine_has_is_an_error_with_a_remedy(slot_bytes):
    """Otherwise the system kills processes at some later step."""
    with pytest.raises(DataError, match=r" MB .*--batch-size.*--workers"):
        BatchMemory(slots=2, slot_bytes=slot_bytes)


@pytest.mark.gpu
def test_the_memory_is_page_locked():
    memory = BatchMemory(slots=2, slot_bytes=1 << 20)
    memory.page_lock()
    assert memory.tensor(memory.reserve(), (1 << 20,)).is_pinned()


def test_a_limit_of_the_system_is_named_and_not_the_batch_size():
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"0\.1 MB.*ulimit -f") as caught:
            BatchMemory(slots=1, slot_bytes=100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--batch-size" not in str(caught.value)
