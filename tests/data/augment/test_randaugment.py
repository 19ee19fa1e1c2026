"""RandAugment's operations agree with Pillow's, alone and one after the other, and are drawn as the flag says."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from common.errors import DataError
from data.augment.augment import Augment
from data.augment.levels import level_counts
from data.augment.params import NUM_PARAMS, identity_params, named_params
from data.augment.plain import augment_together
from data.augment.randaugment import OPERATIONS, RandAugment, params_of, randaugment_params, read_randaugment, strength
from tests.data.augment.test_augment import grey_levels, pictures

HEIGHT, WIDTH = 40, 52  # small: every pixel is counted
SIGNED = ("rotate", "colour", "contrast", "brightness", "sharpness", "shear x", "shear y", "translate x", "translate y")
CASES = [
    (name, magnitude, sign) for name in OPERATIONS[1:] for magnitude in (9, 30) for sign in (1, -1)
    if sign > 0 or name in SIGNED
]  # fmt: skip
Step = tuple[str, int, int]  # operation, magnitude, sign


def by_pillow(picture: Image.Image, name: str, magnitude: int, sign: int) -> Image.Image:
    """One operation as torchvision's RandAugment has it, with bilinear sampling."""
    part = magnitude / 30
    moves = {
        "shear x": (1, sign * 0.3 * part, 0, 0, 1, 0), "shear y": (1, 0, 0, sign * 0.3 * part, 1, 0),
        "translate x": (1, 0, -int(sign * 150 / 331 * WIDTH * part), 0, 1, 0),
        "translate y": (1, 0, 0, 0, 1, -int(sign * 150 / 331 * HEIGHT * part)),
    }  # fmt: skip
    if name in moves:
        return picture.transform(picture.size, Image.Transform.AFFINE, moves[name], Image.Resampling.BILINEAR)
    enhancers = {"colour": ImageEnhance.Color, "contrast": ImageEnhance.Contrast,
                 "brightness": ImageEnhance.Brightness, "sharpness": ImageEnhance.Sharpness}  # fmt: skip
    if name in enhancers:
        return enhancers[name](picture).enhance(1 + sign * 0.9 * part)
    if name == "rotate":
        return picture.rotate(sign * 30 * part, Image.Resampling.BILINEAR)
    if name == "posterize":
        return ImageOps.posterize(picture, {9: 7, 30: 4}[magnitude])
    if name == "solarize":
        return ImageOps.solarize(picture, {9: 178.5, 30: 0}[magnitude])
    return {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}[name](picture)


def stills(number: int = 1, seed: int = 0) -> torch.Tensor:
    """Clips (number, 3, 1, h, w) of not all levels."""
    return pictures(number, seed, (3, 1, HEIGHT, WIDTH)) // 4 * 3 + 40


def ours(clip: torch.Tensor, *steps: Step) -> np.ndarray:
    """Levels (h, w, 3) of the first frame."""
    return grey_levels(Augment()(clip, torch.from_numpy(params_of(list(steps)))[None]))[0]


def theirs(clip: torch.Tensor, *steps: Step) -> np.ndarray:
    picture = Image.fromarray(clip[0, :, 0].permute(1, 2, 0).numpy())
    for step in steps:
        picture = by_pillow(picture, *step)
    return np.asarray(picture).astype(float)


def inside(*steps: Step) -> np.ndarray:
    """The pixels (h, w) that are neither beyond the frame nor beside what is."""
    white = torch.full((1, 3, 1, HEIGHT, WIDTH), 255, dtype=torch.uint8)
    white[..., [0, 1, -2, -1], :] = white[..., [0, 1, -2, -1]] = 0
    moves = [step for step in steps if step[0].split()[0] in ("rotate", "shear", "translate")]
    return theirs(white, *moves)[..., 0] == 255


@pytest.mark.parametrize(("name", "magnitude", "sign"), CASES)
def test_an_operation_is_that_of_pillow(name: str, magnitude: int, sign: int):
    """Another strength, sign or centre is another recipe than the one whose results were published."""
    clip, step = stills(), (name, magnitude, sign)
    mine, expected, where = ours(clip, step), theirs(clip, step), inside(step)
    assert where.mean() > 0.3 and np.abs(expected - theirs(clip))[where].max() > 0.9, "nothing is tested"
    assert np.abs(mine - expected)[where].max() < 1.6
    assert np.abs(mine - expected)[where].mean() < 0.6


def test_what_is_beyond_the_frame_is_black():
    """As by Pillow and torchvision."""
    clip, moved = stills(), int(150 / 331 * WIDTH)
    picture = ours(clip, ("translate x", 30, 1))
    assert np.abs(picture[:, :moved]).max() < 0.01
    assert np.abs(picture[:, moved:] - theirs(clip)[:, :-moved]).max() < 0.01


CHAINS = [
    [("solarize", 9, 1), ("equalize", 9, 1)], [("equalize", 9, 1), ("solarize", 9, 1)],
    [("autocontrast", 9, 1), ("posterize", 30, 1)], [("posterize", 30, 1), ("autocontrast", 9, 1)],
    [("brightness", 9, 1), ("solarize", 9, 1)], [("solarize", 9, 1), ("brightness", 9, 1)],
    [("brightness", 30, -1), ("contrast", 30, 1)], [("contrast", 30, -1), ("equalize", 9, 1), ("brightness", 9, 1)],
    [("shear x", 9, 1), ("rotate", 30, -1)], [("rotate", 30, -1), ("shear x", 9, 1)],
    [("translate x", 9, 1), ("shear y", 30, -1)], [("shear y", 30, -1), ("translate x", 9, 1)],
    [("sharpness", 30, -1), ("sharpness", 9, 1)], [("colour", 9, -1), ("colour", 9, -1)],
    [("equalize", 9, 1), ("rotate", 9, 1)], [("autocontrast", 9, 1), ("sharpness", 9, -1)],
    [("posterize", 9, 1), ("translate y", 9, -1), ("sharpness", 9, -1), ("colour", 9, -1)],
]  # fmt: skip


@pytest.mark.parametrize("steps", CHAINS, ids=lambda steps: ", ".join(name for name, _, _ in steps))
def test_one_operation_after_the_other(steps: list[Step]):
    """Tables, movements and kernels are each composed in the order drawn: mostly another order is another picture."""
    clip = stills()
    mine, expected, where = ours(clip, *steps), theirs(clip, *steps), inside(*steps)
    assert where.mean() > 0.2
    has_moved = inside().sum() > where.sum()
    assert np.abs(mine - expected)[where].max() < (12 if has_moved else 4)  # Pillow rounds, or samples, twice
    assert np.abs(mine - expected)[where].mean() < 1.3


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "contrast"])
def test_the_statistics_are_of_the_whole_clip(name: str):
    """Those of each frame would make a clip flicker, which is motion that the video does not have."""
    dark, light = stills(seed=1) // 2, stills(seed=2)
    both = grey_levels(Augment()(torch.cat([dark, light], 2), torch.from_numpy(params_of([(name, 9, 1)]))[None]))
    expected = theirs(torch.cat([dark, light], 4), (name, 9, 1))  # side by side
    assert np.abs(np.concatenate(list(both), 1) - expected).max() < 1.6
    assert np.abs(both[0] - ours(dark, (name, 9, 1))).max() > 10


def test_large_frames_are_counted_in_part():
    """All pixels of a long clip would take longer than all else; and too few would not be its levels."""
    clips = pictures(2, 3, (3, 2, 240, 320))
    counts = level_counts(clips, torch.tensor([1]))
    assert counts.shape == (1, 3, 256) and counts.sum((0, 2)).tolist() == [2 * 60 * 80] * 3
    whole = torch.stack([torch.bincount(channel.flatten().int(), minlength=256) for channel in clips[1]])
    assert (counts[0].cumsum(1) / counts[0].sum(1)[0] - whole.cumsum(1) / whole.sum(1)[0]).abs().max() < 0.01
    assert level_counts(pictures(1), torch.tensor([0])).sum() == pictures(1).numel()


def test_a_channel_of_one_level_stays():
    """Black frames, as at the beginning of films; a division by their contrast would be anything."""
    for level in (0, 77, 255):
        clip = torch.full((1, 3, 2, 8, 9), level, dtype=torch.uint8)
        for name in ("autocontrast", "equalize", "contrast"):
            assert np.abs(ours(clip, (name, 30, 1)) - level).max() < 0.01


def drawn(number: int, recipe: RandAugment, seed: int = 0) -> np.ndarray:
    return np.stack([randaugment_params(recipe, np.random.default_rng((seed, each))) for each in range(number)])


def test_operations_are_drawn_evenly_and_with_replacement():
    """All 14 with the same probability, with either sign, at each place."""
    params = drawn(4000, RandAugment(2, 9))
    assert params.shape == (4000, NUM_PARAMS) and params.dtype == np.float32
    fields = named_params(params)
    operations, strengths = fields["operations"][:, :2].astype(int), fields["strengths"][:, :2]
    assert not fields["operations"][:, 2:].any() and not fields["strengths"][:, 2:].any()
    for of_place in operations.T:
        assert np.abs(np.bincount(of_place, minlength=14) * 14 / 4000 - 1).max() < 0.25
    assert abs((operations[:, 0] == operations[:, 1]).mean() - 1 / 14) < 0.02
    for number, name in enumerate(OPERATIONS):
        found = strengths[operations == number]
        expected = [strength(name, 9, sign) for sign in (-1, 1)]
        for value in expected:
            assert abs(np.isclose(found, value).mean() - (0.5 if name in SIGNED else 1)) < 0.1
    neutral = named_params(identity_params()[None])
    others = [name for name in neutral.dtype.names if name not in ("operations", "strengths")]
    assert all(np.array_equal(fields[name], np.repeat(neutral[name], 4000, 0)) for name in others)


def test_a_clip_does_not_depend_on_its_batch():
    """Otherwise results would change with --gpus, --accumulate and the batch size."""
    clips, params = pictures(30, 1), torch.from_numpy(drawn(30, RandAugment(3, 15)))
    together = Augment()(clips, params)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(Augment()(clips[order], params[order]), together[order])
    at_once = torch.empty(clips.shape)
    augment_together(clips, params, at_once, clips.shape[2])  # as on a GPU
    torch.testing.assert_close(at_once, together, rtol=0, atol=2e-4)
    assert torch.equal(clips, pictures(30, 1)), "the pixels of a batch are changed"


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 2, 3, 2), (3, 9, 17, 5)])
def test_clips_of_any_size(shape: tuple[int, ...]):
    """Tests and debugging use tiny clips."""
    clips, params = pictures(40, shape=shape), torch.from_numpy(drawn(40, RandAugment(8, 30)))
    assert Augment()(clips, params).isfinite().all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_magnitude_0_is_the_weakest(name: str):
    """No movement and factors of 1; solarize inverts 255 alone, as in torchvision."""
    clip = stills().clamp(max=254)
    clip[..., 0, 0], clip[..., 0, 1] = 0, 254
    if name != "equalize":
        difference = np.abs(ours(clip, (name, 0, -1)) - theirs(clip))
        assert difference.max() < (2 if name == "autocontrast" else 0.01)


def test_the_word_of_the_flag():
    """A slip must not be another recipe."""
    assert read_randaugment("2x9") == RandAugment(2, 9) and read_randaugment("8x30") == RandAugment(8, 30)
    assert read_randaugment("1x0") == RandAugment(1, 0)
    for word in ("", "2", "9x", "x9", "0x9", "9x9", "2x31", "2x-1", "2x9.5", "2 x 9", "2X9", "2x9\n", "²x9", "rand-m9"):
        with pytest.raises(DataError, match="2x9"):
            read_randaugment(word)
