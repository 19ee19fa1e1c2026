"""Mixup, CutMix and random erasing: changes to a batch of normalised clips, on the device, before the network.

All draws are made on the host, from keys of seed, step and part of the batch: nothing waits for the device, and a
resumed run draws the same.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.options import option
from train.schedule.plan import Plan

BOX_AREA, BOX_ASPECT = (1 / 50, 1 / 3), (0.3, 1 / 0.3)
"""Of an erased box: lowest and highest share of the frame, and height over width. Those of PySlowFast."""
BOX_TRIES = 10  # a box that is drawn taller or wider than the frame is drawn anew, so often
MIXING, ERASING = 0x4D49, 0x4552  # begin the keys of their draws


@dataclass(frozen=True)
class MixingOptions:
    """The flags of what mixes and erases training clips."""

    mixup: float = option(
        0.0, "mix each training clip with another one of its batch, and their labels, by a share drawn from "
        "Beta(ALPHA, ALPHA); 0: off", "data", metavar="ALPHA", minimum=0, is_compared=True,
    )  # fmt: skip
    cutmix: float = option(
        0.0, "replace a box of each training clip by that of another one of its batch, and mix their labels by area, "
        "as Beta(ALPHA, ALPHA) draws it; with --mixup, each batch is changed by one of both; 0: off", "data",
        metavar="ALPHA", minimum=0, is_compared=True,
    )  # fmt: skip
    erase: float = option(
        0.0, "with probability P, fill a box of a training clip, the same in all frames, with noise", "data",
        metavar="P", minimum=0, is_compared=True,
    )  # fmt: skip


class Box(NamedTuple):
    """A part of a frame, in pixels; `bottom` and `right` are the first beyond it."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, clips: Tensor) -> Tensor:
        """A view of this part of all frames of clips (..., h, w)."""
        return clips[..., self.top : self.bottom, self.left : self.right]


class Mix(NamedTuple):
    """How the clips of a batch are mixed."""

    share: float  # of a clip itself in the result; its partner has the rest
    box: Box | None  # of the partner (CutMix); None: all pixels are averaged (mixup)


class Mixed(NamedTuple):
    """What the B clips of a batch show."""

    targets: Tensor  # for the loss: shares of the classes (B, classes), float32; or labels, if none are mixed
    labels: Tensor  # (B,), int64: of two labels that with the larger share


class Mixing:
    """Erases a box of some clips of a batch with probability `erase`, and then mixes the clips by mixup or CutMix.

    The clips of a batch are mixed in the same way, each with its partner: see `partners`. All ranks draw the same mix
    for their own clips.
    """

    def __init__(
        self,
        options: MixingOptions,
        seed: int,
        rank: int,
        num_classes: int,
        device: torch.device,
        repeats: int = 1,
    ) -> None:
        """`repeats` are the clips of each video in a batch, which lie side by side."""
        self.options, self.seed, self.rank, self.repeats = options, seed, rank, repeats
        self.classes = torch.arange(num_classes, device=device)
        self.noise = torch.Generator(device)

    @torch.no_grad()
    def __call__(self, clips: Tensor, labels: Tensor, global_step: int, part: int) -> Mixed:
        """Change normalised clips (B, 3, T, h, w) in place: those of a part of a step's batch, with labels (B,)."""
        if self.options.erase:
            self._erase(clips, global_step, part)
        if not (self.options.mixup or self.options.cutmix):
            return Mixed(labels, labels)
        mix = self.draw(global_step, part, clips.shape[-2], clips.shape[-1])
        if mix.box is None:
            clips.lerp_(self.partners(clips), 1 - mix.share)
        else:
            region = mix.box.of(clips)
            region.copy_(self.partners(region))
        own = (labels[:, None] == self.classes).float()  # F.one_hot may wait for the device
        larger = labels if mix.share >= 0.5 else self.partners(labels)
        return Mixed(own.lerp(self.partners(own), 1 - mix.share), larger)

    def partners(self, values: Tensor) -> Tensor:
        """`partners` of the run's batches."""
        return partners(values, self.repeats)

    def draw(self, global_step: int, part: int, height: int, width: int) -> Mix:
        """The mix of a part of a step's batch, of frames (height, width)."""
        rng = np.random.default_rng((self.seed, MIXING, global_step, part))
        mixup, cutmix = self.options.mixup, self.options.cutmix
        is_cut = rng.random() < 0.5 if mixup and cutmix else cutmix > 0
        alpha = cutmix if is_cut else mixup
        share = float(rng.beta(alpha, alpha))
        if not is_cut:
            return Mix(share, None)
        box = cut_box(rng, share, height, width)
        area = (box.bottom - box.top) * (box.right - box.left)
        return Mix(1 - area / (height * width), box)

    def _erase(self, clips: Tensor, global_step: int, part: int) -> None:
        rng = np.random.default_rng((self.seed, ERASING, global_step, part, self.rank))
        self.noise.manual_seed(int(rng.integers(2**63)))
        for clip in np.flatnonzero(rng.random(len(clips)) < self.options.erase).tolist():
            box = erased_box(rng, clips.shape[-2], clips.shape[-1])
            if box is not None:
                box.of(clips[clip]).normal_(generator=self.noise)


def partners(values: Tensor, repeats: int) -> Tensor:
    """For each clip of a batch (B, ...) the values of the one that it is mixed with, a copy.

    It is the one in its place when the batch is reversed, as in timm; in a batch of an odd size the middle one stays as
    it is. Where a batch has several clips of a video, which lie side by side, it is half of the batch away: of another
    video, unless more than half of the batch are of one.
    """
    return values.flip(0) if repeats == 1 else values.roll(len(values) // 2, 0)


def cut_box(rng: np.random.Generator, share: float, height: int, width: int) -> Box:
    """A box (Yun et al. 2019) of 1 - share of a frame around any pixel; less where the frame's border cuts it off."""
    side = math.sqrt(1 - share)
    box_height, box_width = int(height * side), int(width * side)
    top = int(rng.integers(height)) - box_height // 2
    left = int(rng.integers(width)) - box_width // 2
    return Box(max(top, 0), min(top + box_height, height), max(left, 0), min(left + box_width, width))


def erased_box(rng: np.random.Generator, height: int, width: int) -> Box | None:
    """A box (Zhong et al. 2020) anywhere within a frame; None if no box that was drawn fits in it."""
    for _ in range(BOX_TRIES):
        area = rng.uniform(*BOX_AREA) * height * width
        aspect = math.exp(rng.uniform(math.log(BOX_ASPECT[0]), math.log(BOX_ASPECT[1])))
        box_height = max(1, round(math.sqrt(area * aspect)))
        box_width = max(1, round(math.sqrt(area / aspect)))
        if box_height <= height and box_width <= width:
            top, left = int(rng.integers(height - box_height + 1)), int(rng.integers(width - box_width + 1))
            return Box(top, top + box_height, left, left + box_width)
    return None


def make_mixing(
    options: MixingOptions, seed: int, rank: int, num_classes: int, device: torch.device, repeats: int = 1
) -> Mixing | None:
    """The mixing of a run; None if all is off."""
    is_on = options.mixup or options.cutmix or options.erase
    return Mixing(options, seed, rank, num_classes, device, repeats) if is_on else None


def mixing_lines(options: MixingOptions) -> list[str]:
    """What the log says of each part that is on."""
    lines, both = [], " of half of the batches" if options.mixup and options.cutmix else ""
    if options.mixup:
        alpha = f"Beta({options.mixup:g}, {options.mixup:g})"
        lines.append(f"--mixup: clips{both} are averaged in pairs, and their labels, by a share from {alpha}")
    if options.cutmix:
        alpha = f"Beta({options.cutmix:g}, {options.cutmix:g})"
        lines.append(f"--cutmix: clips{both} get a box of another clip and its area's share of the label, by {alpha}")
    if options.erase:
        lines.append(f"--erase: a box of a clip is filled with noise, with probability {options.erase:g}")
    return lines


def mixing_warnings(options: MixingOptions, plan: Plan, parts: int) -> list[str]:
    """Warnings of shapes at which clips are mixed with none of another video: a rank takes its batch in `parts`."""
    flags = " and ".join(f"--{name}" for name in ("mixup", "cutmix") if getattr(options, name))
    if not flags:
        return []
    specs = plan.step_specs
    sizes = {spec: spec.batch_size // plan.world_size for spec in specs}
    unmixed = {spec: _of_own_video(size, plan.repeats, parts) for spec, size in sizes.items()}
    alone = [spec for spec in specs if sizes[spec] == parts]
    of_one_video = [spec for spec in specs if unmixed[spec] == sizes[spec] and spec not in alone]
    some = [spec for spec in specs if 0 < unmixed[spec] < sizes[spec]]
    verb = "have" if " and " in flags else "has"
    found = []
    for which, reason in ((alone, "is a single clip"), (of_one_video, "has clips of a single video")):
        if which:
            is_all = len(which) == len(specs)
            at = "" if is_all else f" at {', '.join('x'.join(map(str, spec.shape)) for spec in which)}"
            of = "a process's part of a batch" if is_all else "there, a process's part of a batch"
            found.append(f"{flags} {verb} no effect{at}: {of} {reason}")
    if some:
        counts = ", ".join(f"{unmixed[spec]} of {sizes[spec]} at {'x'.join(map(str, spec.shape))}" for spec in some)
        found.append(
            f"--accumulate {parts} leaves {flags} no other video for some of a process's clips ({counts}), which are "
            "mixed with clips of their own; another --batch-size, --repeat-clips or --accumulate may avoid it"
        )
    return found


def _of_own_video(clips: int, repeats: int, parts: int) -> int:
    """How many of a rank's clips of a step have a partner of their own video, in the parts that training takes.

    Not counted is the middle one of an odd number of videos of one clip each. No other choice of partners, in which
    each clip is one clip's, gives fewer.
    """
    videos = torch.arange(clips) // repeats
    of_parts = [videos[part::parts] for part in range(parts)]
    met = [part == partners(part, repeats) for part in of_parts if repeats > 1 or len(part) == 1]
    return sum(int(same.sum()) for same in met)
