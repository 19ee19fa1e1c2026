"""Where a batch goes to the device: on_device, which fetches and copies the next batch while the GPU computes."""

import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache

import torch

from data.loading.loader import Batch

ON_DEVICE = ("frames", "labels")  # the fields of a Batch that a step computes with


def on_device(batches: Iterable[Batch], device: torch.device) -> "DeviceBatches":
    """The batches with frames and labels on `device`; on the CPU, unchanged. The loader begins to read at once.

    An error of the loader, also of its beginning, is raised when the batch that it concerns is asked for.
    """
    return DeviceBatches(batches, device)


class DeviceBatches(Iterator[Batch]):
    """An iterator that can be one batch ahead of the one that is asked for.

    On a GPU, batches are copied in a separate stream, and nothing here waits for the GPU. Call `fetch_ahead` when the
    kernels of a step are enqueued: the next batch is then fetched and copied while the GPU computes, even if the host
    waits for the GPU afterwards. The stream that is current when a batch is asked for may use the batch: it waits for
    the copy before all that is enqueued later.
    """

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self._copies = _Copies(device) if device.type == "cuda" else None
        self._ahead: Batch | Exception | None = None
        self._batches: Iterator[Batch] = iter(())
        try:
            self._batches = iter(batches)
        except Exception as error:
            self._ahead = error

    def __next__(self) -> Batch:
        self.fetch_ahead()
        ahead, self._ahead = self._ahead, None
        assert ahead is not None
        if isinstance(ahead, Exception):
            try:
                raise ahead
            finally:
                del ahead  # else the error, and the batches of the frames that it names, would be a reference cycle
        if self._copies:
            self._copies.hand_over(ahead)
        return ahead

    def fetch_ahead(self) -> None:
        """Fetch the next batch now, if it is not there yet."""
        if self._ahead is None:
            self._ahead = self._fetch()

    def _fetch(self) -> Batch | Exception:
        """The next batch, its copy begun; the error if there is one, StopIteration after the last."""
        try:
            if not self._copies:
                return next(self._batches)
            self._copies.release_source()
            return self._copies.begin(next(self._batches))
        except Exception as error:
            return error


class _Copies:
    """Copies batches to a GPU, one at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = _side_stream(torch.cuda.current_device() if device.index is None else device.index)
        self.copied = torch.cuda.Event()
        self.source: list[torch.Tensor] = []  # the host memory being copied: if released, the loader would overwrite it
        weakref.finalize(self, _release_left, self.copied, self.source).atexit = False  # type: ignore[misc]

    def begin(self, batch: Batch) -> Batch:
        """Enqueue the copy of a batch."""
        fields = {}
        with torch.cuda.stream(self.side):
            for name in ON_DEVICE:
                tensor = getattr(batch, name)
                if not tensor.is_pinned():
                    tensor = tensor.pin_memory()
                self.source.append(tensor)
                fields[name] = tensor.to(self.device, non_blocking=True)
            self.copied.record(self.side)
        return batch._replace(**fields)

    def hand_over(self, batch: Batch) -> None:
        """Let the current stream use the batch whose copy began last."""
        current = torch.cuda.current_stream(self.device)
        current.wait_event(self.copied)
        for name in ON_DEVICE:
            getattr(batch, name).record_stream(current)  # its memory is not reused before that stream is done with it

    def release_source(self) -> None:
        """Let the loader write to the memory of the batch that was copied last: by then, a step ago."""
        self.copied.synchronize()
        self.source.clear()


def _release_left(copied: torch.cuda.Event, source: list[torch.Tensor]) -> None:
    """Release the source of a copy whose batches are not wanted any more."""
    with suppress(RuntimeError):  # of a GPU that failed, which is told elsewhere
        copied.synchronize()
    source.clear()


@cache
def _side_stream(index: int) -> torch.cuda.Stream:
    """The stream for copies to a GPU: one for all, because memory that one stream has freed is of no use to another."""
    return torch.cuda.Stream(index)
