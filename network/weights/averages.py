"""Which weights of a checkpoint are to be used: those that its run validated, or those that training goes on with."""

import zlib
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from common.errors import NetworkError
from network.weights.facts import shown
from network.weights.tensors import COUNTER, check_tensors

AVERAGES = ("ema", "precise_bn")
"""The fields of a checkpoint that `weights_to_use` takes beside its `weights`."""
STATISTICS_OF = "precise_bn_of"
"""The field of a checkpoint that tells of which weights `precise_bn` are the statistics, as `fingerprint` has it."""
CLASSIFIER = "fc."
SAMPLED = 2**15
"""Values of a tensor in a fingerprint."""
WEIGHTS = {
    "auto": "those that its run validated: the moving average of --ema and the statistics of --precise-bn, where it "
    "has them",
    "raw": "those that training goes on with",
}
"""Of a file, which weights are to be used."""


def weights_to_use(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """The weights of a checkpoint of this project that its run validated, and what to say of them (often nothing).

    NetworkError if a field is no tensors under names, or its statistics are not those of the weights.
    """
    weights, notes = check_tensors(checkpoint.get("weights")), []
    if "ema" in checkpoint:
        average = checkpoint["ema"]
        if not isinstance(average, Mapping) or "weights" not in average:
            raise NetworkError("the checkpoint's field `ema` has no weights; --weights raw uses those without average")
        weights = check_tensors(average["weights"])
        notes.append("the moving average of its weights (--ema)")
    if "precise_bn" in checkpoint:
        weights |= _statistics(checkpoint, weights)
        notes.append("batch-norm statistics of --precise-bn")
    return weights, "".join(f"; {note}" for note in notes)


def without_averages(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint with the weights alone that training goes on with."""
    return {name: value for name, value in checkpoint.items() if name not in (*AVERAGES, STATISTICS_OF)}


def fingerprint(weights: Mapping[str, Tensor], statistics: Collection[str]) -> int | None:
    """What tells the weights that batch-norm statistics of these names were estimated with; None if it cannot be told.

    The classifier, counts of steps and the statistics themselves do not count: nothing before a batch norm depends on
    them. Of large tensors, evenly spaced rows do: all would take a tenth of the time of a save. Weights that were
    converted to another precision cannot be told.
    """
    counted = [
        name
        for name in sorted(weights)
        if not name.startswith(CLASSIFIER) and not name.endswith(COUNTER) and name not in statistics
    ]
    if not counted or any(weights[name].dtype != torch.float32 or weights[name].is_meta for name in counted):
        return None
    values = torch.cat([_sample(weights[name].detach()) for name in counted]).cpu().numpy().data
    return zlib.crc32(values, zlib.crc32("\n".join(counted).encode(errors="surrogatepass")))


def _sample(tensor: Tensor) -> Tensor:
    """About SAMPLED values of a tensor, or all if it has fewer."""
    step = -(-tensor.numel() // SAMPLED)
    return (tensor[:: min(step, len(tensor))] if tensor.dim() > 1 and step > 1 else tensor).reshape(-1)


def _statistics(checkpoint: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The precise statistics of a checkpoint; NetworkError if they are not those of `weights`."""
    statistics, options = check_tensors(checkpoint["precise_bn"]), checkpoint.get("options")
    odd = next((name for name in statistics if not _fits(statistics[name], weights.get(name))), None)
    if odd is not None:
        raise NetworkError(f"the checkpoint's field `precise_bn` has {shown(odd)}, no statistic of its weights")
    remedy = "delete `precise_bn` from the file, or take --weights raw (of the training scripts and train.export)"
    if "ema" not in checkpoint and isinstance(options, Mapping) and options.get("ema"):
        raise NetworkError(
            f"the checkpoint's field `precise_bn` has the statistics of the moving average of --ema, and its field "
            f"`ema` is missing: {remedy}"
        )
    saved = checkpoint.get(STATISTICS_OF)  # older files have none
    if saved is not None and type(saved) is not int:
        raise NetworkError(f"the checkpoint's field `{STATISTICS_OF}` is a {type(saved).__name__}, and no whole number")
    own = fingerprint(weights, statistics) if saved is not None else None
    if own not in (None, saved):
        changed = "`ema`" if "ema" in checkpoint else "`weights`"
        raise NetworkError(
            f"the checkpoint's field `precise_bn` has the statistics of other weights than those in its field "
            f"{changed}, which were changed since: {remedy}"
        )
    return statistics


def _fits(statistic: Tensor, weight: Tensor | None) -> bool:
    return weight is not None and statistic.shape == weight.shape and statistic.dtype == weight.dtype
