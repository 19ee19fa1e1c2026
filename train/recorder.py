"""Recording what a device is to do, as CUDA graphs."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import torch

from common.garbage import no_garbage_collection


class Recorder(Protocol):
    """Records operations on a device."""

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """Call `run` so that its operations are recorded and not executed. Returns what executes them."""

    def share_of_memory(self) -> float:
        """Of the device's memory, what all recordings have and the highest that all else has had."""

    def release(self) -> None:
        """Wait for the device, and free the memory of recordings that are gone."""


class CudaRecorder:
    """Records CUDA graphs, which share their memory: one is replayed at a time, and its outputs are used at once."""

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device(device.type, torch.cuda.current_device() if device.index is None else device.index)
        self.pool = torch.cuda.graph_pool_handle()
        self.reserved = 0
        self._failed: list[torch.cuda.CUDAGraph] = []  # PyTorch still knows their addresses

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """See Recorder."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()  # what the other steps have cached is needed for the recording
        gc.collect()  # garbage may hold what a device uses; to free it within would end the recording
        before = torch.cuda.memory_reserved(self.device)
        # Other threads may use the device meanwhile, such as those of NCCL.
        with (
            self._mended(graph),
            no_garbage_collection(),
            torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"),
        ):
            run()
        self.reserved += max(0, torch.cuda.memory_reserved(self.device) - before)
        return graph.replay

    def share_of_memory(self) -> float:
        """See Recorder."""
        total = torch.cuda.get_device_properties(self.device).total_memory
        return (self.reserved + torch.cuda.max_memory_allocated(self.device)) / total

    def release(self) -> None:
        """See Recorder."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        self.pool, self.reserved = torch.cuda.graph_pool_handle(), 0

    @contextmanager
    def _mended(self, graph: torch.cuda.CUDAGraph) -> Iterator[None]:
        """After a recording that fails, PyTorch goes on as if it were recording. Mend what is known of it."""
        generator = torch.cuda.default_generators[self.device.index]
        stream, draws = torch.cuda.current_stream(self.device), generator.clone_state()
        try:
            yield
        except BaseException:
            torch.cuda.set_stream(stream)
            generator.graphsafe_set_state(draws)
            # Else the memory of tensors that several streams use would never be used again.
            with suppress(RuntimeError):  # it has ended
                torch._C._cuda_endAllocateToPool(self.device.index, self.pool)
            self._failed.append(graph)
            self.pool = torch.cuda.graph_pool_handle()
            raise
