"""The command `python -m train.multigrid`: print a schedule and draw it, without data or GPU."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from common.cli import CommandParser, StoreNumbers, boolean, run_command
from train.schedule.multigrid import make_plan, plan_summary, plan_table
from train.schedule.plot import draw_plan

TABLE_WIDTH = 100  # the table is shown whole from this width on


def parser() -> CommandParser:
    """The scripts' flags that decide the schedule, and where the picture goes."""
    result = CommandParser(
        prog="python -m train.multigrid",
        description="Print the schedule that these flags of a training script give, and draw it. Needs no data. The "
        "defaults are the Multigrid paper's schedule for Kinetics-400.",
    )
    result.add_argument("--batch-size", type=int, default=32, help="base batch over all GPUs (default: 32)")
    result.add_argument("--clip-length", type=int, default=16, help="base frames of a clip (default: 16)")
    result.add_argument("--clip-size", type=int, default=224, help="base crop in pixels (default: 224)")
    result.add_argument("--lr-base", type=float, default=0.1, help="rate at the base batch (default: 0.1)")
    result.add_argument(
        "--lr-steps",
        nargs="*",
        action=StoreNumbers,
        default=(94, 154, 196),
        metavar="EPOCH",
        help="nominal epochs after which the rate falls: 40 60 75 or 40,60,75 (default: 94 154 196)",
    )
    result.add_argument("--lr-factor", type=float, default=0.1, help="what each lr step multiplies by (default: 0.1)")
    result.add_argument("--end-epoch", type=int, default=239, help="nominal last epoch (default: 239)")
    for flag, what in (("--long-cycles", "the four shapes"), ("--short-cycles", "the three crops from step to step")):
        result.add_argument(
            flag,
            type=boolean,
            nargs="?",
            const=True,
            metavar="True|False",
            help=f"{what} (default: both cycles if neither is named, else only the named one)",
        )
    result.add_argument(
        "--multigrid",
        choices=("paper", "per-epoch"),
        default="paper",
        help="per-epoch: all long-cycle shapes in each epoch, a quarter of its steps each (default: paper)",
    )
    result.add_argument(
        "--warmup-epochs", type=float, help="default: a seventh of --end-epoch with long cycles, else 0"
    )
    result.add_argument("--warmup-lr", type=float, help="rate that the warm-up starts from (default: --lr-base / 10)")
    result.add_argument("--gpus", type=int, default=1, help="over how many the batch is divided (default: 1)")
    result.add_argument("--num-videos", type=int, default=240_000, help="training videos (default: 240000)")
    result.add_argument(
        "--output",
        type=Path,
        default=Path("figures/multigrid_schedule.png"),
        help="the picture: .png, .pdf or .svg (default: figures/multigrid_schedule.png)",
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 0."""
    options = parser().parse_args(arguments)
    neither_named = options.long_cycles is None and options.short_cycles is None
    plan = make_plan(
        clip_length=options.clip_length,
        clip_size=options.clip_size,
        batch_size=options.batch_size,
        lr_base=options.lr_base,
        lr_steps=options.lr_steps,
        lr_factor=options.lr_factor,
        end_epoch=options.end_epoch,
        num_videos=options.num_videos,
        long_cycles=neither_named or bool(options.long_cycles),
        short_cycles=neither_named or bool(options.short_cycles),
        per_epoch=options.multigrid == "per-epoch",
        warmup_epochs=options.warmup_epochs,
        warmup_lr=options.warmup_lr,
        world_size=options.gpus,
    )
    console = Console(soft_wrap=True)
    if console.width < TABLE_WIDTH:
        console.width = TABLE_WIDTH
    console.print(plan_table(plan))
    for line in plan_summary(plan):
        console.print(line, highlight=False)
    draw_plan(plan, options.output)
    console.print(f"drawn to {options.output}", highlight=False)
    return 0


if __name__ == "__main__":
    run_command(main)
