"""How long the whole run will still take, from its plan and the time of the steps so far."""

import time
from collections.abc import Callable

from train.schedule.plan import Phase, Plan, StepSpec

MEMORY = 0.9  # at each report, the weight of the reports before: about the last ten count
FORWARD_SHARE = 1 / 3  # of the time of a training step, that of a validation's batch of the same size: a first guess


class RemainingTime:
    """Knows how fast the steps of each short cycle were since the process started, and applies that to what is left.

    Steps of shapes that did not occur yet count as fast per pixel as those that did. Ends of epochs (validation,
    reports, checkpoints) take as long as the last one of their kind. After a resume, it begins anew.
    """

    def __init__(
        self, plan: Plan, val_frequency: int, val_pixels: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`val_pixels`: views x frames x height x width of a validation, over all ranks; 0 if not known."""
        self.plan = plan
        self.val_frequency = val_frequency
        self.val_pixels = val_pixels
        self.clock = clock
        self.rates: dict[tuple[StepSpec, ...], _Rate] = {}
        self.ends: dict[bool, float] = {}  # seconds of the end of an epoch, with a validation and without
        self.position = (1, 0)
        self.since = clock()
        self.ended: tuple[int, float] | None = None  # the epoch whose steps are done, and when

    def begin(self, epoch: int, step: int) -> None:
        """Called before the next step of an epoch, when those before it, or the epoch before, are done."""
        self.end_epoch()
        self.ended = None
        self.position, self.since = (epoch, step), self.clock()

    def after_steps(self, epoch: int, step: int) -> None:
        """Called after `step` steps of the epoch, once the device has made them; at the least after the last one."""
        now = self.clock()
        first = self.position[1]
        pixels: dict[tuple[StepSpec, ...], int] = {}
        for done in range(first, step):
            cycle = self.plan.phase(epoch, done).short_cycle
            pixels[cycle] = pixels.get(cycle, 0) + _pixels(self.plan.step_spec(epoch, done))
        total = sum(pixels.values())
        for cycle, count in pixels.items():
            self.rates.setdefault(cycle, _Rate()).add((now - self.since) * count / total, count)
        self.position, self.since = (epoch, step), now
        if step == self.plan.steps_in_epoch(epoch):
            self.ended = (epoch, now)

    def end_epoch(self) -> None:
        """Called at the end of an epoch, as far as it is done: after its validation, and when all is saved."""
        if self.ended is not None:
            epoch, since = self.ended
            self.ends[self._is_validated(epoch)] = self.clock() - since

    def seconds(self, epoch: int, step: int) -> float | None:
        """Seconds from after `step` steps of `epoch` to the end of the run; None if no step has been timed.

        If these are all steps of the epoch, its end is still to come.
        """
        if not self.rates:
            return None
        left = sum(self._steps_left(phase, epoch, step) * self._step_seconds(phase) for phase in self.plan.phases)
        validations = sum(self._is_validated(each) for each in range(epoch, self.plan.num_epochs + 1))
        others = self.plan.num_epochs - epoch + 1 - validations
        return left + validations * self._end_seconds(True) + others * self._end_seconds(False)

    def _steps_left(self, phase: Phase, epoch: int, step: int) -> int:
        steps = self.plan.steps_per_epoch(phase)
        left = max(0, phase.last_epoch - max(phase.first_epoch, epoch + 1) + 1) * steps
        if phase.first_epoch <= epoch <= phase.last_epoch:
            left += min(steps, max(0, (phase.part + 1) * steps - step))
        return left

    def _step_seconds(self, phase: Phase) -> float:
        """The mean over the phase's steps."""
        rate = self.rates.get(phase.short_cycle)
        pixels = self.plan.pixels_of(phase) / (phase.num_epochs * self.plan.steps_per_epoch(phase))
        return pixels * (rate.seconds_per_pixel if rate else self._mean_rate())

    def _mean_rate(self) -> float:
        pixels = sum(rate.pixels for rate in self.rates.values())
        return sum(rate.seconds for rate in self.rates.values()) / pixels

    def _end_seconds(self, is_validated: bool) -> float:
        if is_validated in self.ends:
            return self.ends[is_validated]
        return self.val_pixels * FORWARD_SHARE * self._mean_rate() if is_validated else 0.0

    def _is_validated(self, epoch: int) -> bool:
        return epoch % self.val_frequency == 0 or epoch == self.plan.num_epochs


class _Rate:
    """The time of the latest steps of one short cycle.

    The first report has what happens once, so it only counts until there is another.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.pixels = 0.0
        self.reports = 0

    def add(self, seconds: float, pixels: int) -> None:
        """Add the steps of a report."""
        keep = MEMORY if self.reports > 1 else 0.0
        self.seconds, self.pixels = keep * self.seconds + seconds, keep * self.pixels + pixels
        self.reports += 1

    @property
    def seconds_per_pixel(self) -> float:
        """Over the latest steps."""
        return self.seconds / self.pixels


def _pixels(spec: StepSpec) -> int:
    return spec.batch_size * spec.shape.frames * spec.shape.height * spec.shape.width
