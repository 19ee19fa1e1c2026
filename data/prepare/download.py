"""Download the videos that label files name, with yt-dlp: python -m data.prepare.download LABELS ... OUT

Whole videos go to OUT/<class>/<youtube id>.<ext>, one file for each id; `convert --labels` cuts the clips out of them.
Of a video's sizes, the largest with a shorter side of up to --max-height is taken, else the smallest; without sound
where possible. To continue after an interruption, or to retry what failed, give the same command again. Videos that
could not be downloaded are listed with the reason in OUT/download_failures.csv. Those that are gone for good (removed,
private, blocked) are retried only with --retry-failed. YouTube changes often: keep yt-dlp up to date, and install a
JavaScript runtime such as deno as its documentation says.
"""

import argparse
import errno
import io
import math
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yt_dlp
from yt_dlp.cookies import YoutubeDLCookieJar

from common.cli import LARGEST, CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import reason as why
from common.files import sync, sync_folder, what_is_at
from common.text import printable
from data.labels.csv_file import read_text
from data.labels.hints import VIDEO_SUFFIXES
from data.labels.label_file import LabelRow, read_labels
from data.prepare.download_places import FAILURES, PARTIAL, downloaded_ids, folder_problem, id_problem, remove_empty
from data.prepare.report import Problem, Report, progress_bar, read_problems, write_problems
from data.prepare.run_lock import only_run
from data.prepare.time_limit import TimeIsUp, time_limit
from data.prepare.worker_pool import Beat, run_jobs
from data.store.video_file import VideoError, check_whole

YOUTUBE = "https://www.youtube.com/watch?v={id}"
DOWNLOADED, UNAVAILABLE, FAILED, UNWRITABLE = "downloaded", "unavailable", "failed", "unwritable"
UNPLACED = "cannot be stored"  # under its class and id; the others can
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)  # no further file can be written either
REFUSED = "the site refuses more: wait some hours, use --cookies, a longer --sleep and fewer --workers"
DISK_ERRORS = re.compile(r"\[Errno (\d+)\] ((No space|Disk quota|Read-only|Permission denied|File too large).*)")

# yt-dlp raises ExtractorError(expected=True) for removed videos and for refused clients alike, so the message has to
# decide. An unknown one counts as failed, not as gone: failures are retried, and end the run after --max-failures.
REFUSALS = re.compile(r"not a bot|rate.?limit|try again later|HTTP Error 429|too many requests|captcha", re.IGNORECASE)
FINAL = re.compile(
    r"private video|video (is private|is not available|unavailable)|no longer available|(video|content) isn't available"
    r"|been (removed|terminated|closed)|removed by|does not exist|copyright|blocked it|members.only|join this channel"
    r"|requires? payment|confirm your age|age.restricted|HTTP Error 4(04|10)|incomplete youtube id|drm protected",
    re.IGNORECASE,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Download as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if "{id}" not in options.url_template:
        raise DataError(f"--url-template {options.url_template}: write {{id}} where the video's id belongs")
    for flag, most in (("sleep", 86_400), ("retries", LARGEST), ("max_failures", LARGEST)):
        if not 0 <= getattr(options, flag) <= most:
            raise DataError(f"--{flag.replace('_', '-')} {getattr(options, flag):g}: give 0 or more, at most {most}")
    refused: list[tuple[str, str]] = []
    first: dict[str, LabelRow] = {}
    for row in [row for path in options.labels for row in read_labels(path, refused)]:
        first.setdefault(row.youtube_id, row)
    report = Report(f"videos in {options.out}")
    report.count(DOWNLOADED, 0)
    with only_run(options.out, command="download"):
        if what_is_at(options.out / PARTIAL) not in ("", "folder") or (options.out / PARTIAL).is_symlink():
            raise DataError(f"{options.out / PARTIAL}: unfinished files go to a folder of this name; move it away")
        rows = tuple(f"{path.name}, line " for path in options.labels)
        listed = [each for each in read_problems(options.out / FAILURES) if not each.item.startswith(rows)]
        failures = {problem.item.rpartition("/")[2]: problem for problem in listed}
        for place, reason in refused:
            report.add(UNPLACED, place, reason)
            failures[place] = report.problems[-1]
        try:
            notes = _download_all(options, first, failures, report)
        finally:
            shutil.rmtree(options.out / PARTIAL, ignore_errors=True)
            write_problems(options.out / FAILURES, failures.values())
    is_printed = report.print(csv_path=options.out / FAILURES)
    for note in notes:
        print(printable(note), file=sys.stderr)
    is_complete = report.counts.total() == report.counts[DOWNLOADED] + report.counts["already there"]
    return 0 if is_complete and is_printed else 1


def _download_all(
    options: argparse.Namespace, videos: dict[str, LabelRow], failures: dict[str, Problem], report: Report
) -> list[str]:
    """Download the videos (by id) that are not there, note them in `failures` and `report`, and return messages."""
    there, empty = downloaded_ids(options.out)
    empty = {youtube_id: empty[youtube_id] for youtube_id in videos if youtube_id in empty}
    folders: dict[str, str] = {}  # of each class: why it can hold no video
    jobs = []
    for youtube_id, row in videos.items():
        known = failures.get(youtube_id)
        if row.label not in folders:
            folders[row.label] = folder_problem(options.out, row.label)
        if youtube_id in there:
            failures.pop(youtube_id, None)
            report.count("already there")
        elif problem := folders[row.label] or id_problem(youtube_id):
            report.add(UNPLACED, f"{row.label}/{youtube_id}", problem)
            failures[youtube_id] = report.problems[-1]
        elif known and known.kind == UNAVAILABLE and not options.retry_failed:
            report.add(*known)
        else:
            jobs.append(row)
    notes = _download_jobs(options, jobs, failures, report, empty)
    if empty:
        place = next(iter(empty.values()))[0]
        notes.append(f"{len(empty)} of the videos were there as empty files, such as {place}: they do not count")
    return notes


def _download_jobs(
    options: argparse.Namespace,
    jobs: list[LabelRow],
    failures: dict[str, Problem],
    report: Report,
    empty: dict[str, list[Path]],
) -> list[str]:
    warnings: Counter[str] = Counter()
    stopped = []
    in_a_row = 0
    outcomes = run_jobs(partial(fetch, options), jobs, min(options.workers, max(1, len(jobs))))
    with progress_bar() as progress, closing(outcomes):
        for number, outcome in enumerate(progress.track(outcomes, len(jobs), description="downloading"), start=1):
            kind, reason, warned = outcome.result or (FAILED, outcome.reason, [])
            if kind == UNWRITABLE:
                report.count("not downloaded", len(jobs) - number + 1)
                stopped = [f"stopped: {options.out} cannot be written ({reason}); give the same command again to go on"]
                break
            warnings.update(warned)
            failures.pop(outcome.job.youtube_id, None)
            if kind == DOWNLOADED:
                report.count(DOWNLOADED)
                remove_empty(empty.get(outcome.job.youtube_id, []))
            else:
                report.add(kind, f"{outcome.job.label}/{outcome.job.youtube_id}", reason)
                failures[outcome.job.youtube_id] = report.problems[-1]
            if number % 100 == 0:
                write_problems(options.out / FAILURES, failures.values())
            in_a_row = in_a_row + 1 if kind == FAILED else 0
            if 0 < options.max_failures <= in_a_row and number < len(jobs):
                report.count("not asked for", len(jobs) - number)
                remedy = REFUSED if REFUSALS.search(reason) else "check the network and update yt-dlp"
                stopped = [f"stopped after {in_a_row} failures in a row, the last: {reason}; {remedy}, then repeat"]
                break
    return [f"yt-dlp warned, {number} times: {warning}" for warning, number in warnings.most_common(5)] + stopped


def fetch(options: argparse.Namespace, job: LabelRow, beat: Beat) -> tuple[str, str, list[str]]:
    """Download a video to OUT/<class>/<youtube id>.<ext>, where it appears once it is whole, or never.

    Returns its outcome (DOWNLOADED, UNAVAILABLE, FAILED, UNPLACED or UNWRITABLE), the reason and yt-dlp's warnings.
    """
    folder = options.out / PARTIAL / job.youtube_id
    warnings: list[str] = []
    pause = options.sleep
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(options.retries + 1):
            for _ in range(steps := math.ceil(pause)):
                beat()
                time.sleep(pause / steps)
            outcome, reason = _try(options, job, folder, warnings, beat)
            if outcome != FAILED or REFUSALS.search(reason):
                break
            pause = min(60.0, 2 * pause)
    except OSError as error:
        outcome, reason = UNWRITABLE, why(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome, reason, [re.sub(r"^\[[\w:]+\] (\S+: )?", "", warning) for warning in warnings]


def _try(options: argparse.Namespace, job: LabelRow, folder: Path, warnings: list[str], beat: Beat) -> tuple[str, str]:
    """Download once, continuing a partial file of the previous try; the outcome and the reason."""
    try:
        # yt-dlp's errors are also raised, so that only its warnings have to be kept.
        logger = type("Logger", (), {"debug": str, "warning": warnings.append, "error": str})()
        parameters = ytdlp_parameters(options, folder) | {"logger": logger, "progress_hooks": [lambda _: beat()]}
        with time_limit(options.video_timeout), yt_dlp.YoutubeDL(parameters) as downloader:
            downloader.extract_info(options.url_template.replace("{id}", quote(job.youtube_id, safe="")))
        files = [path for path in folder.iterdir() if path.suffix not in (".part", ".ytdl")]
        if len(files) != 1 or files[0].suffix.lower() not in VIDEO_SUFFIXES:
            return FAILED, f"not one video came but {', '.join(path.name for path in files) or 'no file'}"
        check_whole(files[0])
    except TimeIsUp:
        return FAILED, f"took longer than {options.video_timeout} s"
    except yt_dlp.utils.YoutubeDLError as error:
        return classify(error)
    except VideoError as error:
        files[0].unlink()
        return FAILED, str(error)
    place = options.out / job.label / f"{job.youtube_id}{files[0].suffix.lower()}"
    sync(files[0])
    try:
        place.parent.mkdir(exist_ok=True)
        files[0].replace(place)
        sync_folder(place.parent)
    except OSError as error:
        if error.errno in FULL:
            raise
        return UNPLACED, f"{place}: {why(error)}"
    return DOWNLOADED, ""


def ytdlp_parameters(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The parameters of YoutubeDL for one video into `folder`."""
    return {
        "match_filter": yt_dlp.utils.match_filter_func("!is_live & live_status!=?is_upcoming"),
        "break_on_reject": True,  # raises RejectedVideoReached
        "format": "bestvideo/best",  # without sound where possible: nothing to merge, and a smaller file
        "format_sort": [f"res:{options.max_height}", "vcodec:h264"],
        "outtmpl": {"default": "%(format_id)s.%(ext)s"},  # a partial file is continued only in the same format
        "paths": {"home": str(folder)},
        "noplaylist": True,
        "playlist_items": "1",
        "ratelimit": options.limit_rate and max(1, options.limit_rate // options.workers),
        "socket_timeout": 30.0,
        "retries": 0,  # `fetch` retries: it also asks for the file's address again, which may have expired
        "extractor_retries": 0,
        "fragment_retries": options.retries,
        "cookiefile": options.cookies and io.StringIO(options.cookies),
        "js_runtimes": {options.js_runtime: {}},
    }


def classify(error: yt_dlp.utils.YoutubeDLError) -> tuple[str, str]:
    """The outcome and the reason for an error of yt-dlp."""
    if isinstance(error, yt_dlp.utils.RejectedVideoReached):
        return UNAVAILABLE, "is a live stream, which has no end"
    cause = error.__context__  # an ExtractorError, whose `orig_msg` has no id and no advice, or what downloading raised
    reason = getattr(cause, "orig_msg", str(error).removeprefix("ERROR: ")).replace("’", "'").strip()
    if disk := DISK_ERRORS.search(reason):
        return UNWRITABLE, why(OSError(int(disk[1]), disk[2]))
    final = isinstance(cause, (yt_dlp.utils.GeoRestrictedError, yt_dlp.utils.UnsupportedError)) or FINAL.search(reason)
    return UNAVAILABLE if final and not REFUSALS.search(reason) else FAILED, reason


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m data.prepare.download", description=__doc__)
    add = parser.add_argument
    add("labels", type=Path, nargs="+", metavar="LABELS", help="label files, made by python -m data.prepare.labels")
    add("out", type=Path, metavar="OUT", help="videos go to OUT/<class>/<youtube id>.<ext>")
    add("--workers", type=positive_integer, default=4, metavar="N", help="videos at a time")
    sleep = "pause of each worker before a video, doubled with each retry"
    add("--sleep", type=float, default=1.0, metavar="SECONDS", help=sleep)
    add("--limit-rate", type=_rate, metavar="BYTES", help="bytes a second of all workers together, such as 500K or 4M")
    add(
        "--cookies", type=_cookies, metavar="FILE", help="a browser's cookies in the Netscape format; it is not changed"
    )
    add("--retries", type=int, default=3, metavar="N", help="for each video")
    add("--retry-failed", action="store_true", help="also retry videos that are gone for good")
    stop = "stop after so many failures in a row that are not the videos' fault; 0: never"
    add("--max-failures", type=int, default=20, metavar="N", help=stop)
    timeout = "end a try that takes longer"
    add("--video-timeout", type=positive_integer, default=3600, metavar="SECONDS", help=timeout)
    add("--max-height", type=positive_integer, default=360, metavar="PIXELS", help="see above")
    add("--url-template", default=YOUTUBE, metavar="URL", help="address of a video")
    engines = ("deno", "node", "bun", "quickjs")
    add("--js-runtime", choices=engines, default="deno", help="it runs yt-dlp's scripts")
    return parser


def _rate(text: str) -> int:
    rate = yt_dlp.utils.parse_bytes(text)
    if not rate:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate such as 500K or 4M")
    return rate


def _cookies(path: str) -> str:
    """The content of a cookies file: yt-dlp writes to a file that it is given."""
    try:
        content = read_text(Path(path))
        YoutubeDLCookieJar(io.StringIO(content)).load()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}; export it in the Netscape format") from None
    return content


if __name__ == "__main__":
    run_command(main)
