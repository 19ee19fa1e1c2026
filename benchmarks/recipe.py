r"""What each part of the modern recipe brings on a small dataset, alone and all together, against `--recipe paper`.

    python -m benchmarks.recipe DATASET --output FOLDER [--seeds 3] [--epochs 20] [--parts paper cosine ...] \
        [--processes 2] [-- FLAGS OF train_custom.py, such as --clip-size 48]

DATASET is one of train_custom.py, such as that of `make demo`. Each part is trained from scratch with each seed and
otherwise the same flags. The state after the last epoch is evaluated, not the best one, which would be chosen on the
videos that it is then scored on. The table has the top-1 of each part, and its difference to `paper` with the 95 %
interval of evaluate.compare, which covers the choice of videos and of seeds. Runs that are there are not repeated, and
those that were stopped go on: the command may be given again, with more parts or seeds.

Parts that take N clips of each video have the epochs divided by N, so that all have as many updates.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import atomic_file
from common.json_text import json_text
from common.logs import make_console
from evaluate.comparison.comparing import Comparison, as_json, compare_predictions
from evaluate.comparison.prediction_files import match_videos, read_sources
from train.recipe import MODERN, PAPER

LIGHT = (
    "--lr-schedule", "cosine", "--label-smoothing", "0.1", "--erase", "0.25", "--crop", "jitter", "--randaugment", "2x9"
)  # fmt: skip
PARTS: dict[str, tuple[str, ...]] = {
    PAPER: (),
    "cosine": ("--lr-schedule", "cosine"),
    "label smoothing": ("--label-smoothing", "0.1"),
    "no decay of norms": ("--decay-norms", "False"),
    "zero-init": ("--zero-init-residual",),
    "dropout": ("--dropout", "0.5"),
    "drop path": ("--drop-path", "0.1"),
    "EMA": ("--ema", "0.9999"),
    "precise BN": ("--precise-bn", "200"),
    "mixup": ("--mixup", "0.8"),
    "CutMix": ("--cutmix", "1"),
    "erase": ("--erase", "0.25"),
    "jitter": ("--crop", "jitter"),
    "resized crops": ("--crop", "resized"),
    "RandAugment": ("--randaugment", "2x9"),
    "two clips a video": ("--repeat-clips", "2"),
    "AdamW": ("--optimizer", "adamw", "--lr-base", "0.001", "--weight-decay", "0.05"),
    "light": LIGHT,
    MODERN: ("--recipe", MODERN, "--randaugment", "2x9"),
}
"""The flags of each part. The warm-up of all of them is that of `schedule`."""


class Job(NamedTuple):
    """One training."""

    part: str
    seed: int
    folder: Path  # of its output and its run


def train_and_evaluate(job: Job, dataset: Path, epochs: int, flags: Sequence[str]) -> Path:
    """Train a part with one seed and evaluate its last state, if that is not done yet. Returns the run's folder."""
    own = PARTS[job.part]
    repeats = int(own[own.index("--repeat-clips") + 1]) if "--repeat-clips" in own else 1
    command = [
        "train_custom.py", "--dataset", str(dataset), "--model-dir", str(job.folder), "--task-name", "run",
        *schedule(max(1, epochs // repeats)), "--random-seed", str(job.seed), "--keep", "1", "--resume-epoch", "auto",
        *flags, *own,
    ]  # fmt: skip
    job.folder.mkdir(parents=True, exist_ok=True)
    _check_command(job.folder / "command.json", command)
    if not any(job.folder.glob("*/evaluation_*/predictions.npz")):
        _run(job.folder / "train.txt", *command)
        (last,) = job.folder.glob("*/*_last.pth")
        _run(job.folder / "evaluate.txt", "-m", "evaluate.run", str(last), str(dataset))
    (evaluation,) = job.folder.glob("*/evaluation_*/predictions.npz")
    return evaluation


def schedule(epochs: int) -> list[str]:
    """The rate rises over a tenth of the epochs, and falls after 60 and 85 % of them. The last epoch is validated."""
    steps = sorted({max(1, round(share * epochs)) for share in (0.6, 0.85)})
    return [
        "--end-epoch", str(epochs), "--warmup-epochs", f"{epochs / 10:g}", "--lr-steps", *map(str, steps),
        "--val-frequency", str(epochs),
    ]  # fmt: skip


def _check_command(path: Path, command: list[str]) -> None:
    """DataError if the folder is of another command: its results would be taken for those of this one."""
    text = json_text(command) + "\n"
    if not path.exists():
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path.parent} is of other flags, see {path.name} there: give another --output")


def _run(output: Path, *command: str) -> None:
    """One thread, so that several trainings divide the cores."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with output.open("w", encoding="utf-8") as file:
        status = subprocess.run([sys.executable, *command], stdout=file, stderr=file, env=environment).returncode
    if status:
        raise DataError(f"a run ended with status {status}: see {output}")


def compare(evaluations: Sequence[Path], others: Sequence[Path]) -> Comparison:
    """Several seeds of two sides, on the videos that all have; differences are those of `others` - `evaluations`."""
    matched = match_videos(read_sources([*evaluations, *others])).predictions
    return compare_predictions(matched[: len(evaluations)], matched[len(evaluations) :])


def results_table(comparisons: dict[str, Comparison]) -> Table:
    """A row for each part."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("part", "top-1 (%), mean ± sd", "- paper (95 % interval)", "loss", "- paper (95 % interval)"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    for part, comparison in comparisons.items():
        cells = []
        for name, digits in (("top1", 2), ("loss", 3)):
            score = comparison.scores[name]
            spread = "" if len(score.b.seeds) == 1 else f" ± {score.b.deviation:.{digits}f}"
            cells.append(f"{score.b.mean:.{digits}f}{spread}")
            difference = score.difference
            low, high = (f"{value:+.{digits}f}" for value in (difference.low, difference.high))
            cells.append("" if part == PAPER else f"{difference.value:+.{digits}f} ({low} to {high})")
        table.add_row(part, *cells)
    return table


def main() -> int:
    """Train and evaluate what is not there, and print the table; exit status 0."""
    arguments, flags = _arguments(sys.argv[1:])
    parts = list(dict.fromkeys([PAPER, *arguments.parts]))
    seeds = range(1, arguments.seeds + 1)
    jobs = [
        Job(part, seed, arguments.output / part.replace(" ", "_") / f"seed{seed}") for seed in seeds for part in parts
    ]
    evaluations = dict(zip(jobs, _all_done(jobs, arguments, flags), strict=True))
    of_parts = {part: [path for job, path in evaluations.items() if job.part == part] for part in parts}
    comparisons = {part: compare(of_parts[PAPER], paths) for part, paths in of_parts.items()}
    make_console().print(results_table(comparisons))
    with atomic_file(arguments.output / "results.json") as temporary:
        content = {part: as_json(comparison) for part, comparison in comparisons.items()}
        temporary.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")
    return 0


def _arguments(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The own flags, and those of train_custom.py."""
    parser = CommandParser(prog="python -m benchmarks.recipe", description=__doc__)
    parser.add_argument("dataset", type=lambda text: Path(text).absolute(), metavar="DATASET")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the runs, and results.json")
    parser.add_argument("--seeds", type=positive_integer, default=3, metavar="N", help="1 to N (default: 3)")
    parser.add_argument("--epochs", type=positive_integer, default=20, metavar="N", help="of each run (default: 20)")
    parser.add_argument(
        "--processes", type=positive_integer, default=1, metavar="N", help="runs at a time (default: 1)"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    own, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    if "full" in flags:
        raise DataError("--augment full: parts with RandAugment take its place; leave it out")
    return parser.parse_args(own), flags


def _all_done(jobs: list[Job], arguments: argparse.Namespace, flags: list[str]) -> list[Path]:
    """The predictions of all jobs, several of which run at a time; the first that fails ends all."""
    with ThreadPoolExecutor(arguments.processes) as pool:
        futures = [pool.submit(train_and_evaluate, job, arguments.dataset, arguments.epochs, flags) for job in jobs]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


if __name__ == "__main__":
    run_command(main)
