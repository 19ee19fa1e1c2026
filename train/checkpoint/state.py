"""The part of a checkpoint that changes during a run: collected from a run and restored to it."""

from typing import Any

import torch

from common.ranks import Ranks
from network import VideoNetwork
from network.sub_batch_norm import SubBatchNorm3d, load_split_state, split_state
from train.checkpoint.files import Checkpoint
from train.checkpoint.progress import Progress
from train.optimizer_step import OptimizerStep


def collect_state(
    network: VideoNetwork, optimizer_step: OptimizerStep, progress: Progress, device: torch.device
) -> dict[str, Any]:
    """Weights, optimiser, scaler, position, counts and random state: tensors and plain types."""
    rng = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        rng["cuda"] = torch.cuda.get_rng_state(device)
    return optimizer_step.state_dict() | {
        "batch_norm": split_state(network),
        "weights": network.state_dict(),
        "position": {"epoch": progress.epoch, "step": progress.step},
        "progress": progress.state_dict(),
        "rng": rng,
    }


def restore_state(
    checkpoint: Checkpoint, network: VideoNetwork, optimizer_step: OptimizerStep, device: torch.device, ranks: Ranks
) -> Progress:
    """Restore everything but the weights, which are loaded already. Returns the progress to resume from."""
    # Plain batch norm has its statistics, aggregated, in the weights.
    if any(isinstance(module, SubBatchNorm3d) for module in network.modules()):
        load_split_state(network, checkpoint["batch_norm"])
    optimizer_step.load_state_dict(checkpoint)
    torch.set_rng_state(checkpoint["rng"]["cpu"])
    if device.type == "cuda" and "cuda" in checkpoint["rng"]:
        torch.cuda.set_rng_state(checkpoint["rng"]["cuda"], device)
    progress = Progress.from_state_dict(checkpoint["progress"])
    if not ranks.is_first:
        # These counts are of all ranks. The Trainer adds the ranks' counts up, so only the first rank keeps them.
        progress.repeated_frames, progress.bad_videos = 0, []
    return progress
