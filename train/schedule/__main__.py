"""The command `python -m train.schedule`: print a schedule and draw it. It needs no data and no GPU."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from common.cli import CommandParser, run_command
from common.files import PICTURES, check_output
from common.options import add_options, read_options
from train.schedule.learning import learning_warnings
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plot import draw_plan
from train.schedule.table import plan_summary, plan_table

TABLE_WIDTH = 100  # columns that the table needs
PAPER = ScheduleOptions(clip_size=224, lr_steps=(94, 154, 196), end_epoch=239, long_cycles=True, short_cycles=True)


def parser(prog: str = "python -m train.schedule") -> CommandParser:
    """The parser of the command: the schedule's flags of the scripts, and this command's own."""
    result = CommandParser(
        prog=prog,
        description="Print the schedule of a training script with these flags, and draw it; needs no data. The "
        "defaults are the Multigrid paper's schedule for Kinetics-400: both cycles. Giving one of the two cycle flags "
        "switches the other cycle off.",
    )
    add_options(result, PAPER)
    # Here `--lr-steps` alone means none. A training script refuses it: it may come from an empty shell variable.
    next(action for action in result._actions if action.dest == "lr_steps").nargs = "*"
    result.set_defaults(long_cycles=None, short_cycles=None)
    result.add_argument("--gpus", type=int, default=1, metavar="N", help="number of GPUs that share a batch")
    result.add_argument("--num-videos", type=int, default=240_000, metavar="N", help="number of training videos")
    result.add_argument("--output", type=Path, metavar="FILE", help="draw the schedule to this .png, .pdf or .svg")
    return result


def main(arguments: Sequence[str] | None = None, prog: str = "python -m train.schedule") -> int:
    """Run the command; exit status 0."""
    namespace = parser(prog).parse_args(arguments)
    if namespace.output is not None:
        check_output(namespace.output, PICTURES, "--output")
    neither_named = namespace.long_cycles is None and namespace.short_cycles is None
    namespace.long_cycles = neither_named or bool(namespace.long_cycles)
    namespace.short_cycles = neither_named or bool(namespace.short_cycles)
    plan = make_plan(read_options(ScheduleOptions, namespace), namespace.num_videos, namespace.gpus)
    console = Console(soft_wrap=True)
    if console.width < TABLE_WIDTH:
        console.width = TABLE_WIDTH
    console.print(plan_table(plan))
    for line in (*plan_summary(plan), *learning_warnings(plan)):
        console.print(line, highlight=False, markup=False)
    if namespace.output is not None:
        draw_plan(plan, namespace.output)
        console.print(f"drawn to {namespace.output}", highlight=False, markup=False)
    return 0


if __name__ == "__main__":
    run_command(main)
