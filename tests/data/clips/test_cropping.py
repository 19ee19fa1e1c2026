"""How crops are drawn by --crop: a mistake trains on other parts of the videos than the flags say, in silence."""

from math import log
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import DataError
from data.clips.crop import centre_crop, random_crop, spread_crops
from data.clips.cropping import AREA, ASPECT, JITTER, Cropping, read_range, read_ratio
from data.clips.dataset import ClipDataset
from data.clips.enlarged import enlarged_frames
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import FoundVideo, VideoList, pack
from data.store.frame_store import FrameStore
from tests.numbered import jpeg, write_database

KINDS = {
    "fixed": Cropping(scale=294 / 224), "whole": Cropping(scale=1.0), "jitter": Cropping("jitter"),
    "resized": Cropping("resized"),
}  # fmt: skip
SHAPE = ClipShape(4, 32, 32)
DRAWS = 2000
sizes = st.tuples(st.integers(8, 1080), st.integers(8, 1920))
shapes = st.builds(ClipShape, st.just(4), st.integers(1, 300), st.integers(1, 300))


@pytest.mark.parametrize("kind", KINDS)
@given(size=sizes, shape=shapes, seed=st.integers(0, 2**32))
def test_every_crop_lies_within_the_frame(kind: str, size: tuple[int, int], shape: ClipShape, seed: int) -> None:
    box = KINDS[kind].box(size, shape, True, np.random.default_rng(seed))
    box.check_inside(*size)
    assert (box.out_height, box.out_width) == (shape.height, shape.width)
    for crop in spread_crops(size, shape, 3, KINDS[kind].scale):
        crop.check_inside(*size)


def test_by_default_crops_are_those_of_earlier_versions() -> None:
    """A run that is resumed with this version has to go on with the same clips."""
    for seed in range(20):
        box = Cropping().box((256, 340), SHAPE, True, np.random.default_rng(seed))
        assert box == random_crop((256, 340), SHAPE, True, np.random.default_rng(seed))


def test_the_scale_is_the_shorter_side_over_the_crop_in_training_and_validation() -> None:
    """The original's published numbers are of crops of 224 from a shorter side of 294."""
    shape = ClipShape(16, 224, 224)
    box = Cropping(scale=294 / 224).box((588, 900), shape, False, np.random.default_rng(1))
    assert (box.height, box.width, box.reduction) == (448, 448, 2)
    centre = centre_crop((294, 400), shape, 294 / 224)
    assert (centre.height, centre.width, centre.top, centre.left) == (224, 224, 35, 88)


def quarters(values: np.ndarray, low: float, high: float) -> np.ndarray:
    assert values.min() >= low and values.max() <= high
    return np.histogram(values, 4, (low, high))[0] / len(values)


@pytest.mark.parametrize("side", [56, 112, 224])
def test_jitter_draws_the_scale_uniformly_relative_to_the_crop(side: int) -> None:
    """Of a small crop of a multigrid cycle as of the full one: else its clips would show another part of the frame."""
    size, shape = (1000, 1200), ClipShape(4, side, side)
    boxes = [Cropping("jitter").box(size, shape, False, np.random.default_rng(seed)) for seed in range(DRAWS)]
    scales = size[0] / np.array([box.height for box in boxes])
    assert np.abs(quarters(scales, JITTER[0] - 0.01, JITTER[1] + 0.01) - 0.25).max() < 0.04
    assert all(box.height == box.width for box in boxes)


def test_resized_draws_area_and_proportions_uniformly() -> None:
    """The area itself and the logarithm of the proportions, as Inception and its successors do."""
    size, area = (900, 1600), (0.1, 0.4)  # of which all rectangles fit
    cropping = Cropping("resized", area=area)
    boxes = [cropping.box(size, SHAPE, False, np.random.default_rng(seed)) for seed in range(DRAWS)]
    heights, widths = (np.array([getattr(box, name) for box in boxes]) for name in ("height", "width"))
    assert np.abs(quarters(heights * widths / (900 * 1600), 0.098, 0.403) - 0.25).max() < 0.04
    bound = log(ASPECT[1]) + 0.02
    assert np.abs(quarters(np.log(widths / heights), -bound, bound) - 0.25).max() < 0.04
    places = np.array([(box.top / (900 - box.height), box.left / (1600 - box.width)) for box in boxes])
    assert np.abs(quarters(places.ravel(), 0, 1) - 0.25).max() < 0.04


def test_resized_reaches_the_ends_of_the_published_ranges() -> None:
    areas = []
    for seed in range(DRAWS):
        box = Cropping("resized").box((1000, 1000), SHAPE, False, np.random.default_rng(seed))
        areas.append(box.height * box.width / 1000**2)
    assert AREA[0] - 0.005 <= min(areas) < AREA[0] + 0.02 and max(areas) > 0.95


def test_a_frame_into_which_no_rectangle_fits_gives_the_nearest_one() -> None:
    """A banner of 100x1000 has no rectangle of 90 % of its area that is nearly square."""
    box = Cropping("resized", area=(0.9, 1.0)).box((100, 1000), SHAPE, False, np.random.default_rng(0))
    assert (box.height, box.width) == (100, 134) and box.left > 0  # edges are even: the frame is read at half its size
    box = Cropping("resized", area=(0.9, 1.0)).box((1000, 100), SHAPE, False, np.random.default_rng(0))
    assert (box.height, box.width) == (134, 100)


def test_proportions_are_those_of_the_clip() -> None:
    """Else a clip that is not square would be stretched by more than --crop-aspect says."""
    cropping = Cropping("resized", area=(0.2, 0.2), aspect=(1.0, 1.0))
    box = cropping.box((600, 600), ClipShape(4, 20, 40), False, np.random.default_rng(0))
    assert box.width == pytest.approx(2 * box.height, rel=0.02)


def test_the_mirror_is_drawn_in_every_kind() -> None:
    for cropping in KINDS.values():
        flips = [cropping.box((90, 120), SHAPE, True, np.random.default_rng(seed)).flip for seed in range(400)]
        assert 150 < sum(flips) < 250
        assert not any(cropping.box((90, 120), SHAPE, False, np.random.default_rng(seed)).flip for seed in range(50))


@pytest.mark.parametrize(
    ("text", "value"), [("294/224", 1.3125), ("1.3125", 1.3125), ("256/224", 8 / 7), (" 2 ", 2.0), (".5", 0.5)]
)
def test_a_ratio_is_a_number_or_two(text: str, value: float) -> None:
    assert read_ratio(text) == value


@pytest.mark.parametrize("text", ["", "1/0", "a/b", "-1", "1/2/3", "1e3", "nan", "294x224"])
def test_what_is_no_ratio_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        read_ratio(text)
    with pytest.raises(DataError):
        read_range([text, "2"])


def test_a_range_has_two_ends_in_order() -> None:
    assert read_range(["256/224", "320/224"]) == read_range("8/7,10/7") == JITTER
    for words in (["1"], ["2", "1"], ["1", "2", "3"]):
        with pytest.raises(DataError):
            read_range(words)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> VideoList:
    """A video of 12 frames, all of one smooth picture of 96x128."""
    jpg = tmp_path_factory.mktemp("still")
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (128, 96), interpolation=cv2.INTER_CUBIC)
    write_database(jpg / "a" / "v", [jpeg(picture)] * 12)
    return pack(jpg, ("a",), [(0, FoundVideo("a", "v", 12, ""))])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [20, 32, 64])
def test_the_region_that_is_decoded_is_that_of_the_whole_frame(still: VideoList, kind: str, side: int) -> None:
    """Of all frames the same one: a crop that moves within a clip would be motion that is not in the video."""
    whole = FrameStore(Path(still.folder(0))).read([0])[0]
    shape = ClipShape(4, side, side)
    clips = RandomClips((1, 2), flip=True, cropping=KINDS[kind])
    for epoch in range(12):
        frames = ClipDataset(still, clips, 3)[ClipRequest(0, shape, epoch)].frames[0].numpy()
        assert all(np.array_equal(frame, frames[0]) for frame in frames)
        rng = np.random.default_rng((3, epoch, 0))
        clips.frames(12, ClipRequest(0, shape, epoch), rng)
        (box,) = clips.crop_boxes((96, 128), shape, rng)
        region = whole[box.top : box.top + box.height, box.left : box.left + box.width]
        interpolation = cv2.INTER_AREA if box.reduction > 1 else cv2.INTER_LINEAR
        expected = cv2.resize(region, (side, side), interpolation=interpolation)
        expected = expected[:, ::-1] if box.flip else expected
        assert np.abs(frames[0].astype(int) - expected).mean() < 2


@pytest.mark.parametrize(
    ("cropping", "fits", "told"),
    [
        (Cropping(scale=294 / 224), 73, "is 98"), (Cropping("jitter"), 67, "is 85 to 106"),
        (Cropping("resized"), 96, "below 97"),
    ],
)  # fmt: skip
def test_enlarged_frames_are_told_for_every_kind(still: VideoList, cropping: Cropping, fits: int, told: str) -> None:
    """The shorter side is 96: clips of one pixel more than fit are told to be blurred."""
    assert enlarged_frames(still, ClipShape(4, fits, fits), "training", cropping) is None
    side = 97 if cropping.kind == "resized" else 74
    small = enlarged_frames(still, ClipShape(4, side, side), "training", cropping)
    expected = told.replace("98", str(round(side * 294 / 224))).replace("85 to 106", f"{round(side * 8 / 7)} to 106")
    assert small is not None and small.text.endswith(expected)
