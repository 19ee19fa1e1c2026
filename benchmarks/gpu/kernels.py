"""Section h, the fused operations of network/kernels: their time beside PyTorch's, and their bandwidth."""

from collections.abc import Callable
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import repeats_of, time_call
from common.device import tune_device
from network import recursion
from network.fused import StemConv3d, StemPool, fold_clips, fold_weight
from network.srtg import SqueezeAndRecursion
from network.sub_batch_norm import SubBatchNorm3d

STAGES = ((64, 16, 112), (64, 8, 56), (128, 4, 28), (256, 2, 14), (512, 1, 7))  # channels, frames and size in r3d_34
CLIPS, TINY_CLIPS = 32, 2
SPLITS = (1, 8)


def run(job: Job) -> None:
    """Measure forward and backward passes of each operation, at the shapes of r3d_34 with clips of 16x224x224."""
    tune_device(job.device.type)
    job.expect_fused()
    dtype = torch.bfloat16 if job.is_cuda else torch.float32
    meter = KernelMeter(job, dtype)
    for channels, frames, size in STAGES:
        shape = (TINY_CLIPS if job.is_tiny else CLIPS, channels, frames, max(2, size // 8) if job.is_tiny else size)
        for splits in SPLITS if shape[0] % max(SPLITS) == 0 else (1,):
            job.attempt(f"norm, {shape}", lambda: meter.norm(shape, splits))  # noqa: B023 - called at once
        if frames < 16 or job.is_tiny:  # the largest shape is the stem's, which has no SRTG
            for gates in (False, True):
                job.attempt(f"SRTG, {shape}", lambda: meter.recursion(shape, gates))  # noqa: B023
    job.attempt("pool", meter.pool)
    job.attempt("stem", meter.stem)


class KernelMeter:
    """Times an operation and the PyTorch operations that it replaces."""

    def __init__(self, job: Job, dtype: torch.dtype) -> None:
        self.job, self.dtype = job, dtype
        self.clips = TINY_CLIPS if job.is_tiny else CLIPS
        self.size = 32 if job.is_tiny else 224

    def random(self, *shape: int) -> Tensor:
        """Random numbers in channels_last_3d."""
        x = torch.randn(*shape, device=self.job.device, dtype=self.dtype)
        return x.contiguous(memory_format=torch.channels_last_3d)

    def norm(self, shape: tuple[int, int, int, int], splits: int) -> None:
        """Batch norm, addition and ReLU."""
        clips, channels, frames, size = shape
        x, shortcut, gradient = (self.random(clips, channels, frames, size, size) for _ in range(3))
        norm = SubBatchNorm3d(channels).to(self.job.device)
        norm.set_num_splits(splits)

        def fused() -> Tensor:
            if norm.may_fuse(x, shortcut):
                return norm.fused(x, shortcut, relu=True)
            return F.relu(norm(x) + shortcut)

        def plain() -> Tensor:
            y = norm._plain(x) if splits == 1 else norm._normalise(x, *norm._statistics(), 1)
            return F.relu_(y.add_(shortcut))

        self._compare(f"norm, addition and ReLU, {splits} sub-batches", (x, shortcut), gradient, fused, plain, 12)

    def recursion(self, shape: tuple[int, int, int, int], gates: bool) -> None:
        """Squeeze, recursion, gates and scale, with the gradients of the LSTM."""
        clips, channels, frames, size = shape
        x, gradient = (self.random(clips, channels, frames, size, size) for _ in range(2))
        module = SqueezeAndRecursion(channels, gates).to(self.job.device)
        name, inputs = "SRTG" + " with gates" * gates, (x, *module.parameters())
        self._compare(name, inputs, gradient, lambda: module(x), lambda: module.plain(x), 7)
        if not gates:  # what float32 costs the recursion, in place of TF32
            with patch.object(recursion, "MAY_USE_TF32", True):
                self._compare(f"{name} in TF32", inputs, gradient, lambda: module(x), lambda: module.plain(x), 7)

    def pool(self) -> None:
        """The max-pool after the stem; the traffic is that of x, y, both gradients and the indices."""
        x = self.random(self.clips, 64, 16, self.size // 2, self.size // 2)
        pool = StemPool(3)
        gradient = torch.randn_like(pool(x))
        self._compare("max-pool", (x,), gradient, lambda: pool(x), lambda: F.max_pool3d(x, 3, 2, 1), 2.375)

    def stem(self) -> None:
        """The stem's convolution in several forms."""
        conv = StemConv3d(64, 3).to(self.job.device, self.dtype, memory_format=torch.channels_last_3d)
        x = self.random(self.clips, 3, 16, self.size, self.size)
        weight = conv.weight
        folded = fold_clips(x)
        forms: dict[str, Callable[[], Tensor]] = {
            "stem as it is used": lambda: conv(x),
            "stem of 3 channels": lambda: F.conv3d(x, weight, stride=(1, 2, 2), padding=(1, 3, 3)),
            "stem folded, without the folding": lambda: F.conv3d(folded, fold_weight(weight), padding=(1, 0, 0)),
        }
        for channels in (4, 8):
            wide = self.random(self.clips, channels, 16, self.size, self.size)
            wide_weight = self.random(64, channels, 3, 7, 7).requires_grad_()
            forms[f"stem of {channels} channels"] = lambda x=wide, w=wide_weight: F.conv3d(
                x, w, stride=(1, 2, 2), padding=(1, 3, 3)
            )
        forms["folding"] = lambda: fold_clips(x)
        for name, form in forms.items():
            self.job.attempt(name, lambda: self._time(name, form))  # noqa: B023 - called at once

    def _time(self, name: str, form: Callable[[], Tensor]) -> None:
        y = form()
        forward = time_call(form, self.job.device, **self._repeats()).median
        values = {"forward_ms": 1000 * forward}
        if y.requires_grad:
            gradient = torch.randn_like(y)
            both = time_call(lambda: form().backward(gradient), self.job.device, **self._repeats()).median
            values["backward_ms"] = 1000 * (both - forward)
        self._add(name, y, values)

    def _compare(
        self, name: str, inputs: tuple[Tensor, ...], gradient: Tensor, fused: Callable[[], Tensor],
        plain: Callable[[], Tensor], passes: float,
    ) -> None:  # fmt: skip
        """`passes`: how often an operation has to read or write as many bytes as its first input has."""
        for tensor in inputs:
            tensor.requires_grad_()
        values: dict[str, float] = {}
        for form, kind in ((fused, ""), (plain, "plain_")):

            def both(form: Callable[[], Tensor] = form) -> None:
                torch.autograd.grad(form(), inputs, gradient)

            with torch.no_grad():
                forward = time_call(form, self.job.device, **self._repeats()).median
            seconds = time_call(both, self.job.device, **self._repeats()).median
            values |= {f"{kind}forward_ms": 1000 * forward, f"{kind}both_ms": 1000 * seconds}
        values["gb_per_s"] = passes * inputs[0].nbytes / (values["both_ms"] / 1000) / 1e9
        self._add(name, inputs[0], values)

    def _repeats(self) -> dict[str, float | int]:
        return repeats_of(self.job) or {"seconds": 0.2, "least": 5, "most": 30}

    def _add(self, name: str, x: Tensor, values: dict[str, float]) -> None:
        dtype = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self.dtype]
        self.job.add(name, "x".join(map(str, x.shape)), dtype, **values)
