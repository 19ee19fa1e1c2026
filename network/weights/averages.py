"""Which weights of a checkpoint are to be used: those that its run validated, or those that training goes on with."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from common.errors import NetworkError
from network.weights.facts import shown
from network.weights.tensors import check_tensors

AVERAGES = ("ema", "precise_bn")
"""The fields of a checkpoint that `weights_to_use` takes beside its `weights`."""
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
        statistics = check_tensors(checkpoint["precise_bn"])
        odd = next((name for name in statistics if not _fits(statistics[name], weights.get(name))), None)
        if odd is not None:
            raise NetworkError(f"the checkpoint's field `precise_bn` has {shown(odd)}, no statistic of its weights")
        weights |= statistics
        notes.append("batch-norm statistics of --precise-bn")
    return weights, "".join(f"; {note}" for note in notes)


def without_averages(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint with the weights alone that training goes on with."""
    return {name: value for name, value in checkpoint.items() if name not in AVERAGES}


def _fits(statistic: Tensor, weight: Tensor | None) -> bool:
    return weight is not None and statistic.shape == weight.shape and statistic.dtype == weight.dtype
