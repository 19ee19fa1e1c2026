"""From a request to pixels: which video, which frames, and what happens to videos that cannot be read."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from data.augment.params import identity_params, named_params, random_params
from data.augment.randaugment import RandAugment
from data.clips.dataset import SOURCES, ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import Clip, ClipRequest, ClipShape
from data.labels.video_list import FoundVideo, VideoList, pack
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore, write_frames
from data.store.origin import Origin
from data.store.video_source import VideoSourceError
from tests.numbered import frame_numbers, jpeg, numbered_jpegs, write_database, write_numbered_database

SHAPE = ClipShape(4, 16, 16)
FRAMES = 20
CLASSES = ("run", "walk")


def video_list(jpg: Path, frame_counts: Sequence[int] = (FRAMES,) * 5, **layout: object) -> VideoList:
    """Video v shows the numbers from 64 v on, and is of class v mod 2."""
    videos = []
    for number, frames in enumerate(frame_counts):
        label = number % 2
        name = f"video_{number}"
        write_numbered_database(jpg / CLASSES[label] / name, frames, start=64 * number, **layout)
        videos.append((label, FoundVideo(CLASSES[label], name, frames, "")))
    return pack(jpg, CLASSES, videos)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> VideoList:
    return video_list(tmp_path_factory.mktemp("jpg"))


def damage(videos: VideoList, index: int) -> None:
    (videos.folder(index) / "frames.db").write_bytes(b"no database")


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[..., VideoList]:
    def make(*indices: int) -> VideoList:
        made = video_list(tmp_path)
        for index in indices:
            damage(made, index)
        return made

    return make


def training(videos: VideoList, seed: int = 3, **options: bool) -> ClipDataset:
    return ClipDataset(videos, RandomClips((1, 3), flip=True), seed, **options)


def test_a_clip_has_the_frames_and_label_of_the_requested_video(videos):
    """Including the first and the last video, which the original's code never reads."""
    for index in range(len(videos)):
        clip = training(videos)[ClipRequest(index, SHAPE, epoch=1)]
        assert clip.frames.shape == (1, 4, 16, 16, 3)
        assert clip.frames.dtype == torch.uint8
        numbers = np.array(frame_numbers(clip.frames[0].numpy()))
        assert set(numbers // 64) == {index}
        assert len(set(np.diff(numbers))) == 1
        assert 1 <= numbers[1] - numbers[0] <= 3
        assert (clip.label, clip.video, clip.repeated_frames, clip.bad_videos) == (index % 2, index, 0, ())


def test_a_clip_depends_only_on_seed_epoch_and_index(videos):
    """Else results would change with the number of workers, and a resumed run would see other clips."""
    request = ClipRequest(2, SHAPE, epoch=5)
    first = training(videos)[request].frames
    dataset = training(videos)
    for other in (4, 0, 2):
        dataset[ClipRequest(other, SHAPE, epoch=1)]
    assert torch.equal(dataset[request].frames, first)

    def numbers(seed: int, epoch: int) -> list[list[int]]:
        return [
            frame_numbers(training(videos, seed)[ClipRequest(index, SHAPE, epoch)].frames[0].numpy())
            for index in range(len(videos))
        ]

    assert numbers(3, 5) == numbers(3, 5)
    assert numbers(3, 5) != numbers(3, 6)
    assert numbers(3, 5) != numbers(4, 5)
    starts = [clip[0] - 64 * index for index, clip in enumerate(numbers(3, 5))]
    assert len(set(starts)) > 1


def test_augmentation_params_depend_only_on_seed_epoch_and_index(videos, damaged):
    """Not on what was read, so a bad video changes nothing; and frames are the same as without augmentation."""
    broken = damaged(1)

    def clips(seed: int, epoch: int, augment: bool = True) -> list[Clip]:
        sampling = RandomClips((1, 3), flip=True, augment=augment)
        dataset = ClipDataset(broken, sampling, seed, replace_bad=True)
        return [dataset[ClipRequest(index, SHAPE, epoch)] for index in (0, 1, 2)]

    def params(seed: int, epoch: int) -> list[list[float]]:
        return [clip.augmentation_params.tolist() for clip in clips(seed, epoch)]

    assert params(3, 5) == params(3, 5)
    of_several_keys = [*params(3, 5), *params(3, 6), *params(4, 5)]
    augmented = [each for each in of_several_keys if each != identity_params().tolist()]
    assert len({tuple(each) for each in augmented}) == len(augmented) > 4
    whole = ClipDataset(videos, RandomClips((1, 3), flip=True, augment=True), seed=3)
    assert whole[ClipRequest(1, SHAPE, 5)].augmentation_params.tolist() == params(3, 5)[1]
    for plain, distorted in zip(clips(3, 5, augment=False), clips(3, 5), strict=True):
        assert torch.equal(plain.frames, distorted.frames)
        assert plain.augmentation_params.tolist() == identity_params().tolist()


def test_randaugment_is_drawn_by_seed_epoch_and_index(videos):
    """By the same key as all else; and frames, crops and flips stay those of a run without it."""

    def clips(seed: int, epoch: int, recipe: RandAugment | None, augment: bool = True) -> list[Clip]:
        dataset = ClipDataset(videos, RandomClips((1, 3), True, augment, randaugment=recipe), seed)
        return [dataset[ClipRequest(index, SHAPE, epoch)] for index in (2, 0, 1)]

    recipe = RandAugment(4, 9)
    ours = clips(3, 5, recipe)
    drawn = [tuple(clip.augmentation_params) for clip in ours]
    assert drawn == [tuple(clip.augmentation_params) for clip in clips(3, 5, recipe, augment=False)]
    others = [*clips(3, 6, recipe), *clips(4, 5, recipe)]
    assert len({*drawn, *(tuple(clip.augmentation_params) for clip in others)}) == 9
    for clip, plain in zip(ours, clips(3, 5, None), strict=True):
        assert torch.equal(clip.frames, plain.frames)
        assert named_params(clip.augmentation_params[None])["operations"].any()
        assert not named_params(plain.augmentation_params[None])["operations"].any()


def test_validation_is_never_augmented(videos):
    clip = ClipDataset(videos, UniformClips(2, clips=3), seed=1)[ClipRequest(1, SHAPE, 9)]
    assert clip.augmentation_params.tolist() == identity_params().tolist()


def test_all_frames_of_a_clip_show_the_same_crop_and_are_flipped_alike(tmp_path):
    """Crops that change between frames would add motion that the video does not have."""
    rng = np.random.default_rng(0)
    picture = jpeg(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    write_database(tmp_path / "run" / "still", [picture] * 12)
    videos = pack(tmp_path, CLASSES, [(0, FoundVideo("run", "still", 12, ""))])
    clips = [training(videos)[ClipRequest(0, SHAPE, epoch)].frames[0] for epoch in range(6)]
    for clip in clips:
        assert all(torch.equal(frame, clip[0]) for frame in clip)
    assert len({clip.numpy().tobytes() for clip in clips}) > 1


def test_max_interval_factor_of_the_request_raises_the_highest_interval(videos):
    dataset = ClipDataset(videos, RandomClips((1, 1), flip=False), seed=0)
    intervals = set()
    for epoch in range(60):
        clip = dataset[ClipRequest(1, ClipShape(2, 8, 8), epoch, max_interval_factor=4.0)]
        first, second = frame_numbers(clip.frames[0].numpy())
        intervals.add(second - first)
    assert intervals == {1, 2, 3, 4}


def test_frames_repeated_in_a_short_video_are_counted(tmp_path):
    videos = video_list(tmp_path, frame_counts=(3, FRAMES))
    clip = training(videos)[ClipRequest(0, SHAPE, epoch=1)]
    assert frame_numbers(clip.frames[0].numpy()) == [0, 0, 1, 2]
    assert clip.repeated_frames == 1
    views = ClipDataset(videos, UniformClips(1, clips=2), seed=0)[ClipRequest(0, SHAPE, epoch=0)]
    assert views.repeated_frames == 2


def test_a_wrong_n_frames_does_not_matter(tmp_path):
    """Other tools write wrong counts; the database is counted instead."""
    videos = video_list(tmp_path, frame_counts=(6,), n_frames="600")
    for epoch in range(20):
        clip = training(videos)[ClipRequest(0, SHAPE, epoch)]
        assert not clip.bad_videos
        assert max(frame_numbers(clip.frames[0].numpy())) < 6


def test_views_of_an_evaluation_are_evenly_spaced_and_never_random(videos):
    sampling = UniformClips(2, clips=3)
    for seed, epoch in ((0, 0), (9, 4)):
        clip = ClipDataset(videos, sampling, seed)[ClipRequest(1, SHAPE, epoch)]
        assert clip.frames.shape == (3, 4, 16, 16, 3)
        numbers = [[number - 64 for number in frame_numbers(view)] for view in clip.frames.numpy()]
        assert numbers == [[0, 2, 4, 6], [6, 8, 10, 12], [13, 15, 17, 19]]


def test_a_bad_video_is_reported_with_its_file_and_its_clip_is_empty(damaged):
    """As a value, not as an exception, which would arrive from a worker as a traceback."""
    clip = training(damaged(1))[ClipRequest(1, SHAPE, epoch=1)]
    assert clip.frames.numel() == 0
    (bad,) = clip.bad_videos
    assert (bad.video, bad.replacement) == (1, None)
    assert "video_1/frames.db" in bad.reason


def test_a_bad_video_is_replaced_by_another_and_its_label(damaged):
    videos = damaged(1, 3)
    dataset = training(videos, replace_bad=True)
    replacements = set()
    for epoch in range(30):
        clip = dataset[ClipRequest(1, SHAPE, epoch)]
        assert clip.bad_videos[0].video == 1
        assert [bad.replacement for bad in clip.bad_videos[:-1]] == [bad.video for bad in clip.bad_videos[1:]]
        assert clip.bad_videos[-1].replacement == clip.video
        assert clip.video in (0, 2, 4)
        assert clip.label == clip.video % 2
        assert set(np.array(frame_numbers(clip.frames[0].numpy())) // 64) == {clip.video}
        replacements.add(clip.video)
        again = training(videos, replace_bad=True)[ClipRequest(1, SHAPE, epoch)]
        assert torch.equal(again.frames, clip.frames)
        assert again[1:-1] == clip[1:-1]
        assert np.array_equal(again.augmentation_params, clip.augmentation_params)
    assert replacements == {0, 2, 4}
    assert not dataset[ClipRequest(0, SHAPE, epoch=1)].bad_videos


def test_if_no_video_can_be_read_the_search_ends(damaged):
    """A disk that was disconnected must not keep a worker busy forever."""
    clip = training(damaged(0, 1, 2, 3, 4), replace_bad=True)[ClipRequest(1, SHAPE, epoch=1)]
    assert clip.frames.numel() == 0
    assert clip.bad_videos[-1].replacement is None
    assert len(clip.bad_videos) == 11


def test_a_damaged_frame_counts_as_a_bad_video(tmp_path):
    videos = video_list(tmp_path, frame_counts=(4,))
    good = jpeg(np.zeros((48, 64, 3), np.uint8))
    (videos.folder(0) / "frames.db").unlink()
    write_database(videos.folder(0), [good, good, b"\xff\xd8 no more", good])
    (bad,) = training(videos)[ClipRequest(0, SHAPE, epoch=1)].bad_videos
    assert "frame_00003" in bad.reason


class NumberedSource:
    """A source whose frame n is of grey level n; the videos with an odd number cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.number = int(folder.name.removeprefix("video_"))

    def __enter__(self) -> "NumberedSource":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __len__(self) -> int:
        if self.number % 2:
            raise VideoSourceError(f"video {self.number} cannot be read")
        return 10

    def size(self) -> tuple[int, int]:
        return 32, 48

    def read(
        self, indices: Sequence[int], crop_box: CropBox | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        assert crop_box is not None and out is not None
        crop_box.check_inside(*self.size())
        out[...] = np.array(indices).reshape(-1, 1, 1, 1)
        return out


def test_clips_are_read_from_any_source_and_its_errors_are_those_of_a_bad_video(videos, monkeypatch):
    """Else a new kind of video file needs changes wherever a clip is read."""
    monkeypatch.setitem(SOURCES, "numbered", NumberedSource)
    dataset = ClipDataset(videos, UniformClips(2), seed=0, source="numbered")
    clip = dataset[ClipRequest(2, SHAPE, epoch=0)]
    assert clip.frames[0, :, 0, 0, 0].tolist() == [1, 3, 5, 7]
    assert clip.label == 0
    (bad,) = dataset[ClipRequest(1, SHAPE, epoch=0)].bad_videos
    assert bad.reason == "video 1 cannot be read"


def timed_list(jpg: Path, *rates: float | None) -> VideoList:
    """Video v shows the numbers from 64 v on, and has the v-th rate."""
    found = []
    for number, rate in enumerate(rates):
        origin = Origin("v", "a.mp4", 1, "ab", None, None, 360, 90, False, fps=rate)
        write_frames(jpg / "run" / f"v{number}", numbered_jpegs(range(64 * number, 64 * number + 48)), origin.rows)
        found.append((0, FoundVideo("run", f"v{number}", 48, "")))
    return pack(jpg, ("run",), found)


def test_an_interval_in_time_is_the_same_time_in_videos_of_any_rate(tmp_path):
    """Half of the videos would otherwise be seen at twice the speed."""
    videos = timed_list(tmp_path, 15.0, 30.0, 60.0, None)
    dataset = ClipDataset(videos, UniformClips(2, rate=30.0), seed=0)
    for index, step in enumerate((1, 2, 4)):
        clip = dataset[ClipRequest(index, SHAPE, epoch=0)]
        numbers = np.array(frame_numbers(clip.frames[0].numpy()))
        assert set(numbers // 64) == {index} and set(np.diff(numbers)) == {step}
        assert (clip.bad_videos, clip.repeated_frames) == ((), 0)
    slow = ClipDataset(videos, UniformClips(1, rate=60.0), seed=0)[ClipRequest(0, SHAPE, epoch=0)]
    assert slow.repeated_frames == 4 - len(set(frame_numbers(slow.frames[0].numpy()))) >= 2


def test_a_video_of_unknown_rate_is_a_bad_video_where_the_interval_is_a_time(tmp_path):
    videos = timed_list(tmp_path, 30.0, None)
    lost = ClipDataset(videos, UniformClips(2, rate=30.0), seed=0)[ClipRequest(1, SHAPE, epoch=0)]
    assert lost.is_lost and str(videos.folder(1)) in lost.bad_videos[0].reason
    training = ClipDataset(videos, RandomClips((1, 2), flip=False, rate=30.0), seed=0, replace_bad=True)
    clip = training[ClipRequest(1, SHAPE, epoch=0)]
    assert not clip.is_lost and (clip.video, clip.bad_videos[-1].replacement) == (0, 0)
    for sampling in (UniformClips(2), UniformClips(2, span=True), RandomClips((1, 2), True, sampling="span")):
        assert not ClipDataset(videos, sampling, seed=0)[ClipRequest(1, SHAPE, epoch=0)].is_lost


def test_the_rate_is_read_only_where_it_is_needed(videos, monkeypatch):
    """It takes a query for each clip."""
    monkeypatch.setattr(FrameStore, "rate", lambda self: pytest.fail("a query more"))
    for sampling in (RandomClips((1, 3), flip=True), UniformClips(2), UniformClips(2, span=True)):
        ClipDataset(videos, sampling, seed=0)[ClipRequest(0, SHAPE, epoch=0)]


class Opened:
    """Counts how often videos are opened."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.places: list[object] = []
        self._open = dataset.open_video
        dataset.open_video = self  # type: ignore[assignment]

    def __call__(self, place: object) -> object:
        self.places.append(place)
        return self._open(place)


def read_repeats(dataset: ClipDataset, index: int, repeats: int, epoch: int = 5) -> tuple[list[Clip], np.ndarray]:
    frames = np.empty((repeats, 1, *SHAPE, 3), np.uint8)
    asked = [ClipRequest(index, SHAPE, epoch, repeat=repeat) for repeat in range(repeats)]
    return dataset.read_all(asked, list(frames)), frames


def test_clips_of_a_video_are_drawn_apart_and_the_video_is_opened_once(videos):
    """The first has the draws of a run without --repeat-clips, also with a seed of two words (see `_clip`)."""
    for seed in (3, 2**40 + 1):
        dataset = ClipDataset(videos, RandomClips((1, 3), flip=True, augment=True), seed)
        opened = Opened(dataset)
        clips, frames = read_repeats(dataset, 2, 4)
        assert len(opened.places) == 1
        alone = dataset[ClipRequest(2, SHAPE, 5)]
        assert np.array_equal(alone.frames.numpy(), frames[0])
        drawn = random_params(np.random.default_rng(np.random.SeedSequence((seed, 5, 2), spawn_key=(0,))))
        assert np.array_equal(clips[0].augmentation_params, drawn)
        assert len({each.tobytes() for each in frames}) > 2  # frames of one colour may be the same
        assert {clip.label for clip in clips} == {0} and {clip.video for clip in clips} == {2}
        for repeat in (1, 3):  # however they are asked for
            again = dataset[ClipRequest(2, SHAPE, 5, repeat=repeat)]
            assert np.array_equal(again.frames.numpy(), frames[repeat])
            assert np.array_equal(again.augmentation_params, clips[repeat].augmentation_params)


def test_a_bad_video_counts_once_and_each_of_its_clips_is_replaced(damaged):
    """--bad-video-limit counts videos."""
    broken = damaged(2)
    clips, frames = read_repeats(training(broken, replace_bad=True), 2, 3)
    assert [bad.video for clip in clips for bad in clip.bad_videos].count(2) == 1
    assert not any(clip.is_lost for clip in clips)
    for clip, each in zip(clips, frames, strict=True):
        assert set(np.array(frame_numbers(each[0])) // 64) == {clip.video} != {2}
    lost, _ = read_repeats(training(broken), 2, 2)
    assert all(clip.is_lost for clip in lost)


def test_a_mirrored_clip_has_the_label_that_mirroring_makes(videos):
    """With its own label, half of the examples of "turn left" would show a turn to the right."""
    plain, swapped = (
        ClipDataset(videos, RandomClips((1, 3), flip=True), 3, mirrored_labels=labels) for labels in (None, [1, 0])
    )
    kept = ClipDataset(videos, RandomClips((1, 3), flip=True), 3, mirrored_labels=[-1, 1])
    mirrored = 0
    for epoch in range(40):
        for index in (0, 1):
            request = ClipRequest(index, SHAPE, epoch)
            rng = np.random.default_rng((3, epoch, index))
            plain.sampling.frames(FRAMES, request, rng)
            (box,) = plain.sampling.crop_boxes((48, 64), SHAPE, rng)
            mirrored += box.flip
            one, two, three = plain[request], swapped[request], kept[request]
            assert torch.equal(one.frames, two.frames)
            assert (one.label, two.label, three.label) == (index, index ^ box.flip, index)
    assert 20 < mirrored < 60


def test_clips_of_a_class_that_is_not_mirrored_are_the_same_but_unmirrored(tmp_path):
    """Written text; and the draws of other choices stay as they are."""
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, 32:] = 255
    write_database(tmp_path / "run" / "v", [jpeg(half)] * 9)
    made = pack(tmp_path, ("run",), [(0, FoundVideo("run", "v", 9, ""))])
    sampling = RandomClips((1, 1), flip=True)
    mirrored = 0
    for epoch in range(20):
        one, other = (
            ClipDataset(made, sampling, 3, mirrored_labels=labels)[ClipRequest(0, SHAPE, epoch)].frames[0].numpy()
            for labels in (None, [-1])
        )
        assert other[0, :, -1].mean() > other[0, :, 0].mean()
        is_mirrored = one[0, :, -1].mean() < one[0, :, 0].mean()
        mirrored += is_mirrored
        assert np.array_equal(one[:, :, ::-1] if is_mirrored else one, other)
    assert 0 < mirrored < 20
