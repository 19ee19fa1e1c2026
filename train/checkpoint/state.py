"""The part of a checkpoint that changes during a run: collected from a run and restored to it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch

from common.errors import DataError
from common.ranks import Ranks
from network import VideoNetwork
from network.sub_batch_norm import SubBatchNorm3d, load_split_state, split_state
from network.weights.tensors import not_plain, why_unusable
from train.averaging import WeightAverage
from train.checkpoint.files import Checkpoint
from train.checkpoint.progress import Progress
from train.optimizer_state import with_names
from train.optimizer_step import OptimizerStep


def collect_state(
    network: VideoNetwork,
    optimizer_step: OptimizerStep,
    progress: Progress,
    device: torch.device,
    average: WeightAverage | None = None,
) -> dict[str, Any]:
    """Weights and their average, optimiser, scaler, position, counts and random state: tensors and plain types.

    The tensors are those of the run, which its next step changes: see `snapshot`.
    """
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    return (
        optimizer_step.state_dict()
        | ({"ema": average.state_dict()} if average else {})
        | {
            "frozen": [name for name, parameter in network.named_parameters() if not parameter.requires_grad],
            "batch_norm": split_state(network),
            "weights": network.state_dict(),
            "rng": rng,
        }
        | state_of_progress(progress)
    )


def state_of_progress(progress: Progress) -> dict[str, Any]:
    """The position and the counts, as plain types that later steps do not change."""
    return {"position": {"epoch": progress.epoch, "step": progress.step}, "progress": progress.state_dict()}


def snapshot(state: Any) -> Any:
    """A copy of a state, with tensors on the host, that later steps do not change. Waits for the device.

    Dicts, lists and tuples keep their types. Tensors are contiguous, so that a file does not depend on a run's layout.
    """
    if isinstance(state, torch.Tensor):
        return state.detach().contiguous().to("cpu", copy=True)
    if isinstance(state, Mapping):
        copied: Any = copy.copy(state)  # also the versions of the modules, which a network's state dict carries
        for key, value in state.items():
            copied[key] = snapshot(value)
        return copied
    if isinstance(state, list | tuple):
        return type(state)(map(snapshot, state))
    return state


def restore_state(
    checkpoint: Checkpoint,
    network: VideoNetwork,
    optimizer_step: OptimizerStep,
    device: torch.device,
    ranks: Ranks,
    average: WeightAverage | None = None,
) -> Progress:
    """Restore everything but the weights, which are loaded already. Returns the progress to resume from.

    The average of a run that had none begins with the weights. DataError if the state is not of this network and
    optimiser.
    """
    if average and "ema" in checkpoint:
        average.load_state_dict(checkpoint["ema"], checkpoint["progress"]["global_step"])
    # Plain batch norm has its statistics, aggregated, in the weights.
    if any(isinstance(module, SubBatchNorm3d) for module in network.modules()):
        load_split_state(network, _checked_splits(network, checkpoint.get("batch_norm")))
    names = [name for name, _ in network.named_parameters()]
    optimizer = with_names(checkpoint["optimizer"], names, checkpoint.get("loaded", ()))
    optimizer_step.load_state_dict({**checkpoint, "optimizer": optimizer})
    try:
        torch.set_rng_state(checkpoint["rng"]["cpu"])
        if device.type == "cuda" and "cuda" in checkpoint["rng"]:
            torch.cuda.set_rng_state(checkpoint["rng"]["cuda"], device)
    except RuntimeError as error:  # of another size, or no state that the generator could have had
        raise DataError(f"its state of the random generators is damaged ({str(error).splitlines()[0]})") from error
    progress = Progress.from_state_dict(checkpoint["progress"])
    if not ranks.is_first:
        # These counts are of all ranks. The Trainer adds the ranks' counts up, so only the first rank keeps them.
        progress.repeated_frames, progress.bad_videos = 0, []
    return progress


def _checked_splits(network: VideoNetwork, saved: Any) -> dict[str, torch.Tensor]:
    """The statistics of sub-batches, if they are of this network's layers and all of equally many sub-batches."""
    norms = {name: norm for name, norm in network.named_modules() if isinstance(norm, SubBatchNorm3d)}
    expected = {f"{name}.{part}": norm for name, norm in norms.items() for part in ("split_mean", "split_var")}
    if not isinstance(saved, Mapping) or (saved and saved.keys() != expected.keys()):
        raise DataError("its field `batch_norm` does not have the statistics of this network's layers")
    first = next(iter(saved.values()), None)
    splits = first.shape[0] if isinstance(first, torch.Tensor) and not not_plain(first) and first.dim() == 2 else 1
    for name, norm in expected.items() if saved else ():
        reason = why_unusable(saved[name], (splits, norm.num_features))
        if reason or not saved[name].is_floating_point() or (name.endswith("split_var") and saved[name].min() < 0):
            raise DataError(f"its statistic {name} {reason or 'has values that no statistic has'}")
    return dict(saved)
