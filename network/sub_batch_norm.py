"""Batch norm over sub-batches, so that its statistics cover about as many clips when multigrid enlarges the batch.

Multigrid training (Wu et al. 2020, arXiv 1912.00998) uses batches 8, 4 or 2 times the base batch at the small shapes of
the long cycle, and computes batch-norm statistics over sub-batches of the base batch's size. The number of sub-batches
depends only on the long cycle: where the short cycle enlarges the batch further, the sub-batches grow with it.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from network.kernels.use import has_hooks, is_channels_last, may_use_kernels


class SubBatchNorm3d(nn.BatchNorm3d):
    """Batch norm of x (B, C, T, H, W) that in training normalises each of `num_splits` sub-batches of B separately.

    Each sub-batch has its own running statistics (num_splits, C). They are aggregated into `running_mean` and
    `running_var`, which evaluation uses, whenever the module leaves training mode or its state dict is taken. The state
    dict is that of plain batch norm; after loading one, every sub-batch has the loaded statistics. With one split, this
    is plain batch norm. With `synchronise`, a sub-batch includes the clips of all ranks.

    Sub-batch s has the clips s, s + num_splits, ...: in NCDHW a view moves the splits into the channels without a copy.
    In channels_last_3d there is no such view; on a GPU network/kernels/norm.py normalises all sub-batches at once.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float
    split_mean: Tensor | None
    split_var: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, synchronise: bool = False) -> None:
        super().__init__(num_features, eps, momentum)
        self.synchronise = synchronise
        self.is_fixed = False  # whether the running statistics stay as they are, to the bit; set by who freezes them
        self.register_buffer("split_mean", None, persistent=False)
        self.register_buffer("split_var", None, persistent=False)

    @classmethod
    def sharing(cls, norm: nn.BatchNorm3d, synchronise: bool) -> "SubBatchNorm3d":
        """A SubBatchNorm3d with the same parameter and buffer objects as `norm`."""
        assert norm.affine and norm.track_running_stats and norm.momentum is not None, norm
        new = cls(norm.num_features, norm.eps, norm.momentum, synchronise)
        new.weight, new.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(new, name, buffer)
        return new.train(norm.training)

    @property
    def num_splits(self) -> int:
        """The number of sub-batches of a training batch."""
        return 1 if self.split_mean is None else len(self.split_mean)

    def set_num_splits(self, num_splits: int) -> None:
        """Change the number of sub-batches: all start from the aggregated statistics of the previous ones."""
        assert num_splits >= 1, num_splits
        if num_splits != self.num_splits:
            self.aggregate()
            self._start_splits(num_splits)

    @torch.no_grad()
    def aggregate(self) -> None:
        """Set the running statistics to those of all sub-batches: mean of the variances plus variance of the means.

        Nothing if they are fixed: the mean of eight equal numbers may be another one, by rounding.
        """
        if not self.is_fixed and self.split_mean is not None and self.split_var is not None:
            mean = self.split_mean.mean(0)
            self.running_mean.copy_(mean)
            self.running_var.copy_(self.split_var.mean(0) + (self.split_mean - mean).square().mean(0))

    def train(self, mode: bool = True) -> "SubBatchNorm3d":
        """Set training or evaluation mode; leaving training mode aggregates."""
        if self.training and not mode:
            self.aggregate()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, T, H, W); in training B must be a multiple of `num_splits`."""
        if self.may_fuse(x):
            return self.fused(x, None, relu=False)
        is_synchronised = self._is_synchronised()
        splits = self.num_splits
        if not self.training or (splits == 1 and not is_synchronised):
            return self._plain(x)
        assert len(x) % splits == 0, f"a batch of {len(x)} clips does not divide into {splits} sub-batches"
        mean, var = self._statistics()
        if self.num_batches_tracked is not None:  # None while a block is recomputed, see activation_checkpointing.py
            self.num_batches_tracked.add_(1)
        if is_synchronised or not x.is_contiguous():
            return self._normalise(x, mean, var, dist.get_world_size() if is_synchronised else 1)
        merged = x.view(len(x) // splits, splits * x.shape[1], *x.shape[2:])
        weight, bias = self.weight.repeat(splits), self.bias.repeat(splits)
        arguments = mean.view(-1), var.view(-1), weight, bias, True, self.momentum, self.eps
        return _viewed(F.batch_norm(merged, *arguments), x)

    def may_fuse(self, x: Tensor, shortcut: Tensor | None = None) -> bool:
        """Whether `fused` takes clips x (B, C, T, H, W), and a shortcut like x."""
        if not self.training or not may_use_kernels(x) or self._is_synchronised() or has_hooks(self):
            return False
        if self.weight.dtype != torch.float32 or x.numel() == x.shape[1] * self.num_splits:
            return False  # of one value a channel there are no statistics: PyTorch's own error says so
        return shortcut is None or (
            shortcut.dtype == x.dtype and shortcut.shape == x.shape and is_channels_last(shortcut)
        )

    def fused(
        self, x: Tensor, shortcut: Tensor | None, relu: bool, kept: Tensor | None = None, factor: float = 1.0
    ) -> Tensor:
        """Normalise x (B, C, T, H, W), add the shortcut, and apply ReLU, all at once; see `may_fuse`.

        With `kept`, B numbers 0 or 1, the normalised x is multiplied by them and by `factor` before the addition.
        """
        from network.kernels.norm import norm_add_relu  # not at import: Triton is not everywhere

        return norm_add_relu(x, shortcut, *self._of_kernels(x), relu, kept, factor)

    def fused_with_pool(self, x: Tensor, frames: int) -> Tensor:
        """Normalise x (B, C, T, H, W), apply ReLU, and the max-pool of network.fused.StemPool, all at once."""
        from network.kernels.norm_pool import norm_relu_pool  # not at import: Triton is not everywhere

        return norm_relu_pool(x, *self._of_kernels(x), frames)

    def _of_kernels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, float, float]:
        """What the kernels need to know of this layer."""
        buffers = self._buffers  # by their names nn.Module searches, which takes the host several times as long
        mean, var = buffers["split_mean"], buffers["split_var"]
        if mean is None or var is None:
            mean, var = self.running_mean, self.running_var
        else:
            splits = len(mean)
            assert len(x) % splits == 0, f"a batch of {len(x)} clips does not divide into {splits} sub-batches"
        return self.weight, self.bias, mean, var, buffers["num_batches_tracked"], self.momentum, self.eps

    def _plain(self, x: Tensor) -> Tensor:
        """PyTorch's batch norm; on a GPU it has a fast kernel for channels_last images, and none for such clips."""
        if not (x.is_cuda and is_channels_last(x)):
            return super().forward(x)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        norm = self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        return _viewed(F.batch_norm(x.flatten(2, 3), *norm), x)

    def _is_synchronised(self) -> bool:
        return self.synchronise and dist.is_initialized() and dist.get_world_size() > 1

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """The running statistics of each sub-batch, both (num_splits, C)."""
        if self.split_mean is None or self.split_var is None:
            return self.running_mean[None], self.running_var[None]
        return self.split_mean, self.split_var

    def _normalise(self, x: Tensor, running_mean: Tensor, running_var: Tensor, ranks: int) -> Tensor:
        """Normalise x (B, C, T, H, W) of any layout, and update the running statistics (splits, C).

        With several ranks, which have equally many clips, a sub-batch includes the clips of all of them.
        """
        splits, channels = running_mean.shape
        parts = x.view(-1, splits, *x.shape[1:])  # (B / splits, splits, C, T, H, W)
        own_var, own_mean = torch.var_mean(parts.float(), (0, 3, 4, 5), correction=0)
        if ranks == 1:
            mean, var = own_mean, own_var
        else:
            means, variances = _OfAllRanks.apply(torch.stack((own_mean, own_var))).unbind(1)
            mean = means.mean(0)
            var = variances.mean(0) + (means - mean).square().mean(0)
        with torch.no_grad():
            count = ranks * x.numel() / (splits * channels)
            running_mean.lerp_(mean, self.momentum)
            running_var.lerp_(var * (count / (count - 1)), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        shape = (1, splits, channels, 1, 1, 1)
        return _viewed(torch.addcmul(shift.view(shape), parts, scale.view(shape)).to(x.dtype), x)

    def _start_splits(self, num_splits: int) -> None:
        self.split_mean = self.running_mean.repeat(num_splits, 1) if num_splits > 1 else None
        self.split_var = self.running_var.repeat(num_splits, 1) if num_splits > 1 else None

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.aggregate()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._start_splits(self.num_splits)

    def extra_repr(self) -> str:
        """The text in the printed network: that of plain batch norm, and the splits."""
        return f"{super().extra_repr()}, num_splits={self.num_splits}, synchronise={self.synchronise}"


class _OfAllRanks(torch.autograd.Function):
    """A tensor (...) of every rank: (ranks, ...). Gradients are summed over the ranks, because every rank uses it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        tensors = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(tensors, tensor.contiguous())
        return torch.stack(tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total[dist.get_rank()]


def _viewed(y: Tensor, x: Tensor) -> Tensor:
    """A new y with the shape of x. To autograd it is no view: a view would be copied when ReLU overwrites it."""
    return torch.ops.aten._unsafe_view(y, x.shape)


def use_sub_batch_norm(network: nn.Module, synchronise: bool = False) -> None:
    """Replace every BatchNorm3d in `network`, in place; parameters and buffers stay the same objects."""
    replaced: dict[nn.BatchNorm3d, SubBatchNorm3d] = {}
    for path, module in list(network.named_modules(remove_duplicate=False)):
        if type(module) is nn.BatchNorm3d:
            if module not in replaced:
                replaced[module] = SubBatchNorm3d.sharing(module, synchronise)
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, replaced[module])


@torch.no_grad()
def smallest_norm_input(network: nn.Module, frames: int, height: int, width: int) -> int:
    """The fewest values of a channel and clip, T*H*W, that a batch norm gets from clips of frames x height x width.

    In training, batch norm needs two values or more over all clips that it normalises together. The network is run on
    the meta device, where only shapes are computed; it must have been made there.
    """
    sizes = []
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    hooks = [norm.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0][0, 0].numel())) for norm in norms]
    network(torch.empty(2, 3, frames, height, width, device="meta"))
    for hook in hooks:
        hook.remove()
    return min(sizes, default=2)


def set_num_splits(network: nn.Module, num_splits: int) -> None:
    """Set the number of sub-batches of every SubBatchNorm3d; no effect on those that have it already."""
    for norm in _norms(network).values():
        norm.set_num_splits(num_splits)


def aggregate_statistics(network: nn.Module) -> None:
    """Aggregate every SubBatchNorm3d without leaving training mode."""
    for norm in _norms(network).values():
        norm.aggregate()


def split_state(network: nn.Module) -> dict[str, Tensor]:
    """The running statistics of each sub-batch, which the state dict does not have: needed to resume exactly."""
    state = {}
    for name, norm in _norms(network).items():
        if norm.split_mean is not None and norm.split_var is not None:
            state[f"{name}.split_mean"] = norm.split_mean.clone()
            state[f"{name}.split_var"] = norm.split_var.clone()
    return state


def load_split_state(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Restore `split_state`, after the state dict was loaded; the number of sub-batches is that of the state."""
    names = {f"{name}.{part}" for name in _norms(network) for part in ("split_mean", "split_var")}
    assert set(state) <= names, sorted(set(state) - names)
    for name, norm in _norms(network).items():
        mean, var = state.get(f"{name}.split_mean"), state.get(f"{name}.split_var")
        norm.split_mean = None if mean is None else mean.to(norm.running_mean, copy=True)
        norm.split_var = None if var is None else var.to(norm.running_var, copy=True)


def _norms(network: nn.Module) -> dict[str, SubBatchNorm3d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, SubBatchNorm3d)}
