"""Training from video files: the same run as from databases in all but the pixels' JPEG, also after a kill."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches
from data.store.frame_store import FrameStore
from network.weights.reading import read_checkpoint
from tests.numbered import encode_video
from tests.processes import Process, Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_same_run, rows
from tests.small_dataset import noisy_frames

Start = Callable[..., Process]


@pytest.fixture(scope="module")
def dataset(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small dataset as video files of several formats, and its databases beside them."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "labels").symlink_to(small_dataset / "labels")
    (folder / "jpg").symlink_to(small_dataset / "jpg")
    for number, place in enumerate(sorted(small_dataset.glob("jpg/*/*"))):
        path = folder / "videos" / place.parent.name / f"{place.name}{('.mp4', '.mkv', '.avi')[number % 3]}"
        frames = FrameStore(place).read(range(len(FrameStore(place))))
        codec = "mpeg4" if path.suffix == ".avi" else "libx264"
        encode_video(path, frames, codec=codec)
    return folder


@pytest.fixture
def tiny(server: Server, dataset: Path, tmp_path: Path) -> Start:
    def run(*flags: object, place: Path = dataset, name: str = "runs") -> Process:
        process = server.start(
            TINY, "--dataset", place, *TINY_FLAGS, "--source", "videos", "--model-dir", name, *flags, folder=tmp_path
        )
        process.wait()
        return process

    return run


def last(process: Process) -> dict[str, object]:
    found: dict[str, object] = json.loads(process.stdout.splitlines()[-1])
    return found


def test_a_network_learns_from_video_files(tiny: Start, dataset: Path, tmp_path: Path, server: Server) -> None:
    flags = ("--short-cycles", "--long-cycles", "--workers", 2)
    process = tiny(*flags)
    assert process.status == 0, process.output()
    checkpoint = read_checkpoint(tmp_path / "runs" / RUN / LAST)
    assert checkpoint["options"]["source"] == "videos"
    evaluated = tiny("--evaluate", "--resume-epoch", "auto", "--val-clips", 2)
    assert evaluated.status == 0 and last(evaluated)["videos"] == 7, evaluated.output()
    # The databases hold the same videos under the same names: weights of the one know those of the other.
    frames = server.start(TINY, "--dataset", dataset, *TINY_FLAGS, "--model-dir", "frames", *flags, folder=tmp_path)
    assert frames.wait() == 0, frames.output()
    other = read_checkpoint(tmp_path / "frames" / RUN / LAST)
    assert checkpoint["trained_videos"].tolist() == other["trained_videos"].tolist()
    assert checkpoint["videos"] == other["videos"] and other["options"]["source"] == "frames"
    # The same clips in the same order, but for what encoding them again has changed.
    losses = [float(rows(tmp_path / name / RUN / "scores_train.csv")[0]["loss"]) for name in ("runs", "frames")]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_run_killed_in_mid_epoch_resumes_at_the_same_step(
    tiny: Start, server: Server, dataset: Path, tmp_path: Path
) -> None:
    """With the same losses and weights, bit for bit, and the clips of the steps that were not done."""
    flags = ("--end-epoch", 3, "--save-every-steps", 2, "--keep", 2)
    assert tiny(*flags, "--workers", 2, name="whole").status == 0
    cut = (*TINY_FLAGS, "--source", "videos", "--model-dir", "cut", *flags, "--workers", 1)
    process = server.start(TINY, "--dataset", dataset, *cut, folder=tmp_path)
    process.wait_for("Epoch [002/003] Batch [0003/")
    process.kill()
    resumed = tiny(*flags, "--workers", 0, "--resume-epoch", "auto", name="cut")
    assert resumed.status == 0 and "of epoch 2" in resumed.stdout, resumed.output()
    assert_same_run(tmp_path / "whole" / RUN, tmp_path / "cut" / RUN)


def test_resuming_from_the_other_kind_of_file_is_said(tiny: Start, dataset: Path, tmp_path: Path) -> None:
    """The pixels differ by the JPEG of the databases."""
    assert tiny("--end-epoch", 1, "--lr-steps", 9).status == 0
    process = tiny("--end-epoch", 2, "--lr-steps", 9, "--resume-epoch", "auto", "--source", "frames")
    assert process.status == 0 and "--source" in process.output(), process.output()
    assert len(rows(tmp_path / "runs" / RUN / "scores_val.csv")) == 2


def test_a_damaged_video_stops_a_run_or_is_replaced(tiny: Start, dataset: Path, tmp_path: Path) -> None:
    """As a damaged database does. Only decoding finds this damage."""
    place = tmp_path / "data"
    shutil.copytree(dataset / "videos", place / "videos")
    (place / "labels").symlink_to(dataset / "labels")
    path = next((place / "videos").rglob("train_003.*")).with_suffix(".mp4")
    next((place / "videos").rglob("train_003.*")).unlink()
    encode_video(path, noisy_frames(30, 48, 64, 90, 1), options={"bf": "0", "g": "30", "crf": "18"})
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for start, size in packets[1:]:
        data[start + 5 : start + size] = np.random.default_rng(0).bytes(size - 5)
    path.write_bytes(data)
    flags = ("--end-epoch", 1, "--lr-steps", 9, "--workers", 1)
    stopped = tiny(*flags, place=place)
    assert stopped.status == 2 and stopped.stderr.count("\n") == 1, stopped.output()
    assert str(path) in stopped.stderr and "--on-bad-video skip" in stopped.stderr
    skipped = tiny(*flags, "--on-bad-video", "skip", place=place, name="skipped")
    assert skipped.status == 0 and str(path) in skipped.stdout, skipped.output()


def test_the_flag_is_told_if_the_folder_has_only_the_other_kind(tiny: Start, dataset: Path, tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.mkdir()
    for source, folder in (("videos", "jpg"), ("frames", "videos")):
        (place / folder).symlink_to(dataset / folder)
        process = tiny("--source", source, place=place)
        assert process.status == 2 and process.stderr.count("\n") == 1, process.output()
        assert "--source videos" in process.stderr
        (place / folder).unlink()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_each_kind_read_the_same_clips(dataset: Path, method: str) -> None:
    """Also after the main process has decoded videos itself: no thread of a decoder may be lost in a fork."""
    videos = load_splits(dataset, DatasetSpec("custom", "train.csv", "val.csv"), source="videos").train
    clips = ClipDataset(videos, RandomClips((1, 2), flip=True), 3)
    batches = SequentialBatches(len(videos), 4, ClipShape(4, 24, 24))
    expected = [clips[request].frames[0] for batch in batches for request in batch]
    loader = BatchLoader(clips, batches, 2, False, method)
    read = [frames.clone() for batch in loader for frames in batch.frames.permute(0, 2, 3, 4, 1)]
    assert all(torch.equal(one, other) for one, other in zip(read, expected, strict=True))
