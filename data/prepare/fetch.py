"""One video from the web, by yt-dlp: whole and in its place, or a reason why not."""

import errno
import io
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import av
import yt_dlp

from common.files import sync
from data.labels.hints import VIDEO_SUFFIXES
from data.prepare.truncation import missing_bytes

Beat = Callable[[], None]

PARTIAL = ".partial"  # the folder in OUT where unfinished files are
DOWNLOADED, UNAVAILABLE, FAILED, REFUSED, UNWRITABLE = "downloaded", "unavailable", "failed", "refused", "unwritable"
SOCKET_TIMEOUT = 30.0
LONGEST_PAUSE = 60.0

# What a server says to somebody who asks too much. YouTube calls the video "unavailable" in the same breath.
REFUSALS = re.compile(r"not a bot|rate.?limit|try again later|HTTP Error 429|too many requests|captcha", re.IGNORECASE)
# What will be no different tomorrow.
FINAL = re.compile(
    r"private video|video is private|video unavailable|video is not available|no longer available|"
    r"(content|video) isn't available|been removed|removed by|been terminated|been closed|does not exist|copyright|"
    r"blocked it|available in your (country|location)|members.only|join this channel|requires? payment|"
    r"confirm your age|age.restricted|HTTP Error 404|HTTP Error 410|incomplete youtube id|unsupported url|"
    r"drm protected",
    re.IGNORECASE,
)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG)
SITE_AND_ID = re.compile(r"^(ERROR: )?(\[[\w:]+\] (\S+: )?)?")
ADVICE = re.compile(r"(; please report| \(caused by).*", re.DOTALL)  # to those who mend yt-dlp
ERROR_NUMBER = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True)
class FetchSettings:
    """How videos are asked for."""

    out: Path
    url_template: str  # {id} stands for the video's id
    max_height: int  # of the shorter side, in pixels
    limit_rate: int | None  # bytes a second
    sleep: float  # seconds before each request for a video
    cookies: str | None  # the content of a cookies file
    retries: int
    video_timeout: float  # seconds for one video
    js_runtime: str


class FetchJob(NamedTuple):
    """A video to fetch into the folder of a class."""

    label: str
    youtube_id: str


class Fetched(NamedTuple):
    """What became of a video: one of the outcomes above, the reason, and what yt-dlp warned of."""

    outcome: str
    reason: str = ""
    warnings: tuple[str, ...] = ()


def fetch(settings: FetchSettings, job: FetchJob, beat: Beat) -> Fetched:
    """Download a video to OUT/<class>/<youtube id>.<ext>; the file appears there when it is whole, or never."""
    folder = settings.out / PARTIAL / job.youtube_id
    pause = settings.sleep
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(settings.retries + 1):
            _wait(pause, beat)
            fetched = _try(settings, job, folder, beat)
            if fetched.outcome != FAILED:
                return fetched
            pause = min(LONGEST_PAUSE, settings.sleep * 2 ** (attempt + 1))
        return fetched
    except OSError as error:
        return Fetched(UNWRITABLE, error.strerror or str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(settings: FetchSettings, job: FetchJob, folder: Path, beat: Beat) -> Fetched:
    """Ask once; a part that is there from the attempt before is continued."""
    log = _Log()
    deadline = time.monotonic() + settings.video_timeout

    def watch(_: dict[str, Any]) -> None:
        beat()
        if time.monotonic() > deadline:
            raise yt_dlp.utils.DownloadCancelled(f"took longer than {settings.video_timeout:g} s")

    url = settings.url_template.replace("{id}", quote(job.youtube_id, safe=""))
    try:
        with yt_dlp.YoutubeDL(ytdlp_options(settings, folder, log, watch)) as downloader:
            downloader.extract_info(url)
    except yt_dlp.utils.DownloadCancelled as error:
        return Fetched(UNAVAILABLE if isinstance(error, _LiveStream) else FAILED, error.msg, log.warnings())
    except yt_dlp.utils.YoutubeDLError as error:
        return Fetched(*_classify(str(error)), log.warnings())
    return _put_in_place(settings.out / job.label, job.youtube_id, folder)._replace(warnings=log.warnings())


def ytdlp_options(
    settings: FetchSettings, folder: Path, log: "_Log", watch: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The parameters of yt-dlp for one video into `folder`."""
    return {
        "quiet": True,
        "noprogress": True,
        "logger": log,
        "progress_hooks": [watch],
        "match_filter": _refuse_live,
        # The picture alone where the site has it apart from the sound: nothing to merge, and less to load.
        "format": "bestvideo/best",
        "format_sort": [f"res:{settings.max_height}", "vcodec:h264"],
        "outtmpl": {"default": "%(format_id)s.%(ext)s"},  # a part is continued by the same format alone
        "paths": {"home": str(folder)},
        "noplaylist": True,
        "playlist_items": "1",
        "ratelimit": settings.limit_rate,
        "socket_timeout": SOCKET_TIMEOUT,
        "retries": 0,  # `fetch` tries again, with fresh addresses
        "extractor_retries": 0,
        "fragment_retries": settings.retries,
        "cookiefile": None if settings.cookies is None else io.StringIO(settings.cookies),
        "js_runtimes": {settings.js_runtime: {}},
    }


class _Log:
    """Keeps what yt-dlp says off the screen."""

    def __init__(self) -> None:
        self._warnings: list[str] = []

    def debug(self, message: str) -> None:
        """Drop it."""

    def warning(self, message: str) -> None:
        """Keep it, without the site and the id in front, so that the same ones of many videos are one."""
        self._warnings.append(SITE_AND_ID.sub("", message))

    def error(self, message: str) -> None:
        """Drop it: it comes as an exception too."""

    def warnings(self) -> tuple[str, ...]:
        """What was warned of."""
        return tuple(self._warnings)


class _LiveStream(yt_dlp.utils.DownloadCancelled):
    msg = "is a live stream, which has no end"  # yt-dlp raises a new exception of the class, without arguments


def _refuse_live(info: dict[str, Any], *, incomplete: bool) -> str | None:
    if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
        raise _LiveStream
    return None


def _classify(message: str) -> tuple[str, str]:
    """Outcome and reason for an error of yt-dlp."""
    reason = ADVICE.sub("", SITE_AND_ID.sub("", message.replace("’", "'"))).strip()
    number = ERROR_NUMBER.search(reason)
    if number and int(number[1]) in DISK_ERRORS:
        return UNWRITABLE, os.strerror(int(number[1]))
    if REFUSALS.search(reason):
        return REFUSED, reason
    return UNAVAILABLE if FINAL.search(reason) else FAILED, reason


def _put_in_place(class_folder: Path, youtube_id: str, folder: Path) -> Fetched:
    """Move the one file in `folder` to its class if it is a whole video."""
    files = [path for path in folder.iterdir() if path.suffix not in (".part", ".ytdl")]
    if len(files) != 1:
        return Fetched(FAILED, f"yt-dlp left {len(files)} files where one was expected")
    problem = _problem(files[0])
    if problem:
        files[0].unlink()
        return Fetched(FAILED, problem)
    class_folder.mkdir(exist_ok=True)
    sync(files[0])
    files[0].replace(class_folder / f"{youtube_id}{files[0].suffix.lower()}")
    sync(class_folder)
    return Fetched(DOWNLOADED)


def _problem(path: Path) -> str:
    """What keeps a downloaded file from being a whole video, or nothing."""
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        return f"came as {path.suffix or 'a file without suffix'}, which is no known kind of video"
    missing = missing_bytes(path)
    if missing:
        return f"cut short: {missing} bytes are missing at its end"
    try:
        with av.open(str(path.absolute()), metadata_errors="ignore") as container:
            return "" if container.streams.video else "has no video stream"
    except (av.FFmpegError, ValueError) as error:
        return f"cannot be opened as a video ({error})"


def _wait(seconds: float, beat: Beat) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        beat()
        time.sleep(min(left, 0.5))
