"""Section h, the kernels of networks and of augmentation: their time beside PyTorch's, and their bandwidth."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import host_seconds, repeats_of, time_call
from common.device import tune_device
from common.kernels.switch import has_triton, use_kernels
from data.augment import use as augmentation
from data.augment.augment import Augment
from data.augment.params import identity_params, random_params
from network.fused import (
    StemConv3d,
    StemPool,
    fold_clips,
    fold_clips_wide,
    fold_weight,
    fold_weight_wide,
    folded_conv,
)
from network.srtg import SqueezeAndRecursion
from network.sub_batch_norm import SubBatchNorm3d

# Channels, frames and size of some layers of r3d_34; the first is that of the stem, which has no SRTG.
OF_NORM = ((64, 16, 112), (64, 8, 56), (128, 4, 28), (512, 1, 7))
OF_SRTG = ((64, 8, 56), (512, 1, 7))
# Clips, frames and size of batches: the full shape of training, and the smallest of multigrid.
OF_AUGMENTATION = ((32, 16, 284), (512, 4, 142))
CLIPS, TINY_CLIPS = 32, 2
SPLITS = 8
LAUNCHES = 200  # the GPU's queue holds more


def run(job: Job) -> None:
    """Measure forward and backward passes of each operation, at the shapes of r3d_34 with clips of 16x224x224."""
    tune_device(job.device.type)
    job.expect_fused()
    dtype = torch.bfloat16 if job.is_cuda else torch.float32
    meter = KernelMeter(job, dtype)
    job.attempt("pool", meter.pool)
    job.attempt("stem", meter.stem)
    if job.is_cuda:
        job.attempt("norm and pool", meter.norm_pool)
        job.attempt("launch", meter.launch)
    for layer in OF_NORM:
        job.attempt(f"norm, {layer}", lambda: meter.norm(meter.shape(*layer), 1))  # noqa: B023 - called at once
    if not job.is_tiny:
        job.attempt("norm of sub-batches", lambda: meter.norm(meter.shape(*OF_NORM[1]), SPLITS))
    for layer in OF_SRTG:
        for gates in (False, True):
            job.attempt(f"SRTG, {layer}", lambda: meter.recursion(meter.shape(*layer), gates))  # noqa: B023
    for batch in OF_AUGMENTATION:
        job.attempt(f"augmentation, {batch}", lambda: meter.augmentation(*batch))  # noqa: B023


class KernelMeter:
    """Times an operation and the PyTorch operations that it replaces."""

    def __init__(self, job: Job, dtype: torch.dtype) -> None:
        self.job, self.dtype = job, dtype
        self.clips = TINY_CLIPS if job.is_tiny else CLIPS
        self.size = 32 if job.is_tiny else 224

    def shape(self, channels: int, frames: int, size: int) -> tuple[int, int, int, int]:
        """Clips, channels, frames and size of a layer."""
        return self.clips, channels, frames, max(2, size // 8) if self.job.is_tiny else size

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

    def pool(self) -> None:
        """The max-pool after the stem; the traffic is that of x, y, both gradients and the indices."""
        x = self.random(self.clips, 64, 16, self.size // 2, self.size // 2)
        pool = StemPool(3)
        gradient = torch.randn_like(pool(x))
        self._compare("max-pool", (x,), gradient, lambda: pool(x), lambda: F.max_pool3d(x, 3, 2, 1), 2.375)

    def norm_pool(self) -> None:
        """The batch norm after the stem, ReLU and the max-pool, as one operation and as two."""
        x = self.random(self.clips, 64, 16, self.size // 2, self.size // 2)
        norm, pool = SubBatchNorm3d(64).to(self.job.device), StemPool(3)
        gradient = torch.randn_like(pool(x))
        forms = lambda: norm.fused_with_pool(x, 3), lambda: pool(norm.fused(x, None, relu=True))
        self._compare("norm, ReLU and max-pool; plain: as two", (x,), gradient, *forms, 5.75)

    def stem(self) -> None:
        """The stem's convolution in several forms."""
        conv = StemConv3d(64, 3).to(self.job.device, self.dtype, memory_format=torch.channels_last_3d)
        x = self.random(self.clips, 3, 16, self.size, self.size)
        weight = conv.weight
        forms: dict[str, Callable[[], Tensor]] = {
            "stem as it is used": lambda: conv(x),
            "stem of 3 channels": lambda: F.conv3d(x, weight, stride=(1, 2, 2), padding=(1, 3, 3)),
            "stem of 16 channels": lambda: folded_conv(x, weight, False),
        }
        folding = fold_clips_wide
        if self.job.is_cuda:
            from network.kernels import stem  # Triton is not everywhere

            folding = stem.fold_clips_wide
            forms["stem of 64 channels"] = lambda: folded_conv(x, weight, True)
        forms["folding to 16 channels"], forms["folding to 64 channels"] = lambda: fold_clips(x), lambda: folding(x)
        for name, form in forms.items():
            self.job.attempt(name, lambda: self._time(name, form))  # noqa: B023 - called at once
        for fold, of_weight in ((fold_clips, fold_weight), (folding, fold_weight_wide)):
            folded = fold(x)
            name = f"stem of {folded.shape[1]} channels, without the folding"
            form = lambda: F.conv3d(folded, of_weight(weight), padding=(1, 0, 0))  # noqa: B023, E731
            self.job.attempt(name, lambda: self._time(name, form))  # noqa: B023

    def augmentation(self, clips: int, frames: int, size: int) -> None:
        """Random augmentation of a batch, and none; the traffic is that of the frames and of the result."""
        if self.job.is_tiny:
            clips, frames, size = TINY_CLIPS, 2, 32
        augment = Augment(self.dtype, torch.channels_last_3d)
        if self.job.is_cuda and has_triton():
            device = torch.device("cuda", torch.cuda.current_device())
            if reason := augmentation.failure(device, self.dtype, augment.memory_format):
                self.job.fail(f"augmentation is not fused: {reason}")
        shape = clips, frames, size, size, 3
        batch = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.job.device).permute(0, 4, 1, 2, 3)
        rng = np.random.default_rng(0)
        drawn, none = [random_params(rng) for _ in range(clips)], [identity_params()] * clips
        for name, params in (("augmentation", drawn), ("augmentation of none", none)):
            call = partial(augment, batch, torch.from_numpy(np.stack(params)))
            nbytes = batch.nbytes + call().nbytes
            values: dict[str, float] = {}
            for is_on, kind in ((True, ""), (False, "plain_")):
                before = use_kernels(is_on)
                try:
                    seconds = time_call(call, self.job.device, **self._repeats()).median
                    values |= {f"{kind}forward_ms": 1000 * seconds}
                    values[f"{kind}host_ms"] = 1000 * host_seconds(call, self.job.device)
                finally:
                    use_kernels(before)
            values["gb_per_s"] = nbytes / (values["forward_ms"] / 1000) / 1e9
            self._add(name, batch, values)

    def launch(self) -> None:
        """The host's time of a launch of a kernel, as it is used and through Triton; nothing waits for the GPU."""
        from common.kernels.launch import Launcher
        from network.kernels.stem import _fold_kernel

        x, out = (torch.zeros(4 * 8 * 32, dtype=torch.int32, device=self.job.device) for _ in range(2))
        launcher = Launcher(_fold_kernel, 2, num_warps=4)

        def ours() -> None:
            for _ in range(LAUNCHES):
                launcher((1, 1, 1), x, out, 2, 2, 64)

        def through_triton() -> None:
            for _ in range(LAUNCHES):
                _fold_kernel[(1, 1, 1)](x, out, 2, 2, 64, num_warps=4)

        seconds = {name: host_seconds(call, self.job.device) for name, call in
                   (("host_us", ours), ("triton_us", through_triton))}  # fmt: skip
        self._add("launch of a kernel", x, {name: 1e6 * time / LAUNCHES for name, time in seconds.items()})

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
            values[f"{kind}host_ms"] = 1000 * host_seconds(both, self.job.device)
        values["gb_per_s"] = passes * inputs[0].nbytes / (values["both_ms"] / 1000) / 1e9
        self._add(name, inputs[0], values)

    def _repeats(self) -> dict[str, float | int]:
        return repeats_of(self.job) or {"seconds": 0.1, "least": 5, "most": 20}

    def _add(self, name: str, x: Tensor, values: dict[str, float]) -> None:
        dtype = {torch.bfloat16: "bf16", torch.float32: "fp32"}[self.dtype]
        self.job.add(name, "x".join(map(str, x.shape)), dtype, **values)
