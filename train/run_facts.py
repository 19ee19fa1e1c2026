"""The facts of a run: those that its checkpoints keep, its ranks compare, and its score files name.

`options` are those of a script (a dataclass of flags).
"""

import hashlib
import secrets
from typing import Any

from common.json_text import json_text
from common.options import plain
from common.ranks import Ranks
from common.version import versions
from data.labels.video_list import VideoList
from evaluate.known_videos import Contents, trained_videos
from evaluate.preprocessing import Preprocessing
from network import VideoNetwork
from network.weights.facts import facts_of
from network.weights.tensors import checksum
from train.checkpoint.files import FORMAT, Checkpoint
from train.checkpoint.source import source_facts
from train.checkpoint.start import StartingPoint
from train.checkpoint.videos import Digests, with_trained
from train.evaluating import clips_of
from train.failures import named_tensors


def network_facts(options: Any, num_classes: int) -> dict[str, Any]:
    """What the options say of the network."""
    return {
        "name": options.network,
        "gates": options.gates,
        "placement": options.placement,
        "num_classes": num_classes,
    }


def run_facts(
    options: Any,
    network: VideoNetwork,
    videos: VideoList,
    digests: Digests,
    contents: Contents,
    loaded: tuple[str, ...],
    start: StartingPoint,
    run_id: str,
    world_size: int,
) -> Checkpoint:
    """What the run's checkpoints have besides its state; `videos` are those to train on.

    Only "content" changes during the run, if the videos are converted anew.
    """
    resumed = start.checkpoint if start.is_resume and start.checkpoint else {}
    if start.is_resume:
        source = resumed.get("source")
    else:
        source = source_facts(start.path, start.checkpoint) if start.path and start.checkpoint else {}
    return {
        "format": FORMAT,
        "network": facts_of(network),
        "classes": list(videos.classes),
        "loaded": list(loaded),
        "source": source,
        "num_videos": len(videos),
        "trained_videos": with_trained(trained_videos(start.path, start.checkpoint), videos),
        "videos": dict(digests),
        "content": plain_contents(contents),
        "options": plain(options),
        "preprocessing": Preprocessing(
            options.clip_length,
            options.val_size or options.clip_size,
            options.val_frame_interval,
            options.crop_scale,
            normalisation=network.normalisation,
        ).plain(),
        "versions": versions(),
        "run_key": resumed.get("run_key") or secrets.token_hex(8),
        "run_id": run_id,
        "world_size": world_size,
    }


def plain_contents(contents: Contents) -> dict[str, Any]:
    """The contents as a checkpoint has them."""
    return {split: content.plain() for split, content in contents.items()}


def shared_facts(start: StartingPoint, digests: Digests, loaded: tuple[str, ...], ranks: Ranks) -> dict[str, object]:
    """What must be the same on all ranks besides the flags and the frames of the videos."""
    checkpoint = start.checkpoint if start.is_resume and start.checkpoint else {}
    facts: dict[str, object] = {f"the {split} videos or labels": digest for split, digest in digests.items()}
    if start.checkpoint and ranks.world_size > 1:
        facts["the content of the checkpoint"] = checksum(named_tensors(start.checkpoint, ""))
    return facts | {
        "the version of SRTG or torch": {**versions(), "python": ""},
        "the checkpoint to resume": (checkpoint.get("position"), checkpoint.get("run_key")),
        "the weights loaded": loaded,
    }


def validation_facts(options: Any, digests: Digests, contents: Contents) -> dict[str, object]:
    """How and on what the run is validated. The letter keeps spreadsheets from reading the digest as a number.

    With these the flags of VALIDATION in train/checkpoint/videos.py, but for --best-by, change.
    """
    videos = f"{digests['val']} {json_text(contents['val'].plain())}"
    clips = clips_of(options)
    clips["crops_per_clip"] = clips.pop("crops")
    clips["clips_per_video"] = clips.pop("clips")  # scores_train.csv has a column `clips`: those of the epoch
    averages = {"ema": options.ema, "precise_bn": options.precise_bn}
    weights = " + ".join(f"{name} {value}" for name, value in averages.items() if value) or "raw"
    return clips | {"weights": weights, "video_list": f"v{hashlib.blake2b(videos.encode(), digest_size=4).hexdigest()}"}
