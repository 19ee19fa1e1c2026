"""Where a batch goes to the device: on_device, which copies the next batch while the GPU computes."""

from collections.abc import Iterable, Iterator

import torch

from data.loading.loader import Batch

ON_DEVICE = ("frames", "labels")  # the fields of a Batch that a step computes with


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield the batches with frames and labels on `device`; on the CPU, yield them unchanged.

    On a GPU, batches are copied in a separate stream. A step only enqueues its kernels, so the next batch is fetched
    and its copy starts while the GPU still computes; nothing here waits for the GPU. The stream that is current when a
    batch is fetched may use the batch: it waits for the copy before all that is enqueued afterwards.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)
    copied = torch.cuda.Event()
    source: list[torch.Tensor] = []  # the host memory being copied: if released, the loader would overwrite it
    for batch in batches:
        copied.synchronize()  # the copy of the last batch: enqueued a step ago, it is finished by now
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
                fields[name].record_stream(current)  # its memory is not reused before that stream is done with it
            copied.record(side)
        current.wait_event(copied)
        yield batch._replace(**fields)
