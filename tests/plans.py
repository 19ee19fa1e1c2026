"""Plans from plain arguments."""

from train.schedule import multigrid
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan


def make_plan(*, num_videos: int, world_size: int = 1, per_epoch: bool = False, **options: object) -> Plan:
    """The plan of ScheduleOptions(**options)."""
    options["lr_steps"] = tuple(options["lr_steps"])  # type: ignore[arg-type]
    variant = "per-epoch" if per_epoch else "paper"
    return multigrid.make_plan(ScheduleOptions(multigrid=variant, **options), num_videos, world_size)  # type: ignore[arg-type]
