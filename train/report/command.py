"""The command `python -m evaluate.report`: write a run's report."""

import sys
from pathlib import Path

from common.cli import CommandParser
from common.errors import DataError
from common.files import atomic_file, check_output, open_plain, reason, what_is_at, write_errors
from common.text import printable
from train.report.data_parts import passport_section
from train.report.evaluation_files import read_evaluations
from train.report.evaluation_parts import evaluation_sections
from train.report.page import MARK, page
from train.report.problems import Problems
from train.report.run_files import is_run, read_run
from train.report.run_parts import (
    checkpoints_section,
    command_section,
    curves_section,
    gates_section,
    head,
    plan_section,
)

NAME = "report.html"
LARGEST = 2**30  # bytes of a report
HEAD = 4096  # bytes of a report in which its mark is


def main() -> int:
    """Write the page and print where it is; DataError if there is no run, or the page cannot be written.

    Exit status 1 if a file of the run is damaged and its part left out.
    """
    parser = CommandParser(
        prog="python -m evaluate.report",
        description="Write one HTML page about a run: scores, plan, curves, gates, data, classes, confusions, the "
        "worst videos, options and files. Parts whose files are missing are left out.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"the .html file to write (default: RUN/{NAME})")
    parser.add_argument(
        "--dataset", type=Path, metavar="FOLDER", help="dataset that the frames of the worst videos are read from, "
        "also through links (default: that of the run)",
    )  # fmt: skip
    arguments = parser.parse_args()
    output = arguments.output or arguments.run / NAME
    _check_run(arguments.run)
    _check_output(output, "" if arguments.output is None else "--output")
    if arguments.dataset is not None and what_is_at(arguments.dataset) != "folder":
        raise DataError(f"--dataset {arguments.dataset} is no folder: give that of the run's dataset, or leave it out")
    problems = Problems()
    text = report(arguments.run, problems, arguments.dataset)
    for line in [*problems, *problems.notes]:
        print(printable(f"warning: {line}"), file=sys.stderr)
    with write_errors(output, "give another --output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    if problems.frames_from:
        print(printable(f"its frames are from {', '.join(problems.frames_from)}"))
    print(printable(f"report in {output} ({max(1, len(text.encode()) >> 10):,} KiB)"))
    return 1 if problems else 0


def report(folder: Path, problems: Problems, dataset: Path | None = None) -> str:
    """The page of the run in a folder, with frames from `dataset` if it is given. DataError if no file can be read."""
    run = read_run(folder, problems)
    if not (run.options or run.train or run.val):
        raise DataError("; ".join(problems) or f"{folder}: its files say nothing of a run")
    evaluations = read_evaluations(folder, problems)
    sections = [
        plan_section(run),
        curves_section(run),
        gates_section(run),
        passport_section(run, evaluations),
        *evaluation_sections(evaluations, run.options.get("dataset"), problems, dataset),
        command_section(run),
        checkpoints_section(run),
    ]
    return page(folder.resolve().name, head(run, evaluations), sections, problems)


def _check_run(folder: Path) -> None:
    there = what_is_at(folder)
    if there != "folder":
        raise DataError(f"{folder} {f'is a {there}' if there else 'does not exist'}: give the folder of a run")
    if not is_run(folder):
        raise DataError(f"{folder} is no folder of a run: it has neither options.json nor score files")


def _check_output(path: Path, argument: str) -> None:
    """DataError unless there is nothing at `path`, or a report, which is replaced."""
    check_output(path, (".html",), argument)
    if what_is_at(path):
        try:
            with open_plain(path, LARGEST) as file:
                start = file.read(HEAD)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason(error)}") from None
        if MARK.encode() not in start:
            raise DataError(f"{path} exists and is no report of a run: give another --output")
