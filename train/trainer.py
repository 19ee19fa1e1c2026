"""The Trainer: steps, epochs, evaluation and checkpoints of one network on one device, alone or among ranks."""

import logging
import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice, repeat

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from common.errors import DataError, TrainingError
from common.ranks import Ranks
from data.augment.augment import Augment
from data.augment.normalise import Normalise
from data.clips.types import BadVideo
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import on_device
from evaluate.metrics import Scores, ScoreSums
from network import VideoNetwork
from network.sub_batch_norm import aggregate_statistics, set_num_splits
from train.checkpoint.files import Checkpoint, CheckpointFolder
from train.checkpoint.progress import Progress
from train.checkpoint.state import collect_state
from train.distributed.process_group import parallel
from train.distributed.stop_signal import StoppedBySignal, StopSignal
from train.monitor.logs import LOG
from train.monitor.reports import Callback, EpochReport, LogReport
from train.monitor.speed import SpeedMonitor
from train.optimizer_step import OptimizerStep
from train.schedule.plan import Plan, StepSpec
from train.schedule.sampler import ScheduleSampler

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class TrainerSettings:
    """What a Trainer is told beside its parts."""

    precision: str = "fp32"  # of the forward pass: fp32, or fp16 or bf16 under autocast
    accumulate: int = 1  # micro-batches to a step
    log_every: int = 20  # steps
    val_frequency: int = 1  # epochs
    save_frequency: int = 1  # epochs
    save_every_steps: int = 0  # 0: only at the end of an epoch
    save_every_minutes: float = 0.0
    bad_video_limit: int = 0  # videos that may be replaced in an epoch; one more stops the run


class Trainer:
    """Trains `network` along `plan`, from where `progress` stands."""

    def __init__(
        self,
        network: VideoNetwork,
        optimizer_step: OptimizerStep,
        plan: Plan,
        device: torch.device,
        ranks: Ranks,
        settings: TrainerSettings,
        folder: CheckpointFolder,
        about: Checkpoint,
        callbacks: Sequence[Callback],
        progress: Progress,
    ) -> None:
        self.network = network
        self.optimizer_step = optimizer_step
        self.plan = plan
        self.device = device
        self.ranks = ranks
        self.settings = settings
        self.folder = folder
        self.about = about  # what every checkpoint states beside the state: network, classes, options, versions
        self.callbacks = callbacks if ranks.is_first else ()
        self.progress = progress
        self.augment = Augment(DTYPES[settings.precision])
        self.normalise = Normalise(DTYPES[settings.precision]).to(device)
        self.parallel = parallel(network, device) if ranks.world_size > 1 else network
        self.speed = SpeedMonitor(device)
        self.score_sums = ScoreSums(device)
        self.window = Scores()  # since the last report
        self.stop_signal = StopSignal(ranks.world_size)
        self.last_save = time.perf_counter()

    def fit(self, loader: BatchLoader, sampler: ScheduleSampler, val_loader: BatchLoader) -> EpochReport | None:
        """Train to the plan's end; the last epoch's report, or None if nothing was left to do.

        StoppedBySignal after a signal, TrainingError on a loss that is not finite, DataError on a bad video.
        """
        report = None
        with self.stop_signal.listening():
            try:
                for _ in range(self.progress.epoch, self.plan.num_epochs + 1):
                    started = time.perf_counter() - self.progress.seconds
                    self.train_epoch(loader, sampler, started)
                    report = self._finish_epoch(val_loader, started)
            except StoppedBySignal:
                self.save()
                raise
        return report

    def train_epoch(self, loader: BatchLoader, sampler: ScheduleSampler, started: float) -> None:
        """The steps of the epoch that are not done yet."""
        progress = self.progress
        steps = self.plan.steps_in_epoch(progress.epoch)
        sampler.set_position(progress.epoch, progress.step)
        self.network.train()
        self.speed.restart()  # validation and checkpoints are no part of a step
        batches = on_device(loader, self.device)
        while progress.step < steps:
            self.stop_signal.share()
            spec = self.plan.step_spec(progress.epoch, progress.step)
            asked = time.perf_counter()
            batch = next(batches)
            self.speed.read(time.perf_counter() - asked, spec.batch_size)
            self._admit(batch)
            if LOG.isEnabledFor(logging.DEBUG):
                self._log_source(batch, loader)
            try:
                self.train_step(batch, spec)
            except torch.OutOfMemoryError as error:
                raise TrainingError(self._explain_memory(spec)) from error
            progress.seconds = time.perf_counter() - started
            for callback in self.callbacks:
                callback.on_step(progress.step, steps)
            if progress.step % self.settings.log_every == 0 or progress.step == steps:
                self._log(spec, steps)
            if self.stop_signal.is_set():
                raise StoppedBySignal
            if progress.step < steps and self._is_save_due():
                self.save()

    def train_step(self, batch: Batch, spec: StepSpec) -> None:
        """One update, from this rank's part of the step's clips, which are on its device."""
        progress, parts = self.progress, self.settings.accumulate
        # A part of the batch has whole sub-batches or, if there are fewer of them than parts, an equal share of one.
        set_num_splits(self.network, spec.batch_factor // math.gcd(spec.batch_factor, parts))
        frames, labels = batch.frames, batch.labels
        losses = []
        for part in range(parts):
            # Every parts-th clip, so that the sub-batches of batch norm are those of the whole batch.
            clips = self.augment(frames[part::parts], batch.augmentation[part::parts])
            is_last = part == parts - 1
            with nullcontext() if is_last else self._without_reduction():
                losses.append(self._forward_backward(clips, labels[part::parts], len(labels)))
            if not is_last:
                self.speed.mark()
        loss = torch.stack(losses).sum()
        self.optimizer_step.apply(loss, self.plan.lr(progress.epoch, progress.step), progress.global_step)
        self.speed.mark()
        if self.device.type == "cpu":
            self._check_loss(spec)  # costs nothing where the result is already here
        progress.step += 1
        progress.global_step += 1
        progress.clips += spec.batch_size
        progress.repeated_frames += batch.repeated_frames

    def _forward_backward(self, clips: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        """Add the gradients of normalised clips (B, 3, T, h, w); their share () of the mean loss of `batch_size`."""
        with self._autocast():
            logits = self.parallel(clips)
        loss_sum = F.cross_entropy(logits.float(), labels, reduction="sum")
        self.speed.mark()
        self.optimizer_step.backward(loss_sum / batch_size)
        self.score_sums.add(loss_sum, logits, labels)
        return loss_sum.detach() / batch_size

    @torch.no_grad()
    def evaluate(self, loader: BatchLoader) -> Scores:
        """Scores over every video of all ranks' loaders, once each; a video's views are averaged as probabilities.

        DataError on a video that cannot be read; StoppedBySignal after a signal.
        """
        self.ranks.broadcast(self.network.buffers())  # each rank has its own since the last step
        aggregate_statistics(self.network)
        self.network.eval()
        sums = ScoreSums(self.device)
        # As many rounds on all ranks, who agree in each on whether to stop; in the last, some may have no batch.
        rounds = int(self.ranks.maximum(torch.tensor(len(loader))))
        for batch in islice(chain(on_device(loader, self.device), repeat(None)), rounds):
            self.stop_signal.share()
            if batch:
                self._add_scores(batch, sums)
            if self.stop_signal.is_set():
                raise StoppedBySignal
        self.network.reset_open_gate_fractions()  # they are reported for training
        return Scores(*self.ranks.sum(sums.take()).tolist())

    def _add_scores(self, batch: Batch, sums: ScoreSums) -> None:
        """Add the scores of an evaluation's batch."""
        if batch.bad_videos:
            raise DataError(f"a validation video cannot be read: {batch.bad_videos[0].reason}")
        with self._autocast():
            logits = self.network(self.normalise(batch.frames))
        views = logits.float().unflatten(0, (len(batch.labels), -1)).log_softmax(dim=-1)  # (B, V, classes)
        scores = views.logsumexp(dim=1) - math.log(views.shape[1])
        sums.add(F.nll_loss(scores, batch.labels, reduction="sum"), scores, batch.labels)

    def save(self, epoch: int | None = None, is_best: bool = False) -> None:
        """Write a checkpoint of this moment; all ranks call, the first one writes.

        TrainingError instead if a loss was not finite: the checkpoints hold good states only.
        """
        self._fold_scores()
        self._check_loss()
        self._gather_counts()
        if self.ranks.is_first:
            state = collect_state(self.network, self.optimizer_step, self.progress, self.device)
            self.folder.save(self.about | state, epoch, is_best)
        self.last_save = time.perf_counter()

    def _finish_epoch(self, val_loader: BatchLoader, started: float) -> EpochReport:
        """Validate, save and report the epoch whose steps are done."""
        progress, settings, epoch = self.progress, self.settings, self.progress.epoch
        self._fold_scores()
        self._check_loss()
        self._gather_counts()
        is_final = epoch == self.plan.num_epochs
        val = self.evaluate(val_loader) if epoch % settings.val_frequency == 0 or is_final else None
        is_best = val is not None and val.top1 > progress.best_top1
        if val is not None and is_best:
            progress.best_top1 = val.top1
        progress.seconds = time.perf_counter() - started
        report = EpochReport(
            epoch=epoch,
            num_epochs=self.plan.num_epochs,
            global_step=progress.global_step,
            lr=self.plan.lr(epoch, self.plan.steps_in_epoch(epoch) - 1),
            train=progress.scores,
            val=val,
            is_best=is_best,
            seconds=progress.seconds,
            clips=progress.clips,
            repeated_frames=progress.repeated_frames,
            bad_videos=tuple(progress.bad_videos),
            checkpoint=self.folder.last,
        )
        # Before the checkpoint: a run killed in between goes on from the one before, and reports this epoch again.
        for callback in self.callbacks:
            callback.on_epoch(report)
        progress.finish_epoch()
        is_kept = epoch % settings.save_frequency == 0 or is_final
        self.save(epoch if is_kept else None, is_best)
        return report

    def _log(self, spec: StepSpec, steps: int) -> None:
        self._fold_scores()
        self._check_loss(spec)
        progress = self.progress
        window, self.window = self.window, Scores()
        speeds = self.speed.take()
        open_gates = {name: float(share) for name, share in self.network.open_gate_fractions().items()}
        self.network.reset_open_gate_fractions()
        report = LogReport(
            epoch=progress.epoch,
            num_epochs=self.plan.num_epochs,
            step=progress.step,
            steps=steps,
            global_step=progress.global_step,
            scores=window,
            speeds=speeds,
            batch_shape=(spec.batch_size, 3, *spec.shape),
            lr=self.plan.lr(progress.epoch, progress.step - 1),
            grad_norm=float(self.optimizer_step.grad_norm),
            memory_bytes=torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0,
            skipped_updates=progress.skipped_updates,
            open_gates=open_gates,
        )
        for callback in self.callbacks:
            callback.on_log(report)

    @staticmethod
    def _log_source(batch: Batch, loader: BatchLoader) -> None:
        folders = " ".join(str(loader.dataset.videos.folder(index)) for index in batch.videos.tolist())
        LOG.debug("clips %s from %s", tuple(batch.frames.shape), folders)

    def _explain_memory(self, spec: StepSpec) -> str:
        clips = spec.batch_size // self.ranks.world_size
        parts = 2 * self.settings.accumulate
        return (
            f"the GPU's memory does not hold a batch of {clips} clips of {'x'.join(map(str, spec.shape))} in "
            f"{self.settings.accumulate} parts: --accumulate {parts} takes it in {parts}, with the same schedule and "
            "batch statistics, and --checkpoint-activations keeps less of each; --resume-epoch auto goes on from "
            f"{self.folder.last}, if it was saved"
        )

    def _fold_scores(self) -> None:
        """Fetch what the device has counted: the scores, of all ranks, and the skipped updates."""
        self.progress.skipped_updates += self.optimizer_step.take_skipped()
        scores = Scores(*self.ranks.sum(self.score_sums.take()).tolist())
        self.window = self.window.plus(scores)
        self.progress.scores = self.progress.scores.plus(scores)

    def _gather_counts(self) -> None:
        """Bring what each rank counted of the epoch together; afterwards the first rank alone holds it."""
        progress = self.progress
        counts = self.ranks.gather((progress.repeated_frames, progress.bad_videos))
        progress.repeated_frames, progress.bad_videos = 0, []
        if self.ranks.is_first:
            progress.repeated_frames = sum(repeated for repeated, _ in counts)
            progress.bad_videos = [bad for _, videos in counts for bad in videos]

    def _admit(self, batch: Batch) -> None:
        """Count the bad videos of a batch; DataError if one could not be replaced or they are too many."""
        for bad in batch.bad_videos:
            self._admit_bad_video(bad)

    def _admit_bad_video(self, bad: BadVideo) -> None:
        limit, bad_videos = self.settings.bad_video_limit, self.progress.bad_videos
        if limit == 0:
            raise DataError(f"{bad.reason}; --on-bad-video skip goes on without such videos")
        bad_videos.append(bad)
        if bad.replacement is None:
            raise DataError(f"{bad.reason}; and no video drawn in its place could be read")
        if len(bad_videos) > limit:
            raise DataError(f"{bad.reason}; this is one more than the {limit} that --bad-video-limit allows an epoch")

    def _check_loss(self, spec: StepSpec | None = None) -> None:
        bad_step = self.optimizer_step.bad_step()
        if bad_step is not None:
            epoch, step = self._locate(bad_step)
            spec = self.plan.step_spec(epoch, step)
            last = self.folder.last
            state = f"{last} is the last good state" if last.exists() else "no checkpoint has been written yet"
            raise TrainingError(
                f"the loss or its gradient is not finite at step {step + 1} of epoch {epoch}: batch {spec.batch_size}, "
                f"shape {'x'.join(map(str, spec.shape))}, lr {self.plan.lr(epoch, step):.3g}. No update was made from "
                f"it on; {state}. Lower --lr-base, set --clip-grad, warm up longer (--warmup-epochs) or use "
                "--precision bf16 or fp32; --debug-mode names the block where it begins",
                on_all_ranks=True,
            )

    def _locate(self, global_step: int) -> tuple[int, int]:
        """Epoch and step (from 0) of a step that is at most an epoch ago."""
        back = self.progress.global_step - global_step
        if back <= self.progress.step:
            return self.progress.epoch, self.progress.step - back
        epoch = self.progress.epoch - 1
        return epoch, self.plan.steps_in_epoch(epoch) - (back - self.progress.step)

    def _is_save_due(self) -> bool:
        every_steps, every_minutes = self.settings.save_every_steps, self.settings.save_every_minutes
        if every_steps and self.progress.step % every_steps == 0:
            return True
        # The first rank's clock decides for all: theirs differ.
        return bool(every_minutes) and self.ranks.decide(time.perf_counter() - self.last_save > 60 * every_minutes)

    def _autocast(self) -> AbstractContextManager[None]:
        precision = self.settings.precision
        return torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "fp32")

    def _without_reduction(self) -> AbstractContextManager[None]:
        return self.parallel.no_sync() if isinstance(self.parallel, DistributedDataParallel) else nullcontext()
