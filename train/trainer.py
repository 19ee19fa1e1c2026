"""The Trainer: runs the steps, epochs and checkpoints of a network on one device, alone or as one of several ranks."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from common.distributed.patience import together
from common.distributed.stop_signal import StoppedBySignal, StopSignal
from common.errors import DataError, TrainingError, UserError
from common.layout import LAYOUTS, with_layout
from common.logs import LOG
from common.options import option
from common.precision import DTYPES
from common.ranks import Ranks
from data.augment.augment import Augment
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import DeviceBatches, on_device
from evaluate.evaluation import Evaluation, evaluate
from evaluate.metrics import Scores, ScoreSums
from evaluate.progress import EvaluationProgress
from network import VideoNetwork
from network.sub_batch_norm import set_num_splits
from network.weights.averages import STATISTICS_OF, fingerprint
from train.averaging import WeightAverage
from train.checkpoint.files import Checkpoint, CheckpointFolder
from train.checkpoint.progress import BEST_BY, TOP1, Progress
from train.checkpoint.state import collect_state, snapshot, state_of_progress
from train.checkpoint.writer import CheckpointWriter
from train.failures import (
    bad_video_problem,
    first_not_finite,
    memory_error,
    named_tensors,
    not_finite_error,
    not_finite_state_error,
    not_finite_validation_error,
    tell,
    too_many_bad_videos,
)
from train.freezing import Freezing
from train.losses import Loss
from train.mixing import Mixing
from train.monitor.guarded import Guarded
from train.monitor.reports import Callback, EpochReport, LogReport
from train.monitor.speed import SpeedMonitor
from train.optimizer_step import OptimizerStep
from train.passes import Computation
from train.precise_norm import PreciseNorm
from train.regularisation import Draws, NoDraws
from train.remaining_time import RemainingTime
from train.schedule.plan import Plan, StepSpec
from train.schedule.sampler import ScheduleSampler
from train.step_graphs import RecordedPasses, make_passes


@dataclass(frozen=True)
class TrainerOptions:
    """The flags of the training loop."""

    precision: str = option(
        "auto", "auto: bf16 if the GPU supports it, else fp16 with loss scaling; fp32 on the CPU", "machine",
        choices=("auto", *DTYPES), is_compared=True,
    )  # fmt: skip
    layout: str = option(
        "auto", "memory layout of clips and weights; auto: channels-last (NDHWC) on a GPU, contiguous (NCDHW) on the "
        "CPU, the faster of both", "machine", choices=("auto", *LAYOUTS), is_compared=True,
    )  # fmt: skip
    fused: bool = option(
        True, "on a GPU in channels-last, use this project's fused operations (batch norm with addition and ReLU, "
        "max-pool, SRTG; they need Triton, which comes with PyTorch); False: PyTorch's", "machine", is_compared=True,
    )  # fmt: skip
    graphs: bool = option(
        True, "on a GPU, record the forward and backward pass of each shape of clips as CUDA graphs and replay them: "
        "the host launches two operations in place of a thousand; False: it launches each", "machine",
    )  # fmt: skip
    accumulate: int = option(
        1, "gradient accumulation: process each batch in N parts, to need less GPU memory; batch norm covers fewer "
        "clips at shapes whose batch factor N does not divide, which the plan names", "optimisation",
        minimum=1, is_compared=True,
    )  # fmt: skip
    on_bad_video: str = option(
        "stop", "at a video that cannot be read: save and stop the run, or skip the video and log it: in training "
        "another is read, in validation the scores leave it out", "data", choices=("stop", "skip"),
    )  # fmt: skip
    bad_video_limit: int = option(
        100, "with --on-bad-video skip, stop if an epoch or a validation has more than N such videos", "data", minimum=1
    )
    val_frequency: int = option(1, "validate every N epochs, and after the last one", "output", minimum=1)
    save_frequency: int = option(
        1, "write the checkpoint <network>_ep-<epoch>.pth every N epochs, and after the last one", "output", minimum=1
    )
    best_by: str = option(
        TOP1, "the score of the validation by which a state is saved as <network>_best.pth: the highest top-1 or "
        "mean-class accuracy (the mean over classes), or the lowest loss", "output", choices=BEST_BY, is_compared=True,
    )  # fmt: skip
    save_every_steps: int = option(0, "also save every N steps within an epoch; 0: never", "output", minimum=0)
    save_every_minutes: float = option(0.0, "also save every X minutes within an epoch; 0: never", "output", minimum=0)
    log_every: int = option(20, "log every N steps", "output", minimum=1)

    @property
    def bad_videos_allowed(self) -> int:
        """The bad videos that an epoch, or a validation, may have."""
        return self.bad_video_limit if self.on_bad_video == "skip" else 0


def is_validated(epoch: int, plan: Plan, options: TrainerOptions) -> bool:
    """Whether there is a validation after an epoch."""
    return epoch % options.val_frequency == 0 or epoch == plan.num_epochs


SECONDS_TO_READ = 5.0
"""How long a batch is waited for after a signal to stop. It is not needed: the run stops before its step."""
Taken = TypeVar("Taken")


class _Reading(NamedTuple):
    """Batches that are being read, and from where on."""

    loader: BatchLoader
    epoch: int
    step: int
    batches: DeviceBatches


class Trainer:
    """Trains `network` by `plan`, starting at `progress`. `good_state` is the checkpoint resumed, if any."""

    def __init__(
        self,
        network: VideoNetwork,
        loss: Loss,
        optimizer_step: OptimizerStep,
        plan: Plan,
        device: torch.device,
        ranks: Ranks,
        options: TrainerOptions,
        folder: CheckpointFolder,
        run_facts: Checkpoint,
        callbacks: Sequence[Callback],
        progress: Progress,
        good_state: Path | None = None,
        is_other_validation: Callable[[], bool] = lambda: False,
        val_progress: EvaluationProgress | None = None,
        most_val_clips: int = 0,
        freezing: Freezing | None = None,
        draws: Draws | None = None,
        average: WeightAverage | None = None,
        precise_norm: PreciseNorm | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.network = network
        self.loss = loss
        self.optimizer_step = optimizer_step
        self.plan = plan
        self.device = device
        self.ranks = ranks
        self.options = options
        self.folder = folder
        self.writer = CheckpointWriter(folder)
        self.num_splits = 0  # of batch norm, in the last step
        self.run_facts = run_facts  # what each checkpoint has besides the state: network, classes, options, versions
        self.callbacks = Guarded(callbacks if ranks.is_first else ())
        self.progress = progress
        self.good_state = good_state  # the newest checkpoint of this run whose numbers are finite
        self.val_progress = val_progress  # shows how far a validation is
        self.most_val_clips = most_val_clips  # that go through the network at a time; 0: all of a batch
        self.draws = draws or NoDraws()
        self.mixing = mixing  # of the clips of a batch
        self.average = average  # of the weights: it is validated, if there is one
        self.precise_norm = precise_norm  # with new statistics, these weights are validated
        self.is_other_validation = is_other_validation  # asked on the first rank, after each validation
        self.freezing = freezing or Freezing()
        layout = LAYOUTS[with_layout(options.layout, device.type)]
        self.augment = Augment(DTYPES[options.precision], layout, network.normalisation)
        computation = Computation(network, loss, optimizer_step, device, options.precision)
        self.passes = make_passes(computation, ranks, options.graphs)
        self.speed = SpeedMonitor(device)
        self.remaining = RemainingTime(plan, options.val_frequency)
        self.score_sums = ScoreSums(device, network.num_classes, of_videos=False)
        self.scores_since_log = Scores()  # since the last report
        self.stop_signal = StopSignal(ranks)
        self.last_save = time.perf_counter()
        self._reading: _Reading | None = None  # of the next epoch, if it has begun
        self._further: DeviceBatches | None = None  # the batches after an epoch's steps: those of precise batch norm

    def fit(self, loader: BatchLoader, sampler: ScheduleSampler, val_loader: BatchLoader) -> EpochReport | None:
        """Train to the plan's end. Returns the report of the last epoch, or None if no epoch was left.

        StoppedBySignal after a signal and DataError on a bad video, both on all ranks and with the state saved;
        TrainingError on numbers that are not finite, which are not saved. However it ends, the last checkpoint is
        written then.
        """
        report = None
        self.remaining.val_pixels = self.ranks.world_size * val_loader.pixels
        with (
            self.stop_signal.listening(),
            self.writer,
            loader.waiting.checked(self._check_waiting, self.ranks.rank),
            val_loader.waiting.checked(self._check_waiting, self.ranks.rank),
        ):
            try:
                while self.progress.epoch <= self.plan.num_epochs:
                    self.epoch_started = time.perf_counter() - self.progress.seconds
                    self.train_epoch(loader, sampler)
                    if not self.precise_norm:
                        self.begin_reading(loader, sampler, self.progress.epoch + 1)  # while it validates
                    report = self.finish_epoch(
                        val_loader, partial(self.begin_reading, loader, sampler, self.progress.epoch + 1)
                    )
            except StoppedBySignal as stop:
                self.writer.wait_and_log()  # the disk may have space again
                self.save()
                self.writer.wait()
                stop.is_saved = True
                raise
            except UserError as error:
                self._end_together(error)
                raise
        return report

    def _end_together(self, error: UserError) -> None:
        """Say why the run ends. If it is for all ranks, wait until the first has written its checkpoint.

        A launcher that sees one rank end with an error stops the others, and soon kills them.
        """
        tell(error, self.ranks)
        if error.on_all_ranks:
            with suppress(TrainingError, RuntimeError), together(self.ranks):  # the first error is the one to report
                self.writer.wait_and_log()

    def begin_reading(self, loader: BatchLoader, sampler: ScheduleSampler, epoch: int, step: int = 0) -> None:
        """Have the loader's workers read the first batches from a position on, unless they do, or the plan ends there.

        The next `train_epoch` takes them if it begins at this position.
        """
        reading = self._reading
        if epoch > self.plan.num_epochs or (reading and reading[:3] == (loader, epoch, step)):
            return
        sampler.set_position(epoch, step)  # the loader takes its batches from this sampler
        self._reading = _Reading(loader, epoch, step, on_device(loader, self.device))

    def train_epoch(self, loader: BatchLoader, sampler: ScheduleSampler) -> None:
        """Run the remaining steps of the epoch."""
        progress, steps = self.progress, self.plan.steps_in_epoch(self.progress.epoch)
        self.begin_reading(loader, sampler, progress.epoch, progress.step)
        assert self._reading is not None
        batches, self._reading = self._reading.batches, None
        if self.freezing.begin_epoch(self.network, progress.epoch):
            self.optimizer_step.begin_learning()
            self.passes.forget()
        self.passes.begin_epoch()
        self.speed.restart()  # so that validation and saving do not count as time of a step
        self.remaining.begin(progress.epoch, progress.step)
        while progress.step < steps:
            spec = self.plan.step_spec(progress.epoch, progress.step)
            batch = self._next_batch(batches, spec, loader)
            try:
                self.train_step(batch, spec)
            except torch.OutOfMemoryError as error:
                raise self._memory_error(spec) from error
            if progress.step < steps:
                self._fetch_ahead(batches)
            self._report_step(spec, steps)
            if progress.step < steps and self._is_save_due():
                self.save()
        self._further = batches if self.precise_norm else None

    def train_step(self, batch: Batch, spec: StepSpec) -> None:
        """Make one update from `batch`, this rank's clips of the step, on its device."""
        parts = self.options.accumulate
        if (splits := spec.sub_batches(parts)) != self.num_splits:  # it takes a millisecond to walk over the network
            set_num_splits(self.network, splits)
            self.num_splits = splits
            self.passes.forget()
        losses = []
        for part in range(parts):
            # Take every parts-th clip: these form the same sub-batches as in the whole batch.
            clips = self.augment(batch.frames[part::parts], batch.augmentation_params[part::parts])
            labels = targets = batch.labels[part::parts]
            if self.mixing:
                targets, labels = self.mixing(clips, labels, self.progress.global_step, part)
            is_last = part == parts - 1
            self.draws.begin(self.progress.global_step, part)
            losses.append(self._forward_backward(clips, targets, labels, len(batch.labels), is_last))
            if not is_last:
                self.speed.mark()
        self.passes.finish()
        lr = self.plan.lr(self.progress.epoch, self.progress.step)
        self.optimizer_step.update(torch.stack(losses).sum(), lr, self.progress.global_step)
        if self.average:
            self.average.update(self.optimizer_step.is_skipped)
        self.speed.mark()
        if self.device.type == "cpu":
            self._check_finite()  # on a GPU this would wait for the device in each step
        self.progress.count_step(spec.batch_size, batch.repeated_frames)

    def _forward_backward(
        self, clips: Tensor, targets: Tensor, labels: Tensor, batch_size: int, is_last: bool
    ) -> Tensor:
        """Add the gradients of normalised clips (B, 3, T, h, w). Returns their part () of the batch's mean loss.

        The loss is of `targets`, see Loss; the accuracy of labels (B,).
        """
        outputs = self.passes(clips, targets, batch_size, is_last, self.speed.mark)
        self.score_sums.add(outputs.loss_sum, outputs.logits, labels)
        return outputs.loss_sum / batch_size

    def _memory_error(self, spec: StepSpec) -> TrainingError:
        has_recordings = isinstance(self.passes, RecordedPasses) and bool(self.passes.recordings)
        return memory_error(self.plan, spec, self.options.accumulate, self.folder.last, has_recordings)

    def finish_epoch(self, val_loader: BatchLoader, begin_next: Callable[[], None] = lambda: None) -> EpochReport:
        """Validate, report and save the epoch, after its last step.

        The state is also saved before the validation, so that nothing in it costs the epoch: a run that ends there
        resumes with the validation. `begin_next` is called when the loader of training has nothing more to read of
        this epoch.
        """
        progress, options, epoch = self.progress, self.options, self.progress.epoch
        is_final = epoch == self.plan.num_epochs
        progress.seconds = time.perf_counter() - self.epoch_started
        val, statistics = None, dict[str, Tensor]()
        self._check_folder()
        if is_validated(epoch, self.plan, options):
            self.save()
            unfinished = state_of_progress(progress)
            statistics = self._estimate_statistics()
            begin_next()
            val = self._validate_epoch(val_loader)
            self.writer.wait()  # what follows may rename `best`
            if self.ranks.decide(self.ranks.is_first and self.is_other_validation()):
                progress.forget_best()
        else:
            self._further = None
            begin_next()
            self._gather_counts()
            unfinished = state_of_progress(progress)
        is_best = progress.update_best(val)
        progress.seconds = time.perf_counter() - self.epoch_started
        report = self._epoch_report(val, is_best)
        # Report before saving: a run killed in between resumes from an earlier checkpoint and reports this epoch again.
        self.callbacks.on_epoch(report)
        progress.next_epoch(val)
        of_epoch = epoch if epoch % options.save_frequency == 0 or is_final else None
        self.save(of_epoch, is_best, statistics, unfinished)
        return report

    def validate(self, loader: BatchLoader) -> Evaluation:
        """Scores over every video of all ranks' loaders; StoppedBySignal after a signal."""
        with self.val_progress or nullcontext() as progress:
            return evaluate(
                self.validated, loader, self.device, self.ranks, self.options.precision, self._until_stopped,
                self.options.bad_videos_allowed, progress=progress, most_clips=self.most_val_clips,
            )  # fmt: skip

    def _validate_epoch(self, loader: BatchLoader) -> Evaluation:
        try:
            return self.validate(loader)
        except TrainingError as error:
            self.writer.wait()
            raise not_finite_validation_error(error, self.progress.epoch, self.folder) from error

    @property
    def validated(self) -> VideoNetwork:
        """The network that is validated: of the average of the weights, and with precise statistics, if these are on.

        It has the parameters of training only where neither is on or the statistics alone are new.
        """
        if self.precise_norm:
            return self.precise_norm.network
        return self.average.network if self.average else self.network

    def _estimate_statistics(self) -> dict[str, Tensor]:
        """Estimate the statistics of the network to be validated, if they are to be precise, and return them."""
        batches, self._further = self._further, None
        if not self.precise_norm:
            return {}
        assert batches is not None
        return self.precise_norm.estimate(self._parts_of(batches), self.ranks)

    def _parts_of(self, batches: Iterator[Batch]) -> Iterator[Tensor]:
        """Normalised clips (B, 3, T, h, w) of batches, each in as many parts as training takes it in.

        Before each batch, StoppedBySignal or DataError on all ranks, as in a step; the counts of the epoch stay.
        """
        parts, replaced = self.options.accumulate, 0
        while True:
            try:
                batch = self._take(batches)
            except StopIteration:
                break
            problem = bad_video_problem(batch.bad_videos, self.options.bad_videos_allowed)
            agreed = self.stop_signal.agree(bool(problem))
            if agreed.signal:
                raise StoppedBySignal(agreed.signal)
            if agreed.has_problem:
                first = next(filter(None, self.ranks.gather(problem)))
                raise DataError(f"{first} ({self.folder.last} has the state before the validation)", on_all_ranks=True)
            for part in range(parts):
                yield self.augment(batch.frames[part::parts], batch.augmentation_params[part::parts])
            replaced += len(batch.bad_videos)
        if replaced := int(self.ranks.sum(torch.tensor(replaced))):
            LOG.warning("precise batch norm: in place of videos that cannot be read, %d others were taken", replaced)

    def save(
        self,
        epoch: int | None = None,
        is_best: bool = False,
        statistics: Mapping[str, Tensor] | None = None,
        unfinished: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin to write a checkpoint of the current state, once the last one is written. All ranks must call this.

        `statistics` are the precise ones of the weights that were validated in this state, `unfinished` as in
        `CheckpointFolder.save`.
        The first rank copies the state to the host's memory and writes it while the run goes on; `self.writer` says
        when it is on the disk. TrainingError on the first rank, at the next step or save, if it cannot be written.
        TrainingError on all ranks, and no checkpoint, if a loss, a weight or a batch-norm statistic is not finite.
        """
        self.writer.wait()
        self._check_state()
        if self.ranks.is_first:
            state = collect_state(self.network, self.optimizer_step, self.progress, self.device, self.average)
            if statistics:
                state["precise_bn"] = dict(statistics)
                validated = state["ema"]["weights"] if self.average else state["weights"]
                state[STATISTICS_OF] = fingerprint(validated, statistics)
            self.writer.start(self.run_facts | snapshot(state), epoch, is_best, unfinished)
        self.good_state = self.folder.last
        self.last_save = time.perf_counter()

    def _check_state(self) -> None:
        """Gather the counts of all ranks. TrainingError, on all of them, if the state is not finite."""
        self._check_folder()
        self._gather_counts()
        tensors = named_tensors(self.network.state_dict(), "weights") | named_tensors(
            self.optimizer_step.optimizer.state_dict()["state"], "optimizer"
        )
        bad = next(filter(None, self.ranks.gather(first_not_finite(tensors))), None)
        if bad:
            raise not_finite_state_error(bad, self.progress.epoch, self.progress.step, self.good_state)

    def _check_folder(self) -> None:
        """TrainingError, on all ranks, if another run uses the run's folder."""
        problem = ""
        if self.ranks.is_first:
            try:
                self.folder.check()
            except TrainingError as error:
                problem = str(error)
        if problem := next(filter(None, self.ranks.gather(problem)), ""):
            raise TrainingError(problem, on_all_ranks=True)

    def _next_batch(self, batches: Iterator[Batch], spec: StepSpec, loader: BatchLoader) -> Batch:
        """Take the next batch, once the ranks agree to go on; see `_check_batch`."""
        asked = time.perf_counter()
        batch = self._take(batches)
        self.speed.begin_step(time.perf_counter() - asked, spec.batch_size)
        self._check_batch(batch)
        if LOG.isEnabledFor(logging.DEBUG):
            folders = " ".join(str(loader.dataset.videos.folder(index)) for index in batch.videos.tolist())
            LOG.debug("clips %s from %s", tuple(batch.frames.shape), folders)
        return batch

    def _take(self, batches: Iterator[Taken]) -> Taken:
        """The next batch; StoppedBySignal if, after a signal, there is none.

        The signal may have ended a process that reads clips, too, or these stand still. No step has begun, so the state
        is whole.
        """
        try:
            return next(batches)
        except (RuntimeError, OSError) as error:
            if self.stop_signal.received is None:
                raise
            LOG.warning("after the signal, the next batch could not be read: %s", str(error).partition("\n")[0])
            raise StoppedBySignal(self.stop_signal.agree().signal or self.stop_signal.received) from None

    def _check_waiting(self) -> None:
        """Called while a batch is waited for: TimeoutError, which `_take` gets, if none came since a signal."""
        if self.stop_signal.received and time.monotonic() - self.stop_signal.received_at >= SECONDS_TO_READ:
            raise TimeoutError(f"no clips came within {SECONDS_TO_READ:.0f} s")

    def _fetch_ahead(self, batches: DeviceBatches) -> None:
        """Fetch the next batch while a GPU computes the step, before anything waits for the step."""
        asked = time.perf_counter()
        batches.fetch_ahead()
        self.speed.add_wait(time.perf_counter() - asked)

    def _check_batch(self, batch: Batch) -> None:
        """Admit a batch for a step, if there was no signal.

        StoppedBySignal, or DataError with the state saved, on all ranks: without this batch there is no step.
        """
        self.writer.check()
        limit, bad_videos = self.options.bad_videos_allowed, self.progress.bad_videos
        problem = bad_video_problem(batch.bad_videos, limit)
        agreed = self.stop_signal.agree(bool(problem), len(bad_videos) + len(batch.bad_videos))
        if agreed.signal:
            raise StoppedBySignal(agreed.signal)
        if agreed.has_problem or (limit and agreed.total > limit):
            if not problem and batch.bad_videos:
                problem = too_many_bad_videos(batch.bad_videos[-1], agreed.total, limit)
            self.save()
            self.writer.wait()
            first = next(filter(None, self.ranks.gather(problem)))
            raise DataError(f"{first} ({self.folder.last} has the state before this batch)", on_all_ranks=True)
        bad_videos += batch.bad_videos

    def _report_step(self, spec: StepSpec, steps: int) -> None:
        """Call the callbacks after a step, with a report of the last steps if one is due."""
        progress = self.progress
        progress.seconds = time.perf_counter() - self.epoch_started
        self.callbacks.on_step(progress.step, steps)
        if progress.step % self.options.log_every == 0 or progress.step == steps:
            self.callbacks.on_log(self._log_report(spec, steps))

    def _log_report(self, spec: StepSpec, steps: int) -> LogReport:
        self._fetch_scores()
        self._check_finite()
        progress = self.progress
        scores, self.scores_since_log = self.scores_since_log, Scores()
        speeds = self.speed.take()
        self.remaining.after_steps(progress.epoch, progress.step)
        open_gates = {name: float(share) for name, share in self.network.open_gate_fractions().items()}
        self.network.reset_open_gate_fractions()
        return LogReport(
            epoch=progress.epoch,
            num_epochs=self.plan.num_epochs,
            step=progress.step,
            steps=steps,
            global_step=progress.global_step,
            scores=scores,
            speeds=speeds,
            batch_shape=(spec.batch_size, 3, *spec.shape),
            lr=self.plan.lr(progress.epoch, progress.step - 1),
            grad_norm=float(self.optimizer_step.grad_norm),
            memory_bytes=torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0,
            skipped_updates=progress.skipped_updates,
            open_gates=open_gates,
            remaining=self.remaining.seconds(progress.epoch, progress.step),
        )

    def _epoch_report(self, val: Evaluation | None, is_best: bool) -> EpochReport:
        progress, epoch = self.progress, self.progress.epoch
        self.remaining.end_epoch()
        is_final = epoch == self.plan.num_epochs
        return EpochReport(
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
            remaining=None if is_final else self.remaining.seconds(epoch + 1, 0),
        )

    def _fetch_scores(self) -> None:
        """Fetch the counts from the device: the scores of all ranks, and the skipped updates."""
        self.progress.skipped_updates += self.optimizer_step.take_skipped()
        scores = self.score_sums.scores_of(self.ranks.sum(self.score_sums.take()))
        self.scores_since_log = self.scores_since_log.plus(scores)
        self.progress.scores = self.progress.scores.plus(scores)

    def _gather_counts(self) -> None:
        """Add up the epoch's counts of all ranks; afterwards only the first rank holds them.

        TrainingError if a loss was not finite.
        """
        self._fetch_scores()
        self._check_finite()
        progress = self.progress
        counts = self.ranks.gather((progress.repeated_frames, progress.bad_videos))
        progress.repeated_frames, progress.bad_videos = 0, []
        if self.ranks.is_first:
            progress.repeated_frames = sum(repeated for repeated, _ in counts)
            progress.bad_videos = [bad for _, videos in counts for bad in videos]

    def _check_finite(self) -> None:
        """TrainingError, on all ranks, if the loss or gradient of a step was not finite."""
        bad_step = self.optimizer_step.bad_step()
        if bad_step is not None:
            raise not_finite_error(self.plan, self.progress, bad_step, self.good_state)

    def _until_stopped(self, batches: Iterable[Batch | None]) -> Iterator[Batch | None]:
        """Yield the batches of an evaluation; after a signal, StoppedBySignal on all ranks before the same batch."""
        iterator = iter(batches)
        while True:
            try:
                batch = self._take(iterator)
            except StopIteration:
                return
            if number := self.stop_signal.agree().signal:
                raise StoppedBySignal(number)
            yield batch

    def _is_save_due(self) -> bool:
        every_steps, every_minutes = self.options.save_every_steps, self.options.save_every_minutes
        if every_steps and self.progress.step % every_steps == 0:
            return True
        # The ranks' clocks differ, so the first rank decides for all.
        return bool(every_minutes) and self.ranks.decide(time.perf_counter() - self.last_save > 60 * every_minutes)
