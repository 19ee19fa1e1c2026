"""Batches on the device: on a GPU each is copied while it computes."""

from collections.abc import Iterable, Iterator

import torch

from data.loading.loader import Batch

ON_DEVICE = ("frames", "labels")  # the fields of a Batch that a step computes with


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with their tensors, but for the numbers of videos, on `device`; on the CPU as they are.

    On a GPU the copy goes through a stream of its own. A step only enqueues its kernels, so the next batch is asked
    for, and its copy begun, while the GPU still computes that step; nothing here waits for the GPU. The stream that is
    current when a batch is asked for may use it, as the copy comes before all that is enqueued there afterwards.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)
    copied = torch.cuda.Event()
    source: list[torch.Tensor] = []  # memory of the batch that is being copied: the loader writes to it once let go
    for batch in batches:
        copied.synchronize()  # the copy of the batch before: enqueued a step ago, it has long been done
        source.clear()
        fields = {}
        current = torch.cuda.current_stream(device)
        with torch.cuda.stream(side):
            for name in ON_DEVICE:
                tensor = getattr(batch, name)
                if not tensor.is_pinned():
                    tensor = tensor.pin_memory()
                source.append(tensor)
                fields[name] = tensor.to(device, non_blocking=True)
                fields[name].record_stream(current)  # freed there, it is not used for another copy too early
            copied.record(side)
        current.wait_event(copied)
        yield batch._replace(**fields)
