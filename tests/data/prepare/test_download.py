import csv
import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yt_dlp

from common.errors import DataError
from data.labels.label_file import LabelRow
from data.prepare import download
from data.prepare.download import (
    DOWNLOADED,
    FAILED,
    UNAVAILABLE,
    UNPLACED,
    UNWRITABLE,
    fetch,
    main,
    ytdlp_parameters,
)
from data.prepare.run_lock import only_run
from tests.data.prepare.video_server import serving
from tests.numbered import encode_video

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "data.prepare.download"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The bytes of an MP4 file (half a megabyte) with its index in front, so that a half of it opens as a video."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    frames = np.random.default_rng(0).integers(256, size=(12, 144, 192, 3), dtype=np.uint8)
    return encode_video(path, frames, container_options={"movflags": "faststart"}).read_bytes()


@pytest.fixture
def server(video):
    with serving(video) as server:
        yield server


def options_for(server, out, *flags):
    arguments = ["labels.csv", str(out), "--url-template", server.url_template, "--sleep", "0", "--retries", "1"]
    return download._parser().parse_args([*arguments, *flags])


def fetch_one(server, out, youtube_id, *flags):
    """The outcome, the reason and the warnings of one video."""
    return fetch(options_for(server, out, *flags), job_for(youtube_id), lambda: None)


def job_for(youtube_id):
    return LabelRow("a class", youtube_id, "train", youtube_id, None, None, line=2)


def files_in(folder):
    """All files under a folder but the lock."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def write_labels(path, rows, header="label,youtube_id,time_start,time_end,split"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def read_failures(out):
    with (out / "download_failures.csv").open(newline="") as file:
        return {row["item"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("youtube_id", ["plain", "-dash", "--url", "a#b?c&d", "flaky", "cutonce"])
def test_a_video_arrives_whole_under_its_class(server, video, tmp_path, youtube_id):
    """Also when its id looks like a flag, and when it takes a second try."""
    assert fetch_one(server, tmp_path, youtube_id) == (DOWNLOADED, "", [])
    assert files_in(tmp_path) == {f"a class/{youtube_id}.mp4"}
    assert (tmp_path / "a class" / f"{youtube_id}.mp4").read_bytes() == video


@pytest.mark.parametrize(
    ("youtube_id", "outcome", "reason"),
    [
        ("gone", UNAVAILABLE, "HTTP Error 404: Not Found"),
        ("busy", FAILED, "HTTP Error 429"),
        ("cut", FAILED, "bytes"),
        ("nolength", FAILED, "bytes are missing at its end"),
        ("page", UNAVAILABLE, "Unsupported URL"),
        ("notvideo", FAILED, "cannot be opened as a video"),
    ],
)
def test_what_is_no_whole_video_leaves_nothing_but_a_reason(server, tmp_path, youtube_id, outcome, reason):
    """A part taken for whole would be cut into clips that lack their end, or fail hours later."""
    got, why, _ = fetch_one(server, tmp_path, youtube_id)
    assert got == outcome
    assert reason in why
    assert "\n" not in why
    assert files_in(tmp_path) == set()


def test_retries_are_counted(server, tmp_path):
    """Nothing is asked for again and again; what is gone or refused not even a second time."""
    for retries in (0, 2):
        server.requests.clear()
        for youtube_id in ("cut", "gone", "busy"):
            fetch_one(server, tmp_path, youtube_id, "--retries", str(retries))
        # Finding out what an address leads to is a request, and the video itself another.
        assert server.requests == {"cut": 2 * (retries + 1), "gone": 1, "busy": 1}


@pytest.mark.parametrize("youtube_id", ["slow", "drip", "drippage", "driphead"])
def test_a_video_that_takes_too_long_is_given_up(server, tmp_path, youtube_id):
    """A server that sends a byte now and then must not hold a worker for ever, whatever it sends so slowly."""
    began = time.monotonic()
    flags = ("--retries", "0", "--video-timeout", "1")
    handler = signal.getsignal(signal.SIGUSR1)
    outcome, reason, _ = fetch_one(server, tmp_path, youtube_id, *flags)
    assert 1 <= time.monotonic() - began < 60  # the bytes would take minutes
    assert outcome == FAILED
    assert "1 s" in reason
    assert files_in(tmp_path) == set()
    assert signal.getsignal(signal.SIGUSR1) == handler


def test_a_pause_is_kept_before_each_video(server, tmp_path):
    """Sites bar those who ask too fast."""
    for youtube_id in ("v1", "v2"):
        fetch_one(server, tmp_path, youtube_id, "--sleep", "0.3")
    assert server.times["v2"] - server.times["v1"] >= 0.3


def test_the_worker_shows_that_it_lives_while_it_waits_and_loads(server, tmp_path):
    """The pool kills workers that it does not hear of."""
    beats = []
    fetch(options_for(server, tmp_path, "--sleep", "0.05"), job_for("v"), lambda: beats.append(time.monotonic()))
    assert len(beats) >= 2


COOKIES = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4000000000\tsession\tsecret\n"


def test_cookies_are_sent_and_their_file_is_left_alone(server, tmp_path):
    """Workers that write the file back, as yt-dlp does, would destroy each other's copy."""
    file = tmp_path / "cookies.txt"
    file.write_text(COOKIES)
    labels = write_labels(tmp_path / "labels.csv", ["c,v1,,,"])
    arguments = [str(labels), str(tmp_path / "out"), "--url-template", server.url_template, "--sleep", "0"]
    before = file.stat().st_mtime_ns
    assert main([*arguments, "--cookies", str(file)]) == 0
    assert server.cookies == {"session=secret"}
    assert (file.read_text(), file.stat().st_mtime_ns) == (COOKIES, before)


@pytest.mark.parametrize(
    ("max_height", "chosen"), [(360, "video-360"), (500, "video-360"), (720, "video-720"), (100, "video-240")]
)
def test_the_largest_format_up_to_the_height_is_taken_without_sound(server, tmp_path, max_height, chosen):
    """The sound is of no use, and merging the two would need an ffmpeg that is not there."""
    pictures = [
        {"format_id": f"video-{height}", "height": height, "width": height * 16 // 9, "vcodec": codec, "acodec": "none"}
        for height, codec in ((240, "avc1"), (360, "avc1"), (720, "avc1"), (1080, "vp9"))
    ]
    vp9 = {"format_id": "vp9-360", "height": 360, "width": 640, "vcodec": "vp9", "acodec": "none"}
    both = {"format_id": "both-360", "height": 360, "width": 640, "vcodec": "avc1", "acodec": "mp4a"}
    sound = {"format_id": "sound", "vcodec": "none", "acodec": "mp4a"}
    formats = [one | {"url": "http://127.0.0.1/x", "ext": "mp4"} for one in [sound, both, vp9, *pictures]]
    parameters = ytdlp_parameters(options_for(server, tmp_path, "--max-height", str(max_height)), tmp_path)
    info = {"id": "x", "title": "x", "formats": formats, "extractor": "x", "extractor_key": "x", "webpage_url": "x"}
    with yt_dlp.YoutubeDL(parameters | {"quiet": True}) as downloader:
        assert downloader.process_ie_result(info, download=False)["format_id"] == chosen


class Extractor(yt_dlp.extractor.common.InfoExtractor):
    """Raises `error`, or else returns `info`, as yt-dlp's extractor of a site would."""

    IE_NAME = "site"
    _VALID_URL = r"site:.*"
    error: Exception | None = None
    info: dict = {}

    def _real_extract(self, url):
        if self.error:
            raise self.error
        return self.info | {"id": "abcdefghijk", "title": "x", "ext": "mp4"}


@pytest.fixture
def site(monkeypatch):
    """An extractor that yt-dlp asks first."""
    monkeypatch.setattr(Extractor, "error", None)
    monkeypatch.setattr(Extractor, "info", {})
    start = yt_dlp.YoutubeDL.__init__

    def with_extractor(self, *arguments, **keywords):
        start(self, *arguments, **keywords, auto_init=False)
        self.add_info_extractor(Extractor())

    monkeypatch.setattr(yt_dlp.YoutubeDL, "__init__", with_extractor)
    return Extractor


@pytest.mark.parametrize("state", [{"is_live": True}, {"live_status": "is_live"}, {"live_status": "is_upcoming"}])
def test_a_live_stream_is_refused(server, site, tmp_path, state):
    """It has no end, and would be recorded until the disk is full."""
    site.info = {"url": server.url_template.format(id="v1")} | state
    outcome, reason, _ = fetch_one(server, tmp_path, "x", "--url-template", "site:{id}")
    assert outcome == UNAVAILABLE
    assert "live stream" in reason
    assert not server.requests


@pytest.mark.parametrize("state", [{}, {"is_live": False}, {"live_status": "was_live"}, {"live_status": "not_live"}])
def test_a_video_that_is_not_live_is_downloaded(server, site, tmp_path, state):
    """Recordings of live streams have an end."""
    site.info = {"url": server.url_template.format(id="v1")} | state
    assert fetch_one(server, tmp_path, "x", "--url-template", "site:{id}")[0] == DOWNLOADED


def no_space():
    return yt_dlp.utils.UnavailableVideoError(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def expected(message):
    """What the extractors raise for whatever a site answers instead of a video."""
    return yt_dlp.utils.ExtractorError(message, expected=True, video_id="abcdefghijk")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (expected("Private video. Sign in if you've been granted access to this video"), UNAVAILABLE),
        (expected("Video unavailable. This video has been removed by the uploader"), UNAVAILABLE),
        (expected("Video unavailable. This content isn’t available"), UNAVAILABLE),
        (
            expected("This video is no longer available because the YouTube account has been terminated"),
            UNAVAILABLE,
        ),
        (expected("Sign in to confirm your age. This video may be inappropriate for some users."), UNAVAILABLE),
        (expected("This video is only available to members-only subscribers"), UNAVAILABLE),
        (yt_dlp.utils.GeoRestrictedError("Not made available in your country", countries=["DE"]), UNAVAILABLE),
        (yt_dlp.utils.UnsupportedError("http://x"), UNAVAILABLE),
        (expected("Sign in to confirm you’re not a bot. Use --cookies for the authentication."), FAILED),
        (
            expected(
                "Video unavailable. This content isn't available, try again later. The session has been rate-limited"
            ),
            FAILED,
        ),
        (expected("Unable to download API page: HTTP Error 429: Too Many Requests"), FAILED),
        (expected("The page needs to be reloaded."), FAILED),
        (expected("words that YouTube has never used before"), FAILED),
        (expected("Requested format is not available. Use --list-formats for a list"), FAILED),
        (yt_dlp.utils.ExtractorError("Unable to extract player; a bug of yt-dlp"), FAILED),
        (
            yt_dlp.utils.ExtractorError("HTTP Error 503: Service Unavailable", cause=ConnectionError("reset by peer")),
            FAILED,
        ),
        (yt_dlp.utils.ExtractorError("<urlopen error [Errno 111] Connection refused>"), FAILED),
        (no_space(), UNWRITABLE),
    ],
    ids=str,
)
def test_what_is_gone_for_good_is_told_from_what_may_come(server, site, tmp_path, error, outcome):
    """Else removed videos are asked for at each run, or a bad hour of the network loses videos for ever."""
    site.error = error
    got, reason, _ = fetch_one(server, tmp_path, "x", "--url-template", "site:{id}", "--retries", "0")
    assert got == outcome
    for noise in ("please report", "caused by", "abcdefghijk", "[site]", "ERROR", "VPN"):
        assert noise not in reason


def test_warnings_are_kept_without_the_video_that_they_are_about(server, site, tmp_path, monkeypatch):
    """A missing JavaScript runtime is one problem, not one for each of 100,000 videos."""

    def extract(self, url):
        self.report_warning("No supported JavaScript runtime", video_id="abcdefghijk")
        raise expected("Private video")

    monkeypatch.setattr(site, "_real_extract", extract)
    _, _, warnings = fetch_one(server, tmp_path, "x", "--url-template", "site:{id}")
    assert warnings == ["No supported JavaScript runtime"]


@pytest.fixture(scope="module")
def finished_run(video, tmp_path_factory):
    """The command on a mixture of videos, thrice: (out, the first run, the requests of each, the first failures)."""
    folder = tmp_path_factory.mktemp("run")
    rows = [
        "swim,v1,0,10,train",
        "run,v1,20,30,train",
        "run,-v2,5.5,9,train",
        "run,gone,1,2,train",
        "run,cut,1,2,train",
    ]
    labels = write_labels(folder / "labels.csv", rows)
    more = write_labels(folder / "more.csv", ["fly away,v3", "swim,v1"], header="label,id")
    out = folder / "out"
    requests = []
    with serving(video) as server:
        arguments = [str(labels), str(more), str(out), "--url-template", server.url_template, "--sleep", "0"]
        arguments += ["--retries", "0", "--workers"]
        run = subprocess.run([*COMMAND, *arguments, "2"], cwd=ROOT, capture_output=True, text=True)
        requests.append(dict(server.requests))
        failures = read_failures(out)
        server.mended = True
        for extra in ([], ["--retry-failed"]):
            server.requests.clear()
            assert main([*arguments, "1", *extra]) == 1
            requests.append(dict(server.requests))
    return out, run, requests, failures


def test_one_file_for_each_id_under_its_first_class(finished_run, video):
    """`convert` finds a whole video by its id, for all clips of all classes; two copies would be one too many."""
    out, *_ = finished_run
    there = {"swim/v1.mp4", "run/-v2.mp4", "fly away/v3.mp4", "run/cut.mp4", "download_failures.csv"}
    assert files_in(out) == there
    assert all((out / name).read_bytes() == video for name in there if name.endswith(".mp4"))


def test_failures_are_listed_and_decide_the_exit_status(finished_run):
    """A script must be able to tell that something is missing, and a person what and why."""
    _, run, _, failures = finished_run
    assert run.returncode == 1
    assert failures["run/gone"] == ("unavailable", "Unable to download webpage: HTTP Error 404: Not Found")
    assert failures["run/cut"][0] == "failed"
    assert len(failures) == 2
    for text in ("downloaded", "unavailable", "run/gone", "download_failures.csv"):
        assert text in run.stdout
    assert "Traceback" not in run.stderr
    assert "ERROR" not in run.stderr


def test_a_further_run_asks_only_for_what_may_come(finished_run):
    """What is there is not asked for; what is gone only if the user insists."""
    _, _, requests, _ = finished_run
    assert set(requests[0]) == {"v1", "-v2", "gone", "cut", "v3"}
    assert set(requests[1]) == {"cut"}
    assert set(requests[2]) == {"gone"}


def test_failures_of_other_label_files_stay_listed_until_they_are_had(server, tmp_path):
    """Train and validation labels are downloaded one after the other into one folder."""
    train = write_labels(tmp_path / "train.csv", ["a,gone1,,,", "a,cut1,,,"])
    val = write_labels(tmp_path / "val.csv", ["a,gone2,,,"])
    out = tmp_path / "out"
    flags = ["--url-template", server.url_template, "--sleep", "0", "--retries", "0", "--workers", "1"]
    for labels in (train, val):
        assert main([str(labels), str(out), *flags]) == 1
    assert set(read_failures(out)) == {"a/gone1", "a/cut1", "a/gone2"}
    server.mended = True
    again = write_labels(tmp_path / "again.csv", ["b,cut1,,,"])
    assert main([str(again), str(out), *flags]) == 0
    assert set(read_failures(out)) == {"a/gone1", "a/gone2"}


def test_a_site_that_refuses_is_left_in_peace(server, tmp_path, capsys):
    """Going on would make the ban longer; and the videos not asked for must not count as gone."""
    labels = write_labels(tmp_path / "labels.csv", [f"a,busy{number},,," for number in range(50)])
    arguments = ["--url-template", server.url_template, "--sleep", "0", "--workers", "1", "--max-failures", "3"]
    assert main([str(labels), str(tmp_path / "out"), *arguments]) == 1
    assert sum(server.requests.values()) <= 4
    shown = capsys.readouterr()
    assert "not asked for │     47" in shown.out
    for fact in ("3 failures", "HTTP Error 429", "--cookies", "--sleep", "--workers"):
        assert fact in shown.err
    assert {kind for kind, _ in read_failures(tmp_path / "out").values()} == {"failed"}


def process_tree(pid):
    """The processes that a process started, and those they started, as Linux lists them."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return children + [deeper for child in children for deeper in process_tree(child)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_run_leaves_no_process_and_no_part_of_a_video(server, video, tmp_path, number, status):
    """The next run takes up where it stopped; what was half there comes anew."""
    labels = write_labels(tmp_path / "labels.csv", ["a,v1,,,", "a,slow1,,,", "a,slow2,,,"])
    out = tmp_path / "out"
    arguments = [str(labels), str(out), "--url-template", server.url_template, "--sleep", "0", "--workers", "2"]
    command = subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while len(list(out.glob(".download_partial/slow*/*.part"))) < 2:
            assert command.poll() is None
            time.sleep(0.02)
        processes = process_tree(command.pid)
        assert len(processes) >= 2
        os.kill(command.pid, number)
        _, errors = command.communicate()
    finally:
        command.kill()
    assert command.returncode == status
    assert b"Traceback" not in errors
    while any(alive(process) for process in processes):
        time.sleep(0.02)
    assert {name for name in files_in(out) if name.endswith(".mp4")} == {"a/v1.mp4"}
    assert number == signal.SIGKILL or not (out / ".download_partial").exists()
    if number != signal.SIGKILL:
        return  # nothing is left that could trouble the next run
    server.release.set()
    server.requests.clear()
    assert main([*arguments, "--workers", "1"]) == 0
    assert files_in(out) == {"a/v1.mp4", "a/slow1.mp4", "a/slow2.mp4", "download_failures.csv"}
    assert all((out / "a" / f"{name}.mp4").read_bytes() == video for name in ("v1", "slow1", "slow2"))
    assert "v1" not in server.requests


def test_a_disk_that_takes_no_more_stops_the_run(server, video, tmp_path):
    """Each further video would fail in the same way, and be listed as if it could not be had."""
    labels = write_labels(tmp_path / "labels.csv", [f"a,v{number},,," for number in range(50)])
    arguments = [str(labels), str(tmp_path / "out"), "--url-template", server.url_template, "--sleep", "0"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(video) // 2, len(video) // 2))

    command = [*COMMAND, *arguments, "--workers", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit)
    assert run.returncode == 1
    (line,) = [line for line in run.stderr.splitlines() if str(tmp_path / "out") in line]
    assert "stopped" in line and "ulimit -f" in line and "same command" in line
    assert "not downloaded" in run.stdout and "50" in run.stdout
    assert "Traceback" not in run.stderr
    assert sum(server.requests.values()) <= 6
    assert not [name for name in files_in(tmp_path / "out") if "v" in Path(name).stem.removeprefix("download")]


def test_two_runs_in_one_folder_do_not_meet(tmp_path):
    """Each would remove the other's parts."""
    labels = write_labels(tmp_path / "labels.csv", ["a,v1,,,"])
    with (
        only_run(tmp_path / "out", command="download"),
        pytest.raises(DataError, match=f"{tmp_path / 'out'}.*another download"),
    ):
        main([str(labels), str(tmp_path / "out")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url-template", "http://127.0.0.1/"], "--url-template http://127.0.0.1/: .*{id}"),
        (["--cookies", "/no/such/file"], "--cookies: /no/such/file: .*No such file"),
        (["--cookies", __file__], "--cookies: .*Netscape"),
        (["--workers", "0"], "--workers: '0'"),
        (["--limit-rate", "fast"], "--limit-rate: 'fast'.*500K"),
        (["--limit-rate", "0"], "--limit-rate: '0'"),
        (["--sleep", "-1"], "--sleep -1"),
        (["--sleep", "nan"], "--sleep: 'nan'"),
        (["--sleep", "1e9"], "--sleep 1e.09"),
        (["--video-timeout", "9" * 30], "--video-timeout: '9{30}'"),
        (["--sleep", "long"], "--sleep: .*'long'"),
        (["--retries", "-1"], "--retries -1"),
        (["--retries", "1.5"], "--retries: .*'1.5'"),
        (["--max-failures", "-1"], "--max-failures -1"),
    ],
)
def test_wrong_flags_are_named_before_anything_is_asked_for(tmp_path, capsys, arguments, message):
    """A mistake is one line, and no folder is made."""
    labels = write_labels(tmp_path / "labels.csv", ["a,v1,,,"])
    with pytest.raises((DataError, SystemExit)) as error:
        main([str(labels), str(tmp_path / "out"), *arguments])
    text = str(error.value) if isinstance(error.value, DataError) else capsys.readouterr().err
    assert re.search(message, text)
    assert not (tmp_path / "out").exists()


def test_the_rate_is_shared_by_the_workers(server, tmp_path):
    """A limit for each worker would be as many times too much as there are workers."""
    for flags, rate in ((["--limit-rate", "4M", "--workers", "8"], 2**19), (["--limit-rate", "1K"], 256), ([], None)):
        assert ytdlp_parameters(options_for(server, tmp_path, *flags), tmp_path)["ratelimit"] == rate


def test_an_out_that_cannot_be_made_and_a_foreign_list_are_named(tmp_path):
    """No traceback for a wrong path or file."""
    labels = write_labels(tmp_path / "labels.csv", ["a,v1,,,"])
    with pytest.raises(DataError, match=r"labels\.csv/out.*Not a directory"):
        main([str(labels), str(labels / "out")])
    (tmp_path / "download_failures.csv").write_text("id,why\nx,y\n")
    with pytest.raises(DataError, match=r"download_failures\.csv.*id,why"):
        main([str(labels), str(tmp_path)])


def run_on(server, out, labels, *flags):
    flags = ("--url-template", server.url_template, "--sleep", "0", "--retries", "0", "--workers", "1", *flags)
    return main([str(labels), str(out), *flags])


def test_names_that_can_be_no_file_are_their_own_problem(server, tmp_path):
    """One bad name must not cost the other videos, nor be fetched and thrown away at each start."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "file").write_text("mine")
    (out / "link").symlink_to("nowhere")
    (out / "circle").symlink_to("circle")
    (out / "notes").symlink_to("file/inside")  # of no class
    classes = [
        ".",
        "..",
        "a/b",
        "L" * 300,
        ".partial",
        ".download_partial",
        "file",
        "link",
        "circle",
        ".download.lock",
        "download_failures.csv",
    ]
    ids = ["..", "a/..", "i" * 251, "i" * 300]
    rows = [f"{label},v{number}" for number, label in enumerate(classes)] + [f"c,{each}" for each in ids]
    labels = write_labels(tmp_path / "labels.csv", [*rows, "c,good"], header="label,id")
    assert run_on(server, out, labels) == 1
    assert set(server.requests) == {"good"}
    assert files_in(out) == {"c/good.mp4", "file", "download_failures.csv"}
    assert (out / "file").read_text() == "mine" and not (tmp_path / "out" / "nowhere").exists()
    problems = read_failures(out)
    assert len(problems) == len(rows)
    assert all(kind == "cannot be stored" and len(reason) < 400 for kind, reason in problems.values())
    write_labels(labels, ["c,good"], header="label,id")
    assert run_on(server, out, labels) == 0
    assert not [item for item in read_failures(out) if item.startswith("labels.csv")]


def test_a_class_folder_that_closes_meanwhile_is_its_own_problem(server, tmp_path):
    """A video that cannot be put in its place is no reason to stop the others."""
    (tmp_path / "a class").write_text("mine")
    outcome, reason, _ = fetch_one(server, tmp_path, "v1")
    assert outcome == UNPLACED
    assert str(tmp_path / "a class") in reason
    assert files_in(tmp_path) == {"a class"}


def test_names_that_begin_with_a_dot_are_fetched_once(server, tmp_path):
    """They are hidden, and were fetched again at each start."""
    labels = write_labels(tmp_path / "labels.csv", [".hidden,v1", "c,.v2", ".d,..v3"], header="label,id")
    for asked in ({"v1", ".v2", "..v3"}, set()):
        server.requests.clear()
        assert run_on(server, tmp_path, labels) == 0
        assert set(server.requests) == asked


def test_a_folder_of_parts_that_is_none_is_named(server, tmp_path):
    """Through a link, the parts would be written to, and removed from, another folder."""
    labels = write_labels(tmp_path / "labels.csv", ["c,v1"], header="label,id")
    (tmp_path / "elsewhere").mkdir()
    for make in (lambda place: place.symlink_to("../elsewhere"), lambda place: place.write_text("mine")):
        (tmp_path / "out").mkdir(exist_ok=True)
        place = tmp_path / "out" / ".download_partial"
        make(place)
        with pytest.raises(DataError, match=r"\.download_partial"):
            run_on(server, tmp_path / "out", labels)
        place.unlink()
    assert not server.requests


def test_a_folder_of_parts_of_another_program_is_left_alone(server, tmp_path):
    """`rsync --partial-dir=.partial` keeps half copied files in it; they were deleted, or taken for videos."""
    labels = write_labels(tmp_path / "labels.csv", ["c,v1"], header="label,id")
    part = tmp_path / ".partial" / "v1.mp4"
    part.parent.mkdir()
    part.write_bytes(b"half")
    assert run_on(server, tmp_path, labels) == 0
    assert part.read_bytes() == b"half" and server.requests["v1"]
    assert not (tmp_path / ".download_partial").exists()


def test_an_empty_file_is_no_video(server, video, tmp_path, capfd):
    """A copy of the folder to a full disk leaves such files; the dataset seemed to be complete."""
    labels = write_labels(tmp_path / "labels.csv", ["c,v1", "c,gone"], header="label,id")
    (tmp_path / "c").mkdir()
    for name in ("v1.webm", "gone.mp4"):
        (tmp_path / "c" / name).touch()
    assert run_on(server, tmp_path, labels) == 1
    assert "2 of the videos were there as empty files, such as" in capfd.readouterr().err
    assert files_in(tmp_path / "c") == {"v1.mp4", "gone.mp4"}
    assert (tmp_path / "c" / "v1.mp4").read_bytes() == video
    assert set(read_failures(tmp_path)) == {"c/gone"}
