"""What has to be done to a video before a network sees it; every checkpoint and export says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from common.normalisation import SRTG, Normalisation, of_levels
from data.augment.normalise import Normalise
from data.clips.crop import RESIZED_SIDE_PER_CROP
from data.clips.intervals import ANY, interval_of
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape


@dataclass(frozen=True)
class Preprocessing:
    """The clips that a network was trained for, and its normalisation; see PREPROCESSING of network.weights.facts."""

    clip_length: int
    clip_size: int
    interval: int | str
    """Between two frames: frames, or a text: a time such as "2@30", or "all" for the whole video."""
    crop_scale: float = RESIZED_SIDE_PER_CROP
    normalisation: Normalisation = SRTG

    @property
    def shape(self) -> ClipShape:
        """The shape of a clip."""
        return ClipShape(self.clip_length, self.clip_size, self.clip_size)

    @property
    def short_side(self) -> float:
        """The pixels that the shorter side of a frame is scaled to before the crop is cut."""
        return self.crop_scale * self.clip_size

    def sampling(self, clips: int = 1, crops: int = 1) -> UniformClips:
        """How an evaluation takes `clips` x `crops` views from a video."""
        found = interval_of(self.interval)
        interval, _, rate = found or ANY
        return UniformClips(interval, clips, rate, found is None, crops, self.crop_scale)

    def normalise(self, dtype: torch.dtype = torch.float32) -> Normalise:
        """The normalisation, as a module."""
        return Normalise(dtype, normalisation=self.normalisation)

    def plain(self) -> dict[str, Any]:
        """As a checkpoint has it."""
        clips = {
            "clip_length": self.clip_length,
            "clip_size": self.clip_size,
            "interval": self.interval,
            "crop_scale": self.crop_scale,
        }
        return clips | {"colour": "RGB"} | self.normalisation.plain()

    @classmethod
    def from_facts(
        cls, training: Mapping[str, Mapping[str, Any]], normalisation: Normalisation = SRTG
    ) -> "Preprocessing | None":
        """That of a file's `training_facts`; None if it does not say what clips its network takes.

        `normalisation` is the network's, for files of older versions, which have the clips alone.
        """
        saved = dict(training["preprocessing"])
        if saved:
            del saved["colour"]  # RGB, as was checked
            normalisation = of_levels(saved.pop("mean"), saved.pop("std"))
            return cls(**saved, normalisation=normalisation)
        clips = training["options"]
        names = {"clip_length": "clip_length", "clip_size": "clip_size", "val_frame_interval": "interval"}
        if not names.keys() <= clips.keys():
            return None
        return cls(**{name: clips[option] for option, name in names.items()}, normalisation=normalisation)

    def show(self) -> str:
        """`16x112x112, interval 2`."""
        return f"{self.clip_length}x{self.clip_size}x{self.clip_size}, interval {self.interval}"
