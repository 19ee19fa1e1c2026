"""From the flags to the frames of a run's clips, also of a run that is resumed or evaluated."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from common.errors import NetworkError
from common.options import plain
from data.clips.sampling import RandomClips, UniformClips
from data.store.frame_store import FrameStore, write_frames
from data.store.origin import Origin
from network.weights.reading import read_checkpoint
from tests.processes import Process, Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS
from train.clip_sampling import mirrored_classes, training_clips, unused_interval, validation_clips
from train.file_settings import settings_from_file
from train.options import TrainOptions, parse_options

ORIGIN = Origin("v", "a.mp4", 1, "ab", None, None, 360, 90, False)
TIMED = ("--train-frame-interval", "1", "2@30", "--val-frame-interval", "2@30", "--lr-steps", 9)

Start = Callable[..., Process]


def parse(*flags: str) -> TrainOptions:
    return parse_options("", TrainOptions(), None, ["--dataset", "d", *flags])


def with_rates(dataset: Path, folder: Path, *rates: float | None) -> Path:
    """A copy of a dataset whose videos have these rates in turn."""
    shutil.copytree(dataset, folder)
    for number, path in enumerate(sorted(folder.rglob("frames.db"))):
        store = FrameStore(path.parent)
        jpegs = [store.jpeg(index) for index in range(len(store))]
        write_frames(path.parent, jpegs, replace(ORIGIN, content=str(path), fps=rates[number % len(rates)]).rows)
    return folder


@pytest.fixture(scope="module")
def timed(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """The small dataset, with videos of 15, 30 and 60 frames a second."""
    return with_rates(small_dataset, tmp_path_factory.mktemp("timed") / "dataset", 15.0, 30.0, 60.0)


@pytest.fixture
def tiny(server: Server, tmp_path: Path, timed: Path) -> Start:
    """Run the tiny script to its end: tiny("--end-epoch", 2, ...) -> Process."""

    def run(*flags: object, dataset: Path = timed) -> Process:
        process = server.start(TINY, "--dataset", dataset, *TINY_FLAGS, "--workers", 0, *flags, folder=tmp_path)
        process.wait()
        return process

    return run


@pytest.mark.parametrize(
    ("flags", "train", "val"),
    [
        ((), RandomClips((2, 2), True, True), UniformClips(2)),
        (("--train-frame-interval", "1", "3"), RandomClips((1, 3), True, True), UniformClips(2)),
        (("--train-frame-interval", "1,3@30", "--val-frame-interval", "2@25"), RandomClips((1, 3), True, True, 30.0),
         UniformClips(2, 1, 25.0)),
        (("--train-sampling", "normal"), RandomClips((2, 2), True, True, None, "normal"), UniformClips(2)),
        (("--train-sampling", "centre", "--train-frame-interval", "4@30"),
         RandomClips((4, 4), True, True, 30.0, "centre"), UniformClips(2)),
    ],
)  # fmt: skip
def test_the_flags_say_how_clips_are_taken(flags: tuple[str, ...], train: RandomClips, val: UniformClips) -> None:
    assert training_clips(parse(*flags)) == train
    assert validation_clips(parse(*flags)) == val


def test_all_and_span_are_the_same() -> None:
    """Together they are no contradiction; an interval that is given beside span has no effect, which is said."""
    for flags in (
        ("--train-frame-interval", "all"), ("--train-sampling", "span"),
        ("--train-frame-interval", "all", "--train-sampling", "span"),
        ("--train-frame-interval", "2@30", "--train-sampling", "span"),
    ):  # fmt: skip
        sampling = training_clips(parse(*flags))
        assert sampling.sampling == "span" and not sampling.needs_rate
        assert bool(unused_interval(parse(*flags))) == ("2@30" in flags)
    assert unused_interval(parse("--train-frame-interval", "2@30")) == unused_interval(parse()) == ""
    views = validation_clips(parse("--val-frame-interval", "all", "--val-clips", "3"))
    assert (views.span, views.clips, views.needs_rate) == (True, 3, False)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--train-frame-interval", "3,1@30"], "--train-frame-interval"),
        (["--train-frame-interval", "2@2000"], "--train-frame-interval"),
        (["--val-frame-interval", "1,2@30"], "--val-frame-interval"),
        (["--val-frame-interval", "0"], "--val-frame-interval"),
        (["--val-frame-interval", "two"], "--val-frame-interval"),
        (["--train-sampling", "middle"], "--train-sampling"),
        (["--train-frame-interval", "all", "--train-sampling", "centre"], "--train-sampling centre"),
        (["--train-frame-interval", "all", "--train-sampling", "uniform"], "--train-sampling uniform"),
    ],
)
def test_mistakes_name_the_flag(flags: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*flags)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and named in error


def test_a_checkpoint_holds_whole_numbers_where_they_were_given() -> None:
    """Older versions read them, and their checkpoints compare equal."""
    saved = plain(parse("--train-frame-interval", "1", "2", "--val-frame-interval", "3"))
    assert (saved["train_frame_interval"], saved["val_frame_interval"]) == ([1, 2], 3)
    saved = plain(parse(*map(str, TIMED)))
    assert (saved["train_frame_interval"], saved["val_frame_interval"]) == ("1,2@30", "2@30")


@pytest.mark.parametrize("interval", [3, "2@30", "2@29.97", "all"])
def test_an_evaluation_takes_the_interval_of_the_file(interval: int | str) -> None:
    facts = {"name": "r3d_18", "gates": False, "placement": "final", "num_classes": 2}
    clips = {"clip_length": 4, "clip_size": 32, "val_frame_interval": interval}
    checkpoint = {"network": facts, "classes": ["a", "b"], "options": clips, "weights": {"fc.bias": torch.zeros(2)}}
    options, _ = settings_from_file(TrainOptions(evaluate=True), Path("x.pth"), checkpoint)
    assert options.val_frame_interval == interval and type(options.val_frame_interval) is type(interval)


@pytest.mark.parametrize("interval", ["2@", "@30", "1,2@30", "2@9999", "every", "2@30" * 99, ["2@30"], 2.5, "0@30"])
def test_an_interval_that_no_flag_takes_is_the_file_s_fault(interval: object) -> None:
    facts = {"name": "r3d_18", "gates": False, "placement": "final", "num_classes": 2}
    checkpoint = {"network": facts, "options": {"val_frame_interval": interval}, "weights": {"fc.bias": torch.zeros(2)}}
    with pytest.raises(NetworkError, match=r"x\.pth: its option val_frame_interval"):
        settings_from_file(TrainOptions(evaluate=True), Path("x.pth"), checkpoint)


def test_a_run_with_intervals_in_time_is_resumed_and_evaluated(tiny: Start, tmp_path: Path) -> None:
    """Its scores belong to these clips: an evaluation, and a resume, must have the same."""
    first = tiny(*TIMED, "--end-epoch", 1)
    assert first.status == 0, first.output()
    assert (
        "1-2@30 spans" in first.stdout
        and "2@30 spans" in first.stdout
        and "frames a second (median" not in first.stdout
    )
    run = tmp_path / "results" / "custom" / RUN
    saved = read_checkpoint(run / LAST)["options"]
    assert (saved["train_frame_interval"], saved["val_frame_interval"]) == ("1,2@30", "2@30")
    evaluated = tiny("--evaluate", "--pretrained-3d", run / LAST)
    assert evaluated.status == 0, evaluated.output()
    result = json.loads(evaluated.stdout.splitlines()[-1])
    assert result["interval"] == "2@30"
    assert result["top1"] == json.loads(first.stdout.splitlines()[-1])["top1"]
    again = tiny(*TIMED, "--end-epoch", 2, "--resume-epoch", "auto")
    assert again.status == 0, again.output()
    assert re.findall("trained with (.*)", again.stdout) == ["--end-epoch 1, now 2"]
    other = tiny("--lr-steps", 9, "--end-epoch", 3, "--resume-epoch", "auto", "--train-sampling", "span")
    assert other.status == 0, other.output()
    for change in ("--train-frame-interval 1,2@30, now 1 2", "--val-frame-interval 2@30, now 1", "counted anew",
                   "--train-sampling uniform, now span", "15 to 60 frames a second"):  # fmt: skip
        assert change in other.stdout, change
    with (run / "scores_val.csv").open(newline="") as file:
        assert [row["interval"] for row in csv.DictReader(file)] == ["2@30", "2@30", "1"]
    with (run / "scores_train.csv").open(newline="") as file:
        assert [int(row["bad_videos"]) for row in csv.DictReader(file)] == [0, 0, 0]


def test_a_checkpoint_of_an_earlier_version_is_resumed(tiny: Start, tmp_path: Path) -> None:
    """It has no --train-sampling, and lists of whole numbers."""
    assert tiny("--lr-steps", 9, "--end-epoch", 1).status == 0
    last = tmp_path / "results" / "custom" / RUN / LAST
    saved = read_checkpoint(last)
    del saved["options"]["train_sampling"]
    assert saved["options"]["train_frame_interval"] == [1, 2] and saved["options"]["val_frame_interval"] == 1
    torch.save(saved, last)
    again = tiny("--lr-steps", 9, "--end-epoch", 2, "--resume-epoch", "auto")
    assert again.status == 0, again.output()
    assert re.findall("trained with (.*)", again.stdout) == ["--end-epoch 1, now 2"]


def test_unknown_rates_stop_a_run_before_its_first_step(tiny: Start, small_dataset: Path, tmp_path: Path) -> None:
    """A guess would be another speed. Clips over the whole video need no rate."""
    for flags in (TIMED, ("--val-frame-interval", "2@30"), ("--train-frame-interval", "2@30")):
        process = tiny(*flags, "--end-epoch", 1, dataset=small_dataset)
        assert process.status == 2 and process.stderr.count("\n") == 1, process.output()
        assert "@30" in process.stderr and str(small_dataset) in process.stderr and "--fps" in process.stderr
        assert not (tmp_path / "results").exists()
    whole = tiny("--train-frame-interval", "all", "--val-frame-interval", "all", "--end-epoch", 1, "--lr-steps", 9,
                 dataset=small_dataset)  # fmt: skip
    assert whole.status == 0, whole.output()
    assert whole.stdout.count("spans the whole video") == 2
    last = tmp_path / "results" / "custom" / RUN / LAST
    refused = tiny("--evaluate", "--pretrained-3d", last, "--val-frame-interval", "2@30", dataset=small_dataset)
    assert refused.status == 2 and "--val-frame-interval 2@30" in refused.stderr, refused.output()
    kept = tiny("--evaluate", "--pretrained-3d", last, dataset=small_dataset)
    assert json.loads(kept.stdout.splitlines()[-1])["interval"] == "all"


def test_classes_that_mirroring_makes_alike_are_told() -> None:
    """A network cannot learn swipe left from swipe right if half of the clips are mirrored."""
    assert mirrored_classes(["Swipe left", "swipe Right", "up"]) == [("Swipe left", "swipe Right")]
    assert mirrored_classes(["left-to-right", "right-to-left"]) == [
        ("left-to-right", "right-to-left"), ("right-to-left", "left-to-right")
    ]  # fmt: skip
    assert mirrored_classes(["turn left", "bright", "copyright"]) == []
