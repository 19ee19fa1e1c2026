"""Each augmentation agrees with numpy and OpenCV, and a clip's result depends on its own parameters only."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch

from common.kernels.switch import use_kernels
from common.normalisation import NORMALISATIONS, SRTG
from data.augment.augment import Augment
from data.augment.normalise import MEAN, SCALE, Normalise
from data.augment.ops import noise
from data.augment.params import NAMED_DTYPE, identity_params, random_params
from data.augment.plain import augment_together
from data.augment.randaugment import RandAugment, randaugment_params

SHAPE = (3, 5, 40, 56)  # channels, frames, height, width


def make_params(**values: object) -> torch.Tensor:
    """Augmentation parameters (1, NUM_PARAMS) with these values, the others without effect."""
    named = identity_params().view(NAMED_DTYPE)
    for name, value in values.items():
        named[name] = value
    return torch.from_numpy(named.view(np.float32))[None]


def random_batch(number: int, seed: int = 0) -> torch.Tensor:
    """Random augmentation parameters (number, NUM_PARAMS)."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([random_params(rng) for _ in range(number)]))


def pictures(clips: int = 1, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Smooth coloured clips (clips, 3, T, h, w) in uint8, stored as (clips, T, h, w, 3), all frames different."""
    rng = np.random.default_rng(seed)
    _, frames, height, width = shape
    coarse = rng.integers(0, 256, (clips * frames, 8, 10, 3), dtype=np.uint8)
    smooth = [cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR) for picture in coarse]
    return torch.from_numpy(np.stack(smooth)).view(clips, frames, height, width, 3).permute(0, 4, 1, 2, 3)


def grey_levels(normalised: torch.Tensor) -> np.ndarray:
    """Normalised (1, 3, T, h, w) back to 0..255, float64 (T, h, w, 3)."""
    frames = normalised.double()[0].permute(1, 2, 3, 0).numpy()
    return frames / SCALE + np.array(MEAN)


def augmented(clip: torch.Tensor, **values: object) -> np.ndarray:
    return grey_levels(Augment()(clip, make_params(**values)))


def frames_of(clip: torch.Tensor) -> Iterator[np.ndarray]:
    """Frames (h, w, 3) in float32."""
    return iter(clip[0].permute(1, 2, 3, 0).float().numpy())


def assert_frames(ours: np.ndarray, expected: list[np.ndarray], tolerance: float = 0.01) -> None:
    assert np.abs(ours - np.stack(expected).clip(0, 255)).max() <= tolerance


@pytest.fixture
def clip() -> torch.Tensor:
    return pictures()


def test_normalisation_is_that_of_the_published_weights():
    """(x/255 - mean/255) / std with mean (124, 117, 104), red first, and std 1/(0.0167*255)."""
    clips = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    mean = torch.tensor([124, 117, 104], dtype=torch.float64).view(1, 3, 1, 1, 1) / 255
    expected = (clips.double() / 255 - mean) / (1 / (0.0167 * 255))
    torch.testing.assert_close(Normalise()(clips), expected.float())


def test_normalised_clips_are_contiguous_for_any_layout():
    """Workers give channels-last clips, but convolutions and sub-batch norm need channels first."""
    stored = torch.randint(0, 256, (2, 4, 5, 6, 3), dtype=torch.uint8)
    clips = stored.permute(0, 4, 1, 2, 3)
    normalised = Normalise()(clips)
    assert normalised.dtype == torch.float32
    assert normalised.is_contiguous()
    torch.testing.assert_close(normalised, Normalise()(clips.contiguous()))


def test_the_input_is_not_changed_and_nothing_is_saved_in_checkpoints():
    clips = torch.full((2, 3, 2, 20, 20), 200, dtype=torch.uint8)
    Normalise()(clips)
    Augment()(clips, random_batch(2))
    assert (clips == 200).all()
    assert not Normalise().state_dict()
    assert not Augment().state_dict()


def test_identity_params_only_normalise(clip):
    """--augment none and flip must give the colours that validation sees."""
    torch.testing.assert_close(Augment()(clip, make_params()), Normalise()(clip), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_every_normalisation_is_of_the_same_pixels(name):
    """A network that was trained elsewhere would else learn from other colours, brightness or noise than these."""
    clips, params, of_name = pictures(clips=20), random_batch(20), NORMALISATIONS[name]
    levels = [
        Augment(normalisation=each)(clips, params) * torch.tensor(each.std).view(3, 1, 1, 1)
        + torch.tensor(each.mean).view(3, 1, 1, 1)
        for each in (SRTG, of_name)
    ]
    torch.testing.assert_close(*levels, rtol=0, atol=1e-3)
    plain = Augment(normalisation=of_name)(clips[:1], make_params())
    torch.testing.assert_close(plain, Normalise(normalisation=of_name)(clips[:1]), rtol=0, atol=2e-4)


@pytest.mark.parametrize("degrees", [-10, 3.5, 10])
def test_rotation_turns_counter_clockwise_about_the_centre_over_black(clip, degrees):
    height, width = SHAPE[2:]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    ours = augmented(clip, rotation=degrees)
    for frame, mine in zip(frames_of(clip), ours, strict=True):
        expected = cv2.warpAffine(frame, matrix, (width, height))
        # OpenCV places samples at 1/32 of a pixel.
        inner = cv2.erode(cv2.warpAffine(np.ones_like(frame[..., 0]), matrix, (width, height)), np.ones((3, 3))) > 0.999
        outer = cv2.dilate(cv2.warpAffine(np.ones_like(frame[..., 0]), matrix, (width, height)), np.ones((3, 3))) == 0
        assert np.abs(mine - expected)[inner].max() < 2
        assert np.abs(mine[outer]).max(initial=0) < 0.01
        assert inner.sum() > 0.7 * inner.size
    assert outer.any() == (abs(degrees) == 10)


def test_perspective_shows_the_quadrilateral_of_the_shifted_corners(clip):
    height, width = SHAPE[2:]
    shifts = np.array([[0.02, 0.09], [0.05, 0.0], [0.11, 0.04], [0.01, 0.07]], np.float32)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
    quadrilateral = corners + inwards * shifts * (width, height)
    half = np.float32(0.5)  # OpenCV counts from the middle of the first pixel
    matrix = cv2.getPerspectiveTransform((quadrilateral - half).astype(np.float32), corners - half)
    expected = [
        cv2.warpPerspective(frame, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        for frame in frames_of(clip)
    ]
    assert_frames(augmented(clip, corner_shifts=shifts), expected, tolerance=2)


def test_gaussian_blur(clip):
    noisy = torch.randint(0, 256, clip.shape, dtype=torch.uint8)
    expected = [cv2.GaussianBlur(frame, (5, 5), 0.3, borderType=cv2.BORDER_REFLECT_101) for frame in frames_of(noisy)]
    assert_frames(augmented(noisy, blur_sigma=0.3), expected)
    # A blur that imgaug's rounding undoes is left out.
    weak = augmented(noisy, blur_sigma=0.25)
    assert_frames(weak, list(frames_of(noisy)))
    in_full = [cv2.GaussianBlur(frame, (5, 5), 0.25) for frame in frames_of(noisy)]
    assert np.abs(weak - np.stack(in_full)).max() < 0.5


def line(length: int, angle: float) -> np.ndarray:
    """The kernel of a motion: each point is distributed over the pixels around it."""
    kernel = np.zeros((9, 9))
    for step in np.arange(length) - length // 2:
        x, y = step * np.cos(np.radians(angle)), -step * np.sin(np.radians(angle))
        for row in range(9):
            for column in range(9):
                kernel[row, column] += max(0, 1 - abs(column - 4 - x)) * max(0, 1 - abs(row - 4 - y))
    return kernel / length


@pytest.mark.parametrize(("length", "angle"), [(3, 0), (3, 90), (5, 45), (7, 30), (7, 135.5), (5, 180)])
def test_motion_blur_smears_along_a_line(clip, length, angle):
    expected = [cv2.filter2D(frame, -1, line(length, angle)) for frame in frames_of(clip)]
    assert_frames(augmented(clip, motion_kernel=length, motion_angle=angle), expected)
    both = [cv2.GaussianBlur(frame, (5, 5), 0.3) for frame in frames_of(clip)]
    both = [cv2.filter2D(frame, -1, line(length, angle)) for frame in both]
    ours = augmented(clip, motion_kernel=length, motion_angle=angle, blur_sigma=0.3)
    assert np.abs(ours - np.stack(both))[:, 4:-4, 4:-4].max() < 0.01  # two blurs mirror the border twice, ours once


def test_motion_along_a_row_does_not_mix_rows():
    clip = torch.zeros(1, 3, 1, 20, 20, dtype=torch.uint8)
    clip[..., 10, :] = 200
    blurred = augmented(clip, motion_kernel=7, motion_angle=0)
    assert np.abs(blurred[0, 10] - 200).max() < 0.01
    assert np.abs(np.delete(blurred[0], 10, axis=0)).max() < 0.01


def in_hsv(frame: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    """Add to hue and saturation (255 is the whole range of each) of a frame in grey levels."""
    hsv = cv2.cvtColor(frame / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + hue * 360 / 255) % 360
    hsv[..., 1] = np.minimum((hsv[..., 1] + saturation / 255).clip(0, 1), 2 * hsv[..., 1])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255


@pytest.mark.parametrize("hue", [-16, -5, 0, 11, 16])
@pytest.mark.parametrize("saturation", [-16, 0, 9, 16])
def test_hue_and_saturation_are_those_of_hsv(hue, saturation):
    colours = np.stack(np.meshgrid(*[np.r_[0, 1, 30:240:42, 254, 255]] * 3), -1).reshape(1, 1, 27, 27, 3)
    clip = torch.from_numpy(colours.astype(np.uint8)).permute(0, 4, 1, 2, 3)
    expected = [in_hsv(frame, hue, saturation) for frame in frames_of(clip)]
    assert_frames(augmented(clip, hue=hue, saturation=saturation), expected, tolerance=0.05)


def test_grey_stays_grey_when_saturation_is_raised():
    """In HSV, grey has the hue of red."""
    clip = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(-1, 3, 2, -1, -1)
    assert_frames(augmented(clip, hue=9, saturation=16), list(frames_of(clip)))


def test_addition_is_per_channel(clip):
    add = np.array([-5, 14.5, 3])
    assert_frames(augmented(clip, add=add), [frame + add for frame in frames_of(clip)])


def test_colour_scales_the_distance_from_the_grey_picture(clip):
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)[..., None] for frame in frames_of(clip)]
    expected = [1.6 * frame - 0.6 * of_frame for frame, of_frame in zip(frames_of(clip), grey, strict=True)]
    assert_frames(augmented(clip, colour=1.6), expected)


def test_contrast_scales_the_distance_from_medium_grey(clip):
    for contrast in (0.85, 1.115):
        expected = [127 + contrast * (frame - 127) for frame in frames_of(clip)]
        assert_frames(augmented(clip, contrast=contrast), expected)


def test_noise_is_one_normal_value_per_pixel():
    """The same in all channels and frames, and clipped at black and white."""
    clip = torch.full((1, 3, 4, 100, 101), 127, dtype=torch.uint8)
    added = augmented(clip, noise_scale=20, noise_seed=7) - 127
    assert np.abs(added - added[:1, ..., :1]).max() < 1e-3
    assert abs(added[0, ..., 0].std() - 20) < 0.6
    strong = augmented(clip, noise_scale=76.5, noise_seed=7)
    assert strong.min() > -1e-3
    assert strong.max() < 255.001
    assert 0.04 < (strong > 254.9).mean() < 0.055


@pytest.mark.parametrize("seed", [0, 1, 2**24 - 1])
def test_the_noise_is_normal_and_white(seed):
    pattern = noise(torch.tensor([seed]), 300, 301)[0, 0, 0].double().numpy()
    values = np.sort(pattern.ravel())
    quantiles = np.interp([0.001, 0.025, 0.25, 0.5, 0.75, 0.975, 0.999], np.linspace(0, 1, len(values)), values)
    assert np.abs(quantiles - [-3.09, -1.96, -0.674, 0, 0.674, 1.96, 3.09]).max() < 0.12
    assert abs(values.mean()) < 0.015
    assert abs(values.std() - 1) < 0.01
    assert abs((values**4).mean() - 3) < 0.15
    for down, right in ((0, 1), (1, 0), (1, 1), (150, 0), (0, 150)):
        shifted = np.roll(pattern, (down, right), axis=(0, 1))
        assert abs((pattern * shifted).mean()) < 0.02


def test_other_seeds_give_other_noise():
    patterns = noise(torch.tensor([3, 4, 3]), 64, 64)
    assert torch.equal(patterns[0], patterns[2])
    assert abs(float((patterns[0] * patterns[1]).mean())) < 0.06


def test_all_operations_together_are_the_chain_of_the_single_ones(clip):
    """In the documented order, and clipped only at the end."""
    height, width = SHAPE[2:]
    add, pattern = np.array([-5, 14.5, 3]), noise(torch.tensor([5]), height, width)[0, 0, 0].numpy()[..., None]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 8, 1)
    ours = augmented(
        clip, rotation=8, motion_kernel=5, motion_angle=20, hue=10, saturation=9, add=add, noise_scale=9,
        noise_seed=5, colour=1.3, contrast=1.1,
    )  # fmt: skip
    for frame, mine in zip(frames_of(clip), ours, strict=True):
        frame = cv2.warpAffine(frame, matrix, (width, height))
        frame = in_hsv(cv2.filter2D(frame, -1, line(5, 20)).astype(np.float32), 10, 9) + add + 9 * pattern
        grey = (frame @ [0.299, 0.587, 0.114])[..., None]
        expected = (127 + 1.1 * (grey + 1.3 * (frame - grey) - 127)).clip(0, 255)
        assert np.abs(mine - expected)[12:-12, 12:-12].max() < 4
        assert np.abs(mine - expected)[12:-12, 12:-12].mean() < 0.3


def test_a_clip_does_not_depend_on_its_batch():
    """Otherwise results would change with --gpus, --accumulate and the batch size."""
    clips, params = pictures(clips=12, seed=1), random_batch(12, seed=2)
    augment = Augment()
    together = augment(clips, params)
    order = torch.randperm(12)
    assert torch.equal(augment(clips[order], params[order]), together[order])
    assert torch.equal(augment(clips[1::3], params[1::3]), together[1::3])
    assert torch.equal(augment(clips, params), together)
    for index in range(12):
        assert torch.equal(augment(clips[index : index + 1], params[index : index + 1])[0], together[index])


def test_a_whole_batch_gives_the_same_as_its_clips_one_by_one():
    """A GPU takes the whole batch; its convolution may sum in another order."""
    clips, params = pictures(clips=30, seed=1), random_batch(30, seed=2)
    at_once = torch.empty(clips.shape)
    augment_together(clips, params, at_once, SHAPE[1])
    torch.testing.assert_close(at_once, Augment()(clips, params), rtol=0, atol=1e-4)


def test_the_layout_in_memory_does_not_matter():
    clips, params = pictures(clips=8, seed=3), random_batch(8, seed=4)
    expected = Augment()(clips, params)
    assert expected.is_contiguous()
    assert torch.equal(Augment()(clips.contiguous(), params), expected)
    shifted = torch.zeros(8, 3, 7, 42, 60, dtype=torch.uint8)[:, :, 1:-1, 1:-1, 2:-2].copy_(clips)
    assert torch.equal(Augment()(shifted, params), expected)
    last = Augment(memory_format=torch.channels_last_3d)(clips, params)
    assert last.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(last, expected)


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float16, 11), (torch.bfloat16, 8)])
def test_half_precision_is_rounded_only_at_the_end(dtype, digits):
    """Also under autocast, which would otherwise convolve with 8 bits of precision."""
    clips, params = pictures(clips=8, seed=5), random_batch(8, seed=6)
    expected = Augment()(clips, params)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = Augment(dtype)(clips, params)
    assert rounded.dtype == dtype
    torch.testing.assert_close(rounded, expected.to(dtype), rtol=0, atol=0)
    assert (rounded.float() - expected).abs().max() <= 2.6 * 2.0**-digits
    assert torch.equal(Normalise(dtype)(clips), Normalise()(clips).to(dtype))


def test_the_global_random_state_is_not_changed():
    """A resumed run must have the same random state as one that was not stopped."""
    before = torch.get_rng_state()
    Augment()(pictures(clips=8), random_batch(8))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(3, 1, 1, 1), (3, 2, 3, 2), (3, 9, 17, 5)])
def test_clips_of_any_size_are_augmented(shape):
    """Tests and debugging use tiny clips."""
    clips = pictures(clips=20, shape=shape)
    assert Augment()(clips, random_batch(20)).isfinite().all()


@pytest.mark.gpu
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("recipe", [None, RandAugment(2, 9)])
def test_a_gpu_gives_the_same_as_the_cpu_without_synchronising(recipe, fused):
    clips, params = pictures(clips=40, seed=7), random_batch(40, seed=8)
    if recipe:
        rng = np.random.default_rng(9)
        params = torch.from_numpy(np.stack([randaugment_params(recipe, rng) for _ in params]))
    augment = Augment().to("cuda")
    on_device = clips.to("cuda")
    before = use_kernels(fused)
    try:
        augment(on_device, params)  # loads its kernels
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        ours = augment(on_device, params)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        use_kernels(before)
    difference = (ours.cpu() - Augment()(clips, params)).abs() / SCALE
    assert difference.max() < 1  # grey levels; a rotation's border may fall on the next pixel
    assert difference.mean() < 0.01
