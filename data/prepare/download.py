"""Download the videos that label files name, by yt-dlp: python -m data.prepare.download LABELS ... OUT

Whole videos go to OUT/<class>/<youtube id>.<ext>, one file for each id: `convert --labels` cuts the clips out of them.
Of the sizes that a video has, the largest with a shorter side of up to --max-height is taken, else the smallest; the
picture alone, without sound, where there is a choice. Give the same command again to go on after an interruption, and
to ask again for what failed. What cannot be had is listed with the reason in OUT/download_failures.csv; what is gone
for good (removed, private, blocked) is asked for again with --retry-failed only. YouTube changes often: keep yt-dlp
new, and install a JavaScript runtime such as deno as its documentation says.
"""

import argparse
import io
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from http.cookiejar import LoadError
from pathlib import Path

from yt_dlp.cookies import YoutubeDLCookieJar

from common.cli import CommandParser, run_command
from common.errors import DataError
from data.labels.csv_file import read_table
from data.labels.hints import VIDEO_SUFFIXES
from data.labels.label_file import LabelRow, read_labels
from data.prepare.fetch import (
    DOWNLOADED,
    FAILED,
    PARTIAL,
    REFUSED,
    UNAVAILABLE,
    UNWRITABLE,
    Fetched,
    FetchJob,
    FetchSettings,
    fetch,
)
from data.prepare.report import Problem, Report, progress_bar
from data.prepare.run_lock import only_run
from data.prepare.worker_pool import run_jobs

FAILURES = "download_failures.csv"
SAVE_EVERY = 100  # videos
JS_RUNTIMES = ("deno", "node", "bun", "quickjs")
YOUTUBE = "https://www.youtube.com/watch?v={id}"
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Downloads:
    """What is in OUT, what could not be had, and the report on this run."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.report = Report(f"videos in {out}")
        self.there = {
            path.name.removesuffix(path.suffix)
            for path in out.glob("[!.]*/*")
            if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
        }
        self.failures = self._read_failures()

    def choose(self, rows: Sequence[LabelRow], retry_failed: bool) -> list[FetchJob]:
        """Note what is there or known to be gone; return the rest, each id under the class that names it first."""
        first: dict[str, str] = {}
        for row in rows:
            first.setdefault(row.youtube_id, row.label)
        jobs = []
        self.report.count(DOWNLOADED, 0)
        for youtube_id, label in first.items():
            known = self.failures.get(youtube_id)
            if youtube_id in self.there:
                self.failures.pop(youtube_id, None)
                self.report.count("already there")
            elif known and known.kind == UNAVAILABLE and not retry_failed:
                self.report.add(*known)
            else:
                jobs.append(FetchJob(label, youtube_id))
        return jobs

    def note(self, job: FetchJob, kind: str, reason: str) -> None:
        """Note what became of a job."""
        self.failures.pop(job.youtube_id, None)
        if kind == DOWNLOADED:
            self.report.count(DOWNLOADED)
        else:
            self.report.add(kind, f"{job.label}/{job.youtube_id}", reason)
            self.failures[job.youtube_id] = self.report.problems[-1]

    def save_failures(self) -> None:
        """Write the list of what could not be had, also of earlier runs with other label files."""
        listing = Report("failures")
        listing.problems = list(self.failures.values())
        try:
            listing.write_csv(self.out / FAILURES)
        except OSError as error:
            raise DataError(f"cannot write to {self.out}: {error.strerror or error}") from error

    def _read_failures(self) -> dict[str, Problem]:
        path = self.out / FAILURES
        if not path.exists():
            return {}
        columns, lines = read_table(path)
        if columns != list(Problem._fields):
            raise DataError(f"{path} is not what this command writes: its header is {','.join(columns)}; move it away")
        problems = [Problem(*fields) for _, fields in lines]
        return {problem.item.rpartition("/")[2]: problem for problem in problems}


def main(arguments: Sequence[str] | None = None) -> int:
    """Download as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    settings = _settings(options)
    rows = [row for path in options.labels for row in read_labels(path)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with only_run(options.out, command="download"):
        downloads = Downloads(options.out)
        jobs = downloads.choose(rows, options.retry_failed)
        try:
            stopped, warnings = _download(downloads, settings, jobs, options.workers, options.max_failures)
        finally:
            shutil.rmtree(options.out / PARTIAL, ignore_errors=True)
            downloads.save_failures()
    downloads.report.print(csv_path=options.out / FAILURES)
    for warning, number in warnings.most_common(5):
        print(f"yt-dlp warned, {number} times: {warning}", file=sys.stderr)
    if stopped:
        print(stopped, file=sys.stderr)
    counts = downloads.report.counts
    return 1 if counts.total() > counts[DOWNLOADED] + counts["already there"] else 0


def _download(
    downloads: Downloads, settings: FetchSettings, jobs: list[FetchJob], workers: int, max_failures: int
) -> tuple[str, Counter[str]]:
    """Fetch the jobs; return why it stopped before the end, if it did, and the warnings of yt-dlp."""
    warnings: Counter[str] = Counter()
    in_a_row = 0
    outcomes = run_jobs(partial(fetch, settings), jobs, min(workers, max(1, len(jobs))))
    with progress_bar() as progress, closing(outcomes):
        task = progress.add_task("downloading", total=len(jobs))
        for number, outcome in enumerate(outcomes, start=1):
            fetched = outcome.result or Fetched(FAILED, outcome.reason)
            if fetched.outcome == UNWRITABLE:
                raise DataError(f"cannot write to {downloads.out}: {fetched.reason}")
            downloads.note(outcome.job, FAILED if fetched.outcome == REFUSED else fetched.outcome, fetched.reason)
            warnings.update(fetched.warnings)
            progress.advance(task)
            if number % SAVE_EVERY == 0:
                downloads.save_failures()
            in_a_row = in_a_row + 1 if fetched.outcome in (FAILED, REFUSED) else 0
            if 0 < max_failures <= in_a_row and number < len(jobs):
                downloads.report.count("not asked for", len(jobs) - number)
                return _explain_stop(max_failures, fetched), warnings
    return "", warnings


def _explain_stop(failures: int, last: Fetched) -> str:
    if last.outcome == REFUSED:
        remedy = "The site refuses more: wait some hours, use --cookies, a longer --sleep and fewer --workers"
    else:
        remedy = "See that the network is up and yt-dlp new enough"
    return f"stopped after {failures} failures in a row, the last: {last.reason}. {remedy}; then run it again."


def _settings(options: argparse.Namespace) -> FetchSettings:
    """Check what the parser cannot; DataError."""
    if "{id}" not in options.url_template:
        raise DataError(f"--url-template {options.url_template}: write {{id}} where the video's id belongs")
    cookies = None
    if options.cookies:
        try:
            cookies = options.cookies.read_text(encoding="utf-8")
            YoutubeDLCookieJar(io.StringIO(cookies)).load()
        except (OSError, UnicodeDecodeError, LoadError) as error:
            raise DataError(f"--cookies {options.cookies}: {error}; export it in the Netscape format") from error
    return FetchSettings(
        out=options.out,
        url_template=options.url_template,
        max_height=options.max_height,
        limit_rate=None if options.limit_rate is None else max(1, options.limit_rate // options.workers),
        sleep=options.sleep,
        cookies=cookies,
        retries=options.retries,
        video_timeout=options.video_timeout,
        js_runtime=options.js_runtime,
    )


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("labels", type=Path, nargs="+", metavar="LABELS", help="label files (python -m data.prepare.labels makes them)")
    add("out", type=Path, metavar="OUT", help="videos go to OUT/<class>/<youtube id>.<ext>")
    add("--workers", type=_positive, default=4, metavar="N", help="videos at a time (default %(default)s)")
    add(
        "--sleep",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="pause of each worker before a video, doubled with each retry (default %(default)g)",
    )
    add("--limit-rate", type=_rate, metavar="BYTES", help="bytes a second of all workers together, such as 500K or 4M")
    add("--cookies", type=Path, metavar="FILE", help="a browser's cookies in the Netscape format; it is not changed")
    add("--retries", type=_count, default=3, metavar="N", help="for each video (default %(default)s)")
    add("--retry-failed", action="store_true", help="ask again for videos known to be gone for good, too")
    add(
        "--max-failures",
        type=_count,
        default=20,
        metavar="N",
        help="stop after so many failures in a row that are no fault of the videos; 0 never (default %(default)s)",
    )
    add(
        "--video-timeout",
        type=_positive,
        default=3600,
        metavar="SECONDS",
        help="give up a video after so long (default %(default)s)",
    )
    add("--max-height", type=_positive, default=360, metavar="PIXELS", help="see above (default %(default)s)")
    add("--url-template", default=YOUTUBE, metavar="URL", help="address of a video (default %(default)s)")
    add("--js-runtime", choices=JS_RUNTIMES, default="deno", help="what yt-dlp runs scripts with (default %(default)s)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d*)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return float(text)


def _rate(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d*)?)([KMG]?)", text.upper())
    if not match or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no rate such as 500K or 4M")
    return int(float(match[1]) * UNITS[match[2]])


if __name__ == "__main__":
    run_command(main)
