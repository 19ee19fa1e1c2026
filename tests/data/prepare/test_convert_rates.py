"""Frame rates when videos are converted: databases at the rate that was asked for, and none at another in silence."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from data.clips.dataset import ClipDataset
from data.clips.sampling import ClipSampling, RandomClips, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import FoundVideo, pack
from data.prepare import convert, verify
from data.prepare.frame_rates import constant_rate, rates_text
from data.store.frame_store import FrameStore
from data.store.origin import Origin, read_origin
from tests.numbered import encode_numbered_video, frame_numbers, numbered_jpegs

UNEVEN = [0, 40, 80, 300, 340, 380, 700, 740, 1000, 1040, 1200]


def run(videos: Path, out: Path, *flags: str) -> int:
    return convert.main([str(videos), str(out), "--workers", "1", *flags])


def listed(out: Path) -> dict[str, tuple[str, str]]:
    with (out / "convert_failures.csv").open(newline="") as file:
        return {row["item"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}


def numbers_of(folder: Path) -> list[int]:
    store = FrameStore(folder)
    return frame_numbers(store.read(range(len(store))))


def made(folder: Path) -> Origin:
    found = read_origin(folder / "frames.db")
    assert found is not None
    return found


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A video of 25, one of 60, and one of a variable number of frames a second."""
    folder = tmp_path / "videos"
    encode_numbered_video(folder / "walk" / "25.mp4", 10, rate=25)
    encode_numbered_video(folder / "walk" / "60.mkv", 12, rate=60)
    encode_numbered_video(folder / "run" / "phone.mkv", len(UNEVEN), rate=1000, pts=UNEVEN)
    return folder


def test_videos_are_converted_at_one_rate_and_say_so(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(videos, out, "--fps", "30") == 0
    walk = out / "jpg" / "walk"
    assert numbers_of(walk / "25") == [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert numbers_of(walk / "60") == [0, 2, 4, 6, 8, 10]
    assert len(numbers_of(out / "jpg" / "run" / "phone")) == pytest.approx(1.2 * 30, abs=1)
    for name in ("walk/25", "walk/60", "run/phone"):
        origin = made(out / "jpg" / name)
        assert (origin.fps, origin.is_resampled, origin.is_variable) == (30, True, False)
        assert FrameStore(out / "jpg" / name).rate() == 30
    assert made(walk / "25").seconds == pytest.approx(0.4)


def test_the_rate_is_kept_without_resampling(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable rate is counted and named once, in this run and the next one: a line for each would be too many."""
    out = tmp_path / "out"
    for _ in range(2):
        assert run(videos, out) == 0
        assert "1 video of a variable frame rate: --fps" in capsys.readouterr().out
    assert numbers_of(out / "jpg" / "walk" / "25") == list(range(10))
    with closing(sqlite3.connect(out / "jpg" / "walk" / "25" / "frames.db")) as connection:
        rows = dict(connection.execute("SELECT name, value FROM Origin"))
    assert rows["fps"] == "25.0" and not rows.keys() & {"resampled", "variable"}
    phone = made(out / "jpg" / "run" / "phone")
    assert (phone.fps, phone.is_variable) == (pytest.approx(10 / 1.2), True)
    assert listed(out) == {}
    assert verify.main([str(out), "--workers", "1"]) == 0
    assert "frames a second: 25 (1 video), 60 (1), variable or unknown (1)" in capsys.readouterr().out


def test_another_rate_is_told_and_made_only_with_replace(videos: Path, tmp_path: Path) -> None:
    """Half of a dataset at 30 frames a second and half as filmed looks as if all were at 30."""
    out, folder = tmp_path / "out", tmp_path / "out" / "jpg" / "walk" / "25"
    assert run(videos, out) == 0
    flags: tuple[str, ...]
    for flags, count in ((("--fps", "30"), 12), (("--fps", "50"), 20), ((), 10)):
        before = numbers_of(folder)
        assert run(videos, out, *flags) == 1
        assert {item: kind for item, (kind, _) in listed(out).items()} == dict.fromkeys(
            ("walk/25", "walk/60", "run/phone"), "differs"
        )
        assert "rate" in listed(out)["walk/25"][1] and numbers_of(folder) == before
        assert run(videos, out, *flags, "--replace") == 0
        assert len(numbers_of(folder)) == count
        assert run(videos, out, *flags) == 0 and listed(out) == {}


def test_a_database_of_an_earlier_version_counts_as_not_resampled(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(videos, out) == 0
    for name in ("walk/25", "walk/60", "run/phone"):
        with closing(sqlite3.connect(out / "jpg" / name / "frames.db")) as connection:
            connection.execute("DELETE FROM Origin WHERE name IN ('fps', 'resampled', 'variable')")
            connection.commit()
        assert FrameStore(out / "jpg" / name).rate() is None
    assert run(videos, out) == 0 and listed(out) == {}
    assert run(videos, out, "--fps", "25") == 1
    assert {kind for kind, _ in listed(out).values()} == {"differs"} and len(listed(out)) == 3


def test_folders_of_frames_have_no_rate_and_are_refused_one_by_one(videos: Path, tmp_path: Path) -> None:
    """They would be taken for videos of the rate that was asked for."""
    out, frames = tmp_path / "out", videos / "run" / "frames"
    frames.mkdir()
    for number, data in enumerate(numbered_jpegs(range(5))):
        (frames / f"{number}.jpg").write_bytes(data)
    assert run(videos, out, "--fps", "30") == 1
    assert list(listed(out)) == ["run/frames"] and listed(out)["run/frames"][0] == "failed"
    assert "times" in listed(out)["run/frames"][1] and not (out / "jpg" / "run" / "frames").exists()
    assert run(videos, tmp_path / "plain") == 0
    assert FrameStore(tmp_path / "plain" / "jpg" / "run" / "frames").rate() is None
    assert run(videos, tmp_path / "plain", "--fps", "30", "--replace") == 1
    assert {item: kind for item, (kind, _) in listed(tmp_path / "plain").items()} == {"run/frames": "failed"}
    assert numbers_of(tmp_path / "plain" / "jpg" / "run" / "frames") == list(range(5))


def test_a_part_of_a_video_is_resampled(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "videos" / "x.mp4", 50, rate=25)
    (tmp_path / "labels.csv").write_text("label,youtube_id,time_start,time_end\nwalk,x,0,1\n")
    out = tmp_path / "out"
    assert run(tmp_path / "videos", out, "--labels", str(tmp_path / "labels.csv"), "--fps", "50") == 0
    folder = out / "jpg" / "walk" / "x_000000_000001"
    assert numbers_of(folder) == [number for number in range(25) for _ in range(2)]
    assert made(folder).fps == 50


@pytest.mark.parametrize("rate", ["0", "0.5", "1001", "-30", "nan", "inf", "30fps", ""])
def test_rates_that_no_video_has_are_refused(tmp_path: Path, rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "videos", tmp_path / "out", f"--fps={rate}")
    assert stopped.value.code == 2 and "--fps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_rates_of_a_dataset_in_one_line() -> None:
    few = {30.0: 2, 25.0: 3, 29.97002997: 1}
    assert rates_text(few) == "25 (3 videos), 29.97 (1), 30 (2)"
    assert rates_text(few | {29.9701: 1, None: 3}) == "25 (3 videos), 29.97 (2), 30 (2), variable or unknown (3)"
    assert rates_text({None: 1}) == "variable or unknown (1 video)"
    many = dict.fromkeys(map(float, range(10, 31)), 1)
    assert rates_text({**many, None: 1}) == "10 to 30, median 20 (21 videos), variable or unknown (1)"
    varying = Origin("v", "a.mp4", 1, "ab", None, None, 360, 90, False, fps=25.0, is_variable=True)
    assert constant_rate(varying) is constant_rate(None) is None


def test_an_interval_in_time_gives_the_frames_of_videos_that_were_converted_at_its_rate(tmp_path: Path) -> None:
    """2@30 and interval 2 after --fps 30 are two ways to the same clips, of videos of all rates."""
    rates = {"a": 25, "b": 60, "c": 15, "d": 30}
    for name, rate in rates.items():
        encode_numbered_video(tmp_path / "videos" / "run" / f"{name}.mp4", 2 * rate, rate=rate)
    assert run(tmp_path / "videos", tmp_path / "even", "--fps", "30") == run(tmp_path / "videos", tmp_path / "own") == 0
    even, own = (
        pack(tmp_path / out / "jpg", ("run",), [(0, FoundVideo("run", name, 0, "")) for name in rates])
        for out in ("even", "own")
    )
    ways: list[tuple[ClipSampling, ClipSampling]] = [
        (UniformClips(2, clips=3), UniformClips(2, clips=3, rate=30.0)),
        (RandomClips((1, 3), flip=True), RandomClips((1, 3), flip=True, rate=30.0)),
        (RandomClips((2, 2), flip=True, sampling="normal"), RandomClips((2, 2), True, False, 30.0, "normal")),
    ]
    for in_frames, in_time in ways:
        for index in range(len(rates)):
            request = ClipRequest(index, ClipShape(8, 16, 16), 3)
            clips = [ClipDataset(even, in_frames, 7)[request], ClipDataset(own, in_time, 7)[request]]
            seen = [[frame_numbers(view) for view in clip.frames.numpy()] for clip in clips]
            assert seen[0] == seen[1] and not any(clip.bad_videos for clip in clips)
