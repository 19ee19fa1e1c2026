"""A split opened from Python: a list of clips that torch's DataLoader can read, and mistakes that are told."""

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from data import DataError, Normalise, open_split, read_video
from data import open as open_module
from data.clips.by_index import Clips
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.store.video_file import VideoReader
from tests.numbered import (
    encode_numbered_video,
    encode_video,
    frame_numbers,
    jpeg,
    write_database,
    write_numbered_database,
)
from tests.small_dataset import CLASSES, noisy_frames, write_labels, write_small_dataset
from train_custom import SPEC as CUSTOM_SPEC
from train_hacs import SPEC

SHAPE = {"clip_length": 4, "clip_size": 16, "interval": 2}
EPOCHS = 3


def opened(dataset: Path, split: str = "train", **changed: object) -> Clips:
    return open_split(dataset, split, **{**SHAPE, "report": lambda line: None, **changed})


@pytest.fixture
def clips(small_dataset) -> Clips:
    return opened(small_dataset)


def expected(dataset: Path, index: int, epoch: int, seed: int = 0) -> torch.Tensor:
    """The clip of a training run with that seed."""
    videos = load_splits(dataset, DatasetSpec("custom", "train.csv", "val.csv")).train
    clip = ClipDataset(videos, RandomClips((2, 2), flip=True), seed)[ClipRequest(index, ClipShape(4, 16, 16), epoch)]
    return clip.frames[0].permute(3, 0, 1, 2)


def test_a_clip_has_its_frames_its_class_and_its_video(small_dataset, clips):
    """What a user of torchvision expects of a dataset."""
    assert len(clips) == 32
    assert tuple(clips.classes) == CLASSES
    frames, label = clips[5]
    assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (3, 4, 16, 16))
    assert type(label) is int and label == clips.labels[5]
    assert clips.path(5) == small_dataset / "jpg" / CLASSES[label] / "train_005"


def test_crops_are_of_the_scale_that_a_network_was_validated_at(small_dataset):
    """A network of --crop-scale 294/224 was shown other parts of the frames, and nothing could give it its own."""
    for split, training in (("val", False), ("train", True)):
        large, whole = (opened(small_dataset, split, training=training, crop_scale=scale) for scale in (2, 1.0))
        assert not torch.equal(large[0][0], whole[0][0])
    path, shape = whole.path(0), {**SHAPE, "clips": 1}
    for scale in (2, 1.0):
        views = opened(small_dataset, "train", training=False, crop_scale=scale).views(0, clips=1)
        assert torch.equal(read_video(path, **shape, crop_scale=scale), views)
    for scale in (0.9, 8, float("nan"), "1"):
        with pytest.raises(DataError, match="crop_scale"):
            opened(small_dataset, crop_scale=scale)


def test_numbers_are_those_of_a_list(clips):
    """Code that walks a dataset from its end, or to its end, must neither fail nor read another video in silence."""
    paths = [clips.path(i) for i in range(len(clips))]
    assert [clips.path(-i) for i in range(1, 33)] == paths[::-1]
    assert clips.path(np.int64(3)) == clips.path(torch.tensor(3)) == paths[3]
    assert clips[-1][1] == clips.labels[31]
    assert sum(1 for _ in clips) == 32
    for index in (32, -33):
        for get in (clips.path, clips.__getitem__):
            with pytest.raises(IndexError):
                get(index)
    for index in (slice(0, 2), 1.0, "1"):
        with pytest.raises(TypeError):
            clips[index]


def test_each_time_a_video_is_read_it_is_another_clip_and_an_epoch_repeats_them(small_dataset, clips):
    """Else a training would see one crop of each video, or a result could not be had again."""
    found = [clips[7][0] for _ in range(EPOCHS)]
    for epoch, frames in enumerate(found):
        assert torch.equal(frames, expected(small_dataset, 7, epoch))
    assert not torch.equal(found[0], found[1]) and not torch.equal(found[1], found[2])
    clips.set_epoch(1)
    assert torch.equal(clips[7][0], found[1]) and torch.equal(clips[7][0], found[2])
    assert torch.equal(opened(small_dataset, seed=3)[7][0], expected(small_dataset, 7, 0, seed=3))


def test_a_validation_clip_is_the_centred_one(tmp_path):
    """And the same each time: scores must not depend on chance."""
    for split, start in (("train", 0), ("val", 64)):
        write_numbered_database(tmp_path / "jpg" / "run" / split, 31, start=start)
        write_labels(tmp_path / "labels" / f"{split}.csv", [("run", split)])
    clips = opened(tmp_path, "val", interval=(1, 2))
    for _ in range(2):
        assert frame_numbers(clips[0][0].permute(1, 2, 3, 0).numpy()) == [64 + n for n in (12, 14, 16, 18)]
    centred = opened(tmp_path, "train", training=False)
    assert frame_numbers(centred[0][0].permute(1, 2, 3, 0).numpy()) == [12, 14, 16, 18]


def batches(loader: DataLoader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for frames, labels in loader:
        yield frames.clone(), labels


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (0, {}),
        (2, {"multiprocessing_context": "fork"}),
        (2, {"multiprocessing_context": "fork", "persistent_workers": True}),
        (1, {"multiprocessing_context": "spawn", "persistent_workers": True}),
    ],
)
def test_torchs_loader_reads_other_clips_each_epoch_whatever_its_workers_are(small_dataset, clips, workers, options):
    """Workers that begin anew each epoch usually repeat their random numbers, and nothing shows it."""
    loader = DataLoader(clips, batch_size=12, shuffle=False, num_workers=workers, **options)
    for epoch in (*range(EPOCHS), 1):
        if epoch == 1:  # also again, after the others
            clips.set_epoch(1)
        frames, labels = (torch.cat(parts) for parts in zip(*batches(loader), strict=True))
        assert frames.shape == (32, 3, 4, 16, 16) and labels.dtype == torch.int64
        assert labels.tolist() == clips.labels.tolist()
        for index in (0, 13, 31):
            assert torch.equal(frames[index], expected(small_dataset, index, epoch))


def test_a_subset_and_a_transform_do_what_they_do_with_any_dataset(small_dataset):
    clips = opened(small_dataset, transform=lambda frames: frames.float().mean(dim=(1, 2, 3)))
    assert clips[0][0].shape == (3,)
    assert Subset(clips, [4, 9])[1][1] == clips.labels[9]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda clips: pickle.loads(pickle.dumps(clips))])
def test_a_copy_counts_on_its_own(small_dataset, clips, copied: Callable[[Clips], Clips]):
    """Else two parts of a program would change each other's clips."""
    clips.set_epoch(2)
    other = copied(clips)
    assert (other.epoch, len(other), other.path(3)) == (2, 32, clips.path(3))
    clips.set_epoch(5)
    clips[3]
    assert torch.equal(other[3][0], expected(small_dataset, 3, 2))


def test_a_video_that_cannot_be_read_is_named(tmp_path):
    """In one line, also from a worker, and never another video in its place."""
    clips = opened(write_small_dataset(tmp_path, train=4, val=1, classes=("run",)))
    (clips.path(2) / "frames.db").write_bytes(b"no database")
    with pytest.raises(DataError) as told:
        clips[2]
    assert str(clips.path(2) / "frames.db") in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(DataError, match="train_002"):
        list(DataLoader(clips, batch_size=2, num_workers=1))


def test_labels_count_in_the_order_of_a_network(small_dataset):
    """A network with its classes in another order would otherwise be trained or scored on wrong labels."""
    order = ("run", "a class without videos", *[name for name in CLASSES if name != "run"])
    for split in ("train", "val"):
        clips = opened(small_dataset, split, classes=order)
        assert tuple(clips.classes) == order
        for index in range(len(clips)):
            assert clips.path(index).parent.name == order[clips[index][1]]


def test_an_official_dataset_is_opened_by_the_facts_of_its_script(tmp_path):
    """Its label files have names of their own."""
    write_small_dataset(tmp_path, train=4, val=4, files=(SPEC.train_labels, SPEC.val_labels))
    assert [len(opened(tmp_path, split, spec=SPEC)) for split in ("train", "val")] == [4, 4]


@pytest.mark.parametrize(
    ("split", "changed", "told"),
    [
        ("trian", {}, "trian"),
        ("train", {"clip_length": 0}, "clip_length 0"),
        ("train", {"clip_size": -1}, "clip_size -1"),
        ("train", {"clip_size": 112.0}, "clip_size 112.0"),
        ("train", {"clip_size": 10**6}, "clip_size"),
        ("train", {"interval": 0}, "interval 0"),
        ("train", {"interval": (3, 2)}, r"interval \(3, 2\)"),
        ("train", {"interval": (1, 2, 3)}, r"interval \(1, 2, 3\)"),
        ("train", {"seed": -1}, "seed -1"),
        ("train", {"classes": ["clap", "jump", "walk fast"]}, "run"),
        ("val", {"classes": ["clap", "jump", "walk fast"]}, "run"),
        ("train", {"labels": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_a_mistake_is_one_line(small_dataset, split, changed, told):
    """A notebook's user sees the last line of a traceback first: it must say what is wrong."""
    with pytest.raises(DataError, match=told) as error:
        opened(small_dataset, split, **changed)
    assert "\n" not in str(error.value)


def test_a_wrong_folder_and_a_wrong_epoch_are_told(small_dataset, clips):
    with pytest.raises(DataError, match="nowhere"):
        opened(small_dataset / "nowhere")
    with pytest.raises(DataError, match="empty"):
        opened("")
    with pytest.raises(DataError, match="-1"):
        clips.set_epoch(-1)


def test_what_is_missing_is_told(tmp_path, capsys):
    """A split that lacks a third of its videos must not pass as whole."""
    write_small_dataset(tmp_path, train=8, val=4)
    write_labels(
        tmp_path / "labels" / "val.csv", [*((name, f"val_{i:03d}") for i, name in enumerate(CLASSES)), ("run", "gone")]
    )
    assert len(open_split(tmp_path, "val", **SHAPE)) == 4
    assert "gone" in capsys.readouterr().out


def test_the_dataset_is_found_again_from_another_folder(small_dataset, monkeypatch, tmp_path):
    """Notebooks change their folder."""
    monkeypatch.chdir(small_dataset.parent)
    clips = opened(small_dataset.name)
    monkeypatch.chdir(tmp_path)
    assert clips[0][1] == clips.labels[0]


def test_one_video_gives_the_clips_of_an_evaluation_from_a_folder_or_a_file(tmp_path):
    """A prediction must see what the network was evaluated on."""
    folder = write_numbered_database(tmp_path / "converted", 20)
    file = encode_numbered_video(tmp_path / "new.mp4", 20)
    for path in (folder, str(file)):
        views = read_video(path, clips=3, **SHAPE)
        assert (views.dtype, tuple(views.shape)) == (torch.uint8, (3, 3, 4, 16, 16))
        numbers = [frame_numbers(view) for view in views.permute(0, 2, 3, 4, 1).numpy()]
        assert numbers == [[0, 2, 4, 6], [6, 8, 10, 12], [13, 15, 17, 19]]


def test_a_video_file_is_cropped_as_a_converted_one(tmp_path):
    """Crops from elsewhere in the picture, or scaled otherwise, lower the scores."""
    (picture,) = noisy_frames(1, 72, 128, level=128, seed=0)
    file = encode_video(tmp_path / "still.mp4", [picture] * 4)
    decoded = list(VideoReader(file, 360))
    folder = write_database(tmp_path / "still", [jpeg(frame, quality=100) for frame in decoded])
    ours, theirs = (read_video(path, **SHAPE).float() for path in (file, folder))
    assert (ours - theirs).abs().mean() < 2
    assert ours.std() > 10


def test_intervals_in_time_and_video_files_are_those_of_a_training(tmp_path):
    """A clip of half the action, or of other frames than in the run, is seen only in the scores."""
    for split in ("train", "val"):
        video = tmp_path / "videos" / "run" / f"{split}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        encode_numbered_video(video, 20)
        write_labels(tmp_path / "labels" / f"{split}.csv", [("run", split)])
    rate = VideoReader(video, 360)
    assert len(list(rate)) == 20 and rate.rate
    for interval, numbers in (("all", [2, 7, 12, 17]), (f"2@{rate.rate / 2:g}", [2, 6, 10, 14]), (2, [6, 8, 10, 12])):
        clips = opened(tmp_path, "val", interval=interval, source="videos")
        assert clips.path(0) == video
        assert frame_numbers(clips[0][0].permute(1, 2, 3, 0).numpy()) == numbers
        view = read_video(video, **{**SHAPE, "interval": interval})[0]
        assert frame_numbers(view.permute(1, 2, 3, 0).numpy()) == numbers
    train = opened(tmp_path, source="videos", sampling="centre")
    assert frame_numbers(train[0][0].permute(1, 2, 3, 0).numpy()) == [6, 8, 10, 12]
    for changed in ({"source": "film"}, {"sampling": "any"}, {"interval": "2@"}, {"interval": "no"}):
        with pytest.raises(DataError, match=next(iter(changed))):
            opened(tmp_path, **changed)


@pytest.mark.parametrize("name", ["absent.mp4", "empty", "text.mp4", "cut.mp4"])
def test_what_is_no_whole_video_is_told_with_its_path(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    whole = encode_numbered_video(tmp_path / "whole.mp4", 20).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=name) as error:
        read_video(tmp_path / name, **SHAPE)
    assert "\n" not in str(error.value)


def test_classes_are_in_the_order_of_the_script(small_dataset, tmp_path):
    """Weights that a notebook trains would else be evaluated with permuted classes."""
    assert open_module.CUSTOM == CUSTOM_SPEC
    order = ["walk fast", "run", "clap", "jump"]
    assert set(order) == set(CLASSES)
    index = small_dataset / "labels" / "custom_classes.txt"
    index.write_text("".join(f"{name}\n" for name in order))
    try:
        assert list(opened(small_dataset).classes) == order
    finally:
        index.unlink()


def test_test_videos_are_a_split(tmp_path):
    """data.prepare.folder writes test.csv."""
    write_numbered_database(tmp_path / "jpg" / "run" / "v", 31)
    write_labels(tmp_path / "labels" / "test.csv", [("run", "v")])
    assert len(opened(tmp_path, "test")) == 1
    with pytest.raises(DataError, match="'test'"):
        opened(tmp_path, "test", spec=SPEC)
    (tmp_path / "labels" / "test.csv").rename(tmp_path / "labels" / "all.csv")
    for labels in (None, tmp_path / "labels", tmp_path / "labels" / "all.csv"):  # its val rows would be taken
        with pytest.raises(DataError, match=r"test\.csv"):
            opened(tmp_path, "test", labels=labels)


def test_views_are_of_the_labelled_part(tmp_path):
    """All segments of a recording had the same prediction."""
    video = tmp_path / "videos" / "run" / "long.mp4"
    video.parent.mkdir(parents=True)
    encode_numbered_video(video, 60)
    rows = "label,id,start_frame,end_frame\nrun,long,0,20\nrun,long,40,60\n"
    for split in ("train", "val"):
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{split}.csv").write_text(rows)
    for split in ("train", "val"):
        clips = opened(tmp_path, split, source="videos")
        for index, start in enumerate((0, 40)):
            views = clips.views(index, clips=2)
            assert (views.dtype, tuple(views.shape)) == (torch.uint8, (2, 3, 4, 16, 16))
            numbers = [frame_numbers(view) for view in views.permute(0, 2, 3, 4, 1).numpy()]
            assert numbers == [[start + n for n in (0, 2, 4, 6)], [start + n for n in (13, 15, 17, 19)]]


def test_values_of_another_scale_are_not_normalised(small_dataset, clips):
    """Clips from 0 to 1 became nearly black to the network, and float clips were changed in place."""
    frames, _ = clips[0]
    assert Normalise()(frames[None]).std() > 0.1
    with pytest.raises(DataError, match="float32"):
        Normalise()(frames[None].float() / 255)
