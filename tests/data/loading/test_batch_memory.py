"""The memory that batches are read into: what is held is not written to, and what is not held comes back."""

import pytest
import torch

from common.errors import DataError
from data.loading.batch_memory import BatchMemory


def test_a_slot_is_free_again_when_the_last_tensor_of_it_is_gone():
    """Also a view of a view: a step may keep any part of a batch."""
    memory = BatchMemory(slots=1, slot_bytes=24)
    frames = memory.lend(memory.take(), (2, 3, 4))
    part = frames.permute(2, 0, 1)[1:, :1]
    del frames
    with pytest.raises(RuntimeError, match="still in use"):
        memory.take()
    del part
    assert memory.take() == 0


def test_slots_that_are_being_filled_are_not_given_twice():
    memory = BatchMemory(slots=2, slot_bytes=8)
    assert {memory.take(), memory.take()} == {0, 1}
    with pytest.raises(RuntimeError):
        memory.take()
    memory.take_back_unlent()
    assert memory.take() in {0, 1}


def test_a_batch_that_only_garbage_holds_does_not_stop_the_run():
    """A caught exception refers to itself, and its frame to the batch of the step that it came from."""
    memory = BatchMemory(slots=1, slot_bytes=8)
    cycle: list[object] = [memory.lend(memory.take(), (8,))]
    cycle.append(cycle)
    del cycle
    assert memory.take() == 0


def test_slots_do_not_overlap():
    memory = BatchMemory(slots=3, slot_bytes=5000)
    tensors = [memory.lend(memory.take(), (5000,)) for _ in range(3)]
    for number, tensor in enumerate(tensors):
        tensor.fill_(number)
    for number, tensor in enumerate(tensors):
        assert torch.equal(tensor, torch.full((5000,), number, dtype=torch.uint8))


@pytest.mark.parametrize("slot_bytes", [2**45, 2**61])
def test_more_memory_than_there_is_ends_with_a_remedy(slot_bytes):
    """Instead of processes that the system kills at some step."""
    with pytest.raises(DataError, match=r"MB for the batches.*smaller --batch-size or fewer --workers"):
        BatchMemory(slots=2, slot_bytes=slot_bytes)


@pytest.mark.gpu
def test_the_memory_is_page_locked():
    memory = BatchMemory(slots=2, slot_bytes=1 << 20)
    memory.page_lock()
    assert memory.lend(memory.take(), (1 << 20,)).is_pinned()
