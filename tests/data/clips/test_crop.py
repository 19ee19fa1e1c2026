"""Which part of the frames a clip shows: a mistake hides parts of videos or is another test protocol."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clips.crop import centre_crop, random_crop, spread_crops
from data.clips.types import ClipShape

sizes = st.tuples(st.integers(8, 1080), st.integers(8, 1920))
shapes = st.builds(ClipShape, st.just(4), st.integers(1, 300), st.integers(1, 300))


@given(size=sizes, shape=shapes, flip=st.booleans(), seed=st.integers(0, 2**32))
def test_every_crop_lies_within_the_frame_and_has_the_requested_shape(size, shape, flip, seed):
    for box in (random_crop(size, shape, flip, np.random.default_rng(seed)), centre_crop(size, shape)):
        box.check_inside(*size)
        assert (box.out_height, box.out_width) == (shape.height, shape.width)


@given(size=sizes, side=st.integers(16, 300))
def test_the_crop_is_256_294ths_of_the_shorter_side_and_keeps_its_proportions(size, side):
    """The original resizes the shorter side to 294/256 of the crop; another ratio would be another test protocol."""
    box = centre_crop(size, ClipShape(4, side, side))
    assert box.height == box.width
    exact = min(size) * 256 / 294
    assert abs(box.height - exact) <= max(0.5 * box.reduction, 0.005 * exact)


@pytest.mark.parametrize(
    ("size", "side", "height", "reduction"),
    [((256, 340), 224, 224, 1), ((256, 340), 112, 224, 2), ((360, 640), 112, 314, 2), ((360, 640), 78, 312, 4)],
)
def test_crops_of_real_sizes_are_read_without_scaling_or_from_reduced_frames(size, side, height, reduction):
    """Otherwise frames are decoded in full, or resized from 223 to 224 pixels, which takes time and gains nothing."""
    shape = ClipShape(16, side, side)
    for box in (
        centre_crop(size, shape),
        *(random_crop(size, shape, True, np.random.default_rng(n)) for n in (1, 2)),
    ):
        assert (box.height, box.width, box.reduction) == (height, height, reduction)


def test_the_centre_crop_of_a_real_size():
    """360 x 640 as videos are stored, a clip of 224: the frame scaled by 224/313.6 and cut in the middle."""
    box = centre_crop((360, 640), ClipShape(16, 224, 224))
    assert box == (23, 163, 313, 313, 224, 224, False)


@given(size=sizes, shape=shapes)
def test_the_centre_crop_is_in_the_middle(size, shape):
    box = centre_crop(size, shape)
    off = 2 * box.reduction - 1  # the grid of a reduced frame's crop
    assert 0 <= (size[0] - box.height - box.top) - box.top <= off
    assert 0 <= (size[1] - box.width - box.left) - box.left <= off


def test_random_crops_reach_every_place_and_both_sides():
    """A range without the last row or column would never show the border of a video."""
    size, shape = (24, 30), ClipShape(4, 16, 16)
    boxes = [random_crop(size, shape, True, np.random.default_rng(seed)) for seed in range(800)]
    side = boxes[0].height
    assert {box.top for box in boxes} == set(range(24 - side + 1))
    assert {box.left for box in boxes} == set(range(30 - side + 1))
    flips = Counter(box.flip for box in boxes)
    assert 300 < flips[True] < 500


def test_without_flip_nothing_is_flipped():
    """--augment none is for datasets whose classes differ by left and right."""
    boxes = [random_crop((24, 30), ClipShape(4, 16, 16), False, np.random.default_rng(seed)) for seed in range(50)]
    assert not any(box.flip for box in boxes)


def test_a_crop_has_the_proportions_of_a_shape_that_is_not_square():
    box = centre_crop((200, 200), ClipShape(4, 50, 100))
    assert box.width == round(200 * 256 / 294)
    assert box.height == round(100 * 256 / 294)


@given(size=sizes, shape=shapes, crops=st.integers(1, 5))
def test_several_crops_are_spread_over_the_longer_side_alone(size, shape, crops):
    """Three-crop scores would be of other views than those of published ones."""
    boxes = spread_crops(size, shape, crops)
    centre = centre_crop(size, shape)
    assert len(boxes) == crops and all(box[2:] == centre[2:] for box in boxes)
    for box in boxes:
        box.check_inside(*size)
    if crops == 1:
        assert boxes == [centre]
        return
    is_high = size[0] > size[1]
    assert all((box.left == centre.left) if is_high else (box.top == centre.top) for box in boxes)
    ends = [boxes[0].top, boxes[-1].top + centre.height] if is_high else [boxes[0].left, boxes[-1].left + centre.width]
    assert ends[0] == 0 and max(size) - ends[1] < centre.reduction + 4
    if crops % 2:
        middle = boxes[crops // 2]
        assert abs(middle.top - centre.top) <= 4 and abs(middle.left - centre.left) <= 4


def test_three_crops_of_a_wide_frame_are_left_centre_and_right():
    """Worked by hand: the crop of 256 from 294 is unscaled here."""
    boxes = spread_crops((294, 400), ClipShape(4, 256, 256), 3)
    assert [(box.top, box.left, box.height) for box in boxes] == [(19, 0, 256), (19, 72, 256), (19, 144, 256)]
    boxes = spread_crops((400, 294), ClipShape(4, 256, 256), 3)
    assert [(box.top, box.left, box.height) for box in boxes] == [(0, 19, 256), (72, 19, 256), (144, 19, 256)]
