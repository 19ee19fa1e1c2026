"""The project's own Trainer on clips that are not read from anywhere, and the plan of train_kinetics.py."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import train_kinetics
from benchmarks.gpu.job import Job
from common.layout import moved
from common.options import part
from common.ranks import Ranks
from data.augment.params import random_params
from data.clips.types import ClipShape
from data.loading.loader import Batch
from network import VideoNetwork, create_network
from network.sub_batch_norm import use_sub_batch_norm
from train.checkpoint.files import FORMAT, CheckpointFolder
from train.checkpoint.progress import Progress
from train.losses import LossOptions, make_loss
from train.monitor.reports import Callback
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan, StepSpec
from train.trainer import Trainer, TrainerOptions

CLASSES = 700
LR = 1e-4
VIDEOS = 536_000  # about those of Kinetics-700; they only decide how many steps an epoch has
TINY_BASE = {"clip_length": 8, "clip_size": 48, "batch_size": 1}
ALONE = Ranks(0, 0, 1)


def kinetics_plan(job: Job, num_videos: int = VIDEOS) -> Plan:
    """The plan of train_kinetics.py by its defaults, for one GPU; but for the rate, at which noise would diverge."""
    options = replace(part(train_kinetics.DEFAULTS, ScheduleOptions), lr_base=LR)
    if job.is_tiny:
        options = replace(options, **TINY_BASE)
    return make_plan(options, num_videos)


def name_of(job: Job) -> str:
    """The network that is trained: that of train_kinetics.py by its defaults."""
    return "srtg_tiny" if job.is_tiny else train_kinetics.DEFAULTS.network


class Trained:
    """A network with its optimiser, and a Trainer of it for each plan."""

    def __init__(self, network: VideoNetwork, device: torch.device, precision: str, folder: Path) -> None:
        use_sub_batch_norm(network)
        self.device, self.precision, self.folder = device, precision, folder
        self.network = moved(network, device)
        optimizer = make_optimizer(network, OptimizerOptions())
        self.optimizer_step = OptimizerStep(network.parameters(), optimizer, device, ALONE, precision, 0.0)

    @classmethod
    def of_kinetics(cls, job: Job) -> "Trained":
        """The network that train_kinetics.py trains."""
        torch.manual_seed(0)
        with job.device:
            network = create_network(name_of(job), CLASSES)
        return cls(network, job.device, job.half[0], job.folder)

    def trainer(
        self, plan: Plan, callbacks: Sequence[Callback] = (), log_every: int = 20, progress: Progress | None = None,
        graphs: bool = True,
    ) -> Trainer:  # fmt: skip
        """A Trainer at the beginning of the plan, or where `progress` is."""
        network = self.network
        options = TrainerOptions(precision=self.precision, log_every=log_every, graphs=graphs)
        checkpoints = CheckpointFolder(self.folder, network.name or "network", keep=1)
        return Trainer(
            network, make_loss(LossOptions()), self.optimizer_step, plan, self.device, ALONE, options, checkpoints,
            {"format": FORMAT}, callbacks, progress or Progress(),
        )  # fmt: skip


def random_batch(spec: StepSpec, classes: int, device: torch.device, seed: int = 0) -> Batch:
    """A batch of noise as the loader gives it, already on the device, with random augmentation."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator(device).manual_seed(seed)
    size, shape = spec.batch_size, spec.shape
    frames = torch.randint(0, 256, (size, *shape, 3), dtype=torch.uint8, device=device, generator=generator)
    labels = torch.randint(classes, (size,), device=device, generator=generator)
    params = torch.from_numpy(np.stack([random_params(rng) for _ in range(size)]))
    return Batch(frames.permute(0, 4, 1, 2, 3), labels, torch.arange(size), 0, (), params)


def train_step(trainer: Trainer, batch: Batch, spec: StepSpec) -> None:
    """A step of the Trainer, outside of its loop."""
    trainer.network.train()
    trainer.speed.restart()
    trainer.speed.begin_step(0.0, spec.batch_size)
    trainer.train_step(batch, spec)


def text_of(batch_size: int, shape: ClipShape) -> str:
    """A batch's shape, such as 32x3x16x224x224."""
    return "x".join(map(str, (batch_size, 3, *shape)))
