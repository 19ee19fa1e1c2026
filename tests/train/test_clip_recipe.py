"""--crop, --randaugment, --repeat-clips and --flip-labels from the command line to checkpoints and evaluations."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from data.augment.randaugment import RandAugment
from data.clips.cropping import ASPECT, JITTER, Cropping
from data.clips.sampling import UniformClips
from network.weights.reading import read_checkpoint
from tests.processes import Process, Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_same_run
from train.clip_sampling import flipped_labels, tell_randaugment, training_clips, unused_crops, validation_clips
from train.options import TrainOptions, parse_options

Start = Callable[..., Process]
ONE = ("--end-epoch", 1, "--lr-steps", 9)


def parse(*flags: str) -> TrainOptions:
    return parse_options("", TrainOptions(), None, ["--dataset", "d", *flags])


@pytest.fixture
def tiny(server: Server, tmp_path: Path, small_dataset: Path) -> Start:
    """Run the tiny script to its end: tiny("--end-epoch", 2, ...) -> Process."""

    def run(*flags: object, status: int = 0) -> Process:
        process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, "--workers", 0, *flags, folder=tmp_path)
        assert process.wait() == status, process.output()
        return process

    return run


def test_the_flags_say_how_crops_are_drawn() -> None:
    assert training_clips(parse()).cropping == Cropping() and validation_clips(parse()) == UniformClips(2)
    scaled = parse("--crop-scale", "294/224")
    assert training_clips(scaled).cropping == Cropping(scale=1.3125)
    assert validation_clips(scaled) == UniformClips(2, crop_scale=1.3125)
    jitter = parse("--crop", "jitter", "--crop-jitter", "1", "1.5")
    assert training_clips(jitter).cropping == Cropping("jitter", jitter=(1.0, 1.5))
    resized = parse("--crop", "resized", "--crop-area", "0.25,1")
    assert training_clips(resized).cropping == Cropping("resized", area=(0.25, 1.0))
    assert (resized.crop_jitter, resized.crop_aspect) == (JITTER, ASPECT)


@pytest.mark.parametrize(
    "flags",
    [
        ["--crop", "zoom"], ["--crop-scale", "0.9"], ["--crop-scale", "224"], ["--crop-scale", "294/0"],
        ["--crop-jitter", "0.5", "1.2"], ["--crop-jitter", "1.2"], ["--crop-area", "0", "1"],
        ["--crop-area", "0.5", "1.1"], ["--crop-aspect", "4/3", "3/4"], ["--crop-aspect", "0", "1"],
        ["--randaugment", "9"], ["--randaugment", "9x2"], ["--randaugment", "2x31"], ["--randaugment", "rand-m9"],
        ["--randaugment", "2x9", "--augment", "full"], ["--repeat-clips", "0"], ["--flip-labels", "no_such.csv"],
    ],
)  # fmt: skip
def test_mistakes_name_the_flag(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(*flags)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and flags[0] in error


def test_randaugment_takes_the_place_of_other_changes(caplog: pytest.LogCaptureFixture) -> None:
    """Mirroring stays as --augment says it, by default or on the command line."""
    caplog.set_level(logging.INFO)
    for flags, flip in (((), True), (("--augment", "flip"), True), (("--augment", "none"), False)):
        options = parse("--randaugment", "3x12", *flags)
        clips = training_clips(options)
        assert clips.randaugment == RandAugment(3, 12) and clips.flip == flip
        caplog.clear()
        tell_randaugment(options)
        (line,) = caplog.messages
        assert "3 random operations of magnitude 12 of 30" in line and ("half" in line) == flip
        assert options.augment == ("flip" if flip else "none")  # what is saved can be given back
    assert training_clips(parse()).randaugment is None and training_clips(parse()).augment
    caplog.clear()
    tell_randaugment(parse())
    assert not caplog.messages


def test_flags_without_effect_are_told(tmp_path: Path) -> None:
    table = tmp_path / "mirrored.csv"
    table.write_text("a,b\n", encoding="utf-8")
    assert [line.split()[0] for line in unused_crops(parse("--crop-area", "0.1 1", "--crop-jitter", "1", "2"))] == [
        "--crop-jitter", "--crop-area",
    ]  # fmt: skip
    assert unused_crops(parse("--crop", "jitter", "--crop-jitter", "1", "2")) == unused_crops(parse()) == []
    unmirrored = parse("--augment", "none", "--flip-labels", str(table))
    assert len(unused_crops(unmirrored)) == 1 and flipped_labels(("a", "b"), unmirrored) is None
    assert flipped_labels(("a", "b"), parse("--flip-labels", str(table))) == [1, 0]


def test_validation_and_evaluation_cut_as_the_run_did(tiny: Start, tmp_path: Path) -> None:
    """Another crop is another test protocol: the scores of the run and of its checkpoint would differ."""
    first = tiny(*ONE, "--crop-scale", "2.5")
    run = tmp_path / "results" / "custom" / RUN
    saved = read_checkpoint(run / LAST)
    assert saved["preprocessing"]["crop_scale"] == saved["options"]["crop_scale"] == 2.5
    loss = json.loads(first.stdout.splitlines()[-1])["loss"]

    def loss_of(*flags: object) -> float:
        evaluated = tiny("--evaluate", "--pretrained-3d", run / LAST, *flags)
        return json.loads(evaluated.stdout.splitlines()[-1])["loss"]

    assert loss_of() == pytest.approx(loss, rel=1e-5)
    assert loss_of("--crop-scale", "1") != pytest.approx(loss, rel=1e-5)
    again = tiny("--end-epoch", 2, "--lr-steps", 9, "--resume-epoch", "auto")
    assert "--crop-scale 2.5, now 1.1484375" in again.stdout and "counted anew" in again.stdout


def test_a_checkpoint_of_an_earlier_version_is_resumed_with_its_crops(tiny: Start, tmp_path: Path) -> None:
    tiny(*ONE)
    last = tmp_path / "results" / "custom" / RUN / LAST
    saved = read_checkpoint(last)
    for name in (
        "crop", "crop_scale", "crop_jitter", "crop_area", "crop_aspect", "repeat_clips", "flip_labels", "randaugment",
    ):  # fmt: skip
        del saved["options"][name]
    torch.save(saved, last)
    again = tiny("--end-epoch", 2, "--lr-steps", 9, "--resume-epoch", "auto")
    assert re.findall("trained with (.*)", again.stdout) == ["--end-epoch 1, now 2"]


def test_a_run_with_randaugment_is_resumed_with_it_to_the_bit(tiny: Start, tmp_path: Path) -> None:
    """Its clips are those of the seed, the epoch and the video, for any number of workers; another recipe is told."""
    recipe = ("--randaugment", "2x9", "--end-epoch", 2, "--lr-steps", 9)
    whole = tiny(*recipe, "--model-dir", "whole")
    assert len(re.findall("--randaugment: each training clip .* 2 random operations of magnitude 9", whole.stdout)) == 1
    tiny(*recipe, "--end-epoch", 1, "--model-dir", "parts")
    again = tiny(*recipe, "--model-dir", "parts", "--resume-epoch", "auto", "--workers", 2)
    assert "--randaugment" not in "".join(re.findall("trained with (.*)", again.stdout))
    assert_same_run(tmp_path / "whole" / RUN, tmp_path / "parts" / RUN)
    other = tiny("--end-epoch", 3, "--lr-steps", 9, "--model-dir", "parts", "--resume-epoch", "auto")
    assert "--randaugment 2x9, now " in other.stdout


@pytest.mark.parametrize("schedule", [(), ("--short-cycles", "--long-cycles")])
def test_repeated_clips_do_not_depend_on_the_number_of_ranks(tiny: Start, tmp_path: Path, schedule: tuple) -> None:
    """The clips of a step are the same ones: so is its loss, at first; later steps differ by rounding.

    With cycles, sub-batches are of other clips on two ranks, also without repeats: steps alone are compared.
    """
    flags = ("--batch-size", 8, "--repeat-clips", 2, "--end-epoch", 1, "--lr-steps", 9, *schedule)
    one = tiny(*flags, "--model-dir", "one")
    two = tiny(*flags, "--model-dir", "two", "--gpus", 2, "--sync-bn")
    losses = [float(re.findall(r"loss ([0-9.]+) top-1", process.stdout)[0]) for process in (one, two)]
    assert schedule or losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert "each video of a batch gives 2 clips: 8 clips are of 4 videos" in one.stdout
    saved = [read_checkpoint(tmp_path / name / RUN / LAST) for name in ("one", "two")]
    assert saved[0]["progress"]["global_step"] == saved[1]["progress"]["global_step"]
    refused = tiny("--batch-size", 6, "--repeat-clips", 4, status=2)
    assert "--repeat-clips" in refused.stderr and "such as 8" in refused.stderr
    refused = tiny("--batch-size", 6, "--repeat-clips", 2, "--gpus", 2, "--model-dir", "three", status=2)
    assert "multiple of 4" in refused.stderr


def test_mirrored_classes_are_checked_kept_and_compared(tiny: Start, tmp_path: Path) -> None:
    """The file may be changed, or be gone, when the run goes on: its rows are in the checkpoint."""
    table = tmp_path / "mirrored.csv"
    table.write_text("clap,jumps\n", encoding="utf-8")
    refused = tiny(*ONE, "--flip-labels", table, status=2)
    assert "'jumps'" in refused.stderr and "'jump'" in refused.stderr and refused.stderr.count("\n") == 1
    table.write_text("clap,jump\nrun,-\n", encoding="utf-8")
    first = tiny(*ONE, "--flip-labels", table)
    assert "2 classes become others when mirrored, 1 are not mirrored" in first.stdout
    assert read_checkpoint(tmp_path / "results" / "custom" / RUN / LAST)["options"]["flip_labels"] == [
        "clap,jump", "run,-",
    ]  # fmt: skip
    table.write_text("clap,jump\n", encoding="utf-8")
    again = tiny("--end-epoch", 2, "--lr-steps", 9, "--resume-epoch", "auto", "--flip-labels", table)
    assert "--flip-labels clap,jump run,-, now clap,jump" in again.stdout


def test_a_table_without_effect_on_the_labels_changes_nothing(tiny: Start, tmp_path: Path) -> None:
    """Draws of flips, places and augmentation stay as they are."""
    table = tmp_path / "mirrored.csv"
    table.write_text("clap,clap\n", encoding="utf-8")
    tiny(*ONE, "--model-dir", "one")
    tiny(*ONE, "--model-dir", "two", "--flip-labels", table)
    assert_same_run(tmp_path / "one" / RUN, tmp_path / "two" / RUN)
