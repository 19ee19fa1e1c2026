"""The operations of Augment as kernels: the last one reads each pixel once, and writes it once, through all operations.

plain.py has the same operations one by one, each of which reads and writes the whole batch in float32. What both of
them compute is described there and in ops.py. Importing this file needs Triton.

A program has PIXELS pixels of a clip and goes through its frames, FRAMES at a time. So the noise, which is the same in
all frames, is computed once, and the places of samples and of weighted pixels once for FRAMES frames. Whether an
operation is needed is the same for a whole program, so that a branch passes over the others. A tile's first axis is
that of pixels: of axes that look alike to Triton, it gives neighbouring threads neighbours on the first one.

In channels_last_3d the three channels of a pixel lie side by side. Each is read and written by an instruction of its
own, at every third number: what one of them leaves of a cache line the others take at once, so that the memory itself
reads and writes whole lines. Numbers in the order of the memory would need another layout of threads than the
computation, and an exchange between threads for it.

RandAugment's tables of levels have a kernel of their own, which is launched only if a clip of the batch has one. A look
up at each read of a pixel takes a third more registers, which would slow down the batches that have no tables.

Within a clip offsets are int32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from common.kernels.launch import Launcher
from common.normalisation import SRTG, Normalisation
from data.augment.levels import level_tables
from data.augment.ops import LUMA
from data.augment.packed import to_device
from data.augment.params import named_params
from data.augment.table import BLURRED, BLURRED_SAMPLES, COLUMNS, FIRST_COLUMN, tables_of

PIXELS, FRAMES, WARPS = 128, 4, 4  # a thread has one pixel of four frames
MOST_CLIPS = 2**16 - 1  # a grid's second axis

LUMA_R, LUMA_G, LUMA_B = (tl.constexpr(weight) for weight in LUMA)
OF_CLIP, OF_SAMPLES = tl.constexpr(BLURRED), tl.constexpr(BLURRED_SAMPLES)
ROW = tl.constexpr(COLUMNS)
(
    LEVELS, SOURCE, SLOT, MATRIX, IS_ROTATED, FIRST_TAP, TAPS, IS_MIRRORED, HUE, SATURATION, GAIN, LUMA_GAIN, OFFSET,
    NOISE_SCALE, NOISE_SEED,
) = (tl.constexpr(column) for column in FIRST_COLUMN.values())  # fmt: skip
CIRCLE = tl.constexpr(2 * torch.pi)
STEP = tl.constexpr(2.0**-32)


@triton.jit
def _hash(x):
    """See `ops._hash`; x is uint32, whose products are those of int64 without the upper half."""
    x = (x ^ (x >> 16)) * 0x21F0AAAD
    x = (x ^ (x >> 15)) * 0x735A2D97
    return x ^ (x >> 15)


@triton.jit
def _noise(seed, pixel, pixels):
    """See `ops.noise`."""
    pairs = (pixels + 1) // 2
    is_first = pixel < pairs
    first = tl.where(is_first, pixel, pixel - pairs)
    key = _hash((seed + 1).to(tl.uint32))
    of_radius, of_angle = _hash(first.to(tl.uint32) ^ key), _hash((first + pairs).to(tl.uint32) ^ key)
    radius = tl.sqrt(tl.log((of_radius.to(tl.float32) + 1) * STEP) * -2)
    angle = (of_angle.to(tl.float32) + 1) * STEP * CIRCLE
    return radius * tl.where(is_first, tl.cos(angle), tl.sin(angle))


@triton.jit
def _place(index, size, is_mirrored):
    """The row or column that stands for one beyond the frame."""
    mirrored = size - 1 - tl.abs(size - 1 - tl.abs(index))
    return tl.where(is_mirrored, mirrored, tl.minimum(tl.maximum(index, 0), size - 1))


@triton.jit
def _added(red, green, blue, source, place, channel, weight):
    """Add the weighted pixels at `place` of the source to the three channels."""
    red += weight * tl.load(source + place).to(tl.float32)
    green += weight * tl.load(source + (place + channel)).to(tl.float32)
    blue += weight * tl.load(source + (place + 2 * channel)).to(tl.float32)
    return red, green, blue


@triton.jit
def _blurred(source, frames, x, y, height, width, channel, row, column, taps, of_clip):
    """The weighted sums of pixels around those at x, y; see `ops.convolve`.

    `frames` (1, f) are the offsets of frames in the source, `channel`, `row` and `column` its strides.
    """
    red = tl.zeros((x.shape[0], frames.shape[1]), tl.float32)
    green, blue = red, red
    is_mirrored = tl.load(of_clip + IS_MIRRORED) != 0
    first, count = tl.load(of_clip + FIRST_TAP).to(tl.int32), tl.load(of_clip + TAPS).to(tl.int32)
    taps += first * 3
    for _ in range(count):
        down, right, weight = tl.load(taps).to(tl.int32), tl.load(taps + 1).to(tl.int32), tl.load(taps + 2)
        place = _place(y + down, height, is_mirrored) * row + _place(x + right, width, is_mirrored) * column
        red, green, blue = _added(red, green, blue, source, frames + place, channel, weight)
        taps += 3
    return red, green, blue


@triton.jit
def _sampled(source, frames, x, y, height, width, channel, row, column, of_clip):
    """Bilinear samples at the places that pixels x, y show; see `ops.sampling_grid` and `ops.warp`."""
    red = tl.zeros((x.shape[0], frames.shape[1]), tl.float32)
    green, blue = red, red
    m = of_clip + MATRIX
    u, v = (x * 2 + 1).to(tl.float32) / width - 1, (y * 2 + 1).to(tl.float32) / height - 1
    scale = tl.load(m + 6) * u + tl.load(m + 7) * v + tl.load(m + 8)
    across = (((tl.load(m) * u + tl.load(m + 1) * v + tl.load(m + 2)) / scale + 1) * width - 1) / 2
    down = (((tl.load(m + 3) * u + tl.load(m + 4) * v + tl.load(m + 5)) / scale + 1) * height - 1) / 2
    if tl.load(of_clip + IS_ROTATED) == 0:
        across = tl.minimum(tl.maximum(across, 0.0), (width - 1).to(tl.float32))
        down = tl.minimum(tl.maximum(down, 0.0), (height - 1).to(tl.float32))
    left, top = tl.floor(across), tl.floor(down)
    for corner in tl.static_range(4):
        i, j = top + corner // 2, left + corner % 2
        is_inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        weight = tl.where(is_inside, (1 - tl.abs(down - i)) * (1 - tl.abs(across - j)), 0.0)
        place = _place(i.to(tl.int32), height, False) * row + _place(j.to(tl.int32), width, False) * column
        red, green, blue = _added(red, green, blue, source, frames + place, channel, weight)
    return red, green, blue


@triton.jit
def _lack(own, following, previous, smallest, turn, chroma):
    """See `ops.shift_hue_and_saturation`."""
    lack = tl.maximum(previous - smallest - turn, turn) + following - own
    return tl.minimum(tl.maximum(lack, 0.0), chroma)


@triton.jit
def _shifted(red, green, blue, hue, saturation):
    """See `ops.shift_hue_and_saturation`; a negative hue is one backwards."""
    is_forwards = hue >= 0
    second, third = tl.where(is_forwards, green, blue), tl.where(is_forwards, blue, green)
    value = tl.maximum(tl.maximum(red, second), third)
    smallest = tl.minimum(tl.minimum(red, second), third)
    chroma = value - smallest
    turn = chroma * tl.abs(hue)
    ratio = value / tl.maximum(chroma, 1e-6)
    factor = tl.minimum(tl.maximum(tl.minimum(ratio * saturation + 1, ratio), 0.0), 2.0)
    shifted_red = value - factor * _lack(red, second, third, smallest, turn, chroma)
    shifted_second = value - factor * _lack(second, third, red, smallest, turn, chroma)
    shifted_third = value - factor * _lack(third, red, second, smallest, turn, chroma)
    green, blue = (
        tl.where(is_forwards, shifted_second, shifted_third), tl.where(is_forwards, shifted_third, shifted_second)
    )  # fmt: skip
    return shifted_red, green, blue


SIZES = ["frames", "height", "width", "of_clip", "of_channel", "of_frame", "of_row", "of_column"]


@triton.jit(do_not_specialize=SIZES)
def _look_up_kernel(
    clips, changed, table, levels, frames, height, width, of_clip, of_channel, of_frame, of_row, of_column,
    PIXELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    """Copies of the clips, those that have a table of `levels` (m, 3, 256) through it; `changed` (n, 3, T, h, w)."""
    clip = tl.program_id(1)
    number = tl.load(table + clip * ROW + LEVELS).to(tl.int32)
    levels += tl.maximum(number - 1, 0) * 768
    pixels = height * width
    clips += clip.to(tl.int64) * of_clip
    changed += clip.to(tl.int64) * (3 * frames * pixels)
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS))[:, None]
    of_pixel = pixel // width * of_row + pixel % width * of_column
    for first in range(0, frames, FRAMES):
        frame = first + tl.arange(0, FRAMES)[None, :]
        mask = (frame < frames) & (pixel < pixels)
        for channel in tl.static_range(3):
            level = tl.load(clips + (frame * of_frame + of_pixel + channel * of_channel), mask=mask, other=0)
            if number != 0:
                level = tl.load(levels + (level.to(tl.int32) + channel * 256))
            tl.store(changed + ((channel * frames + frame) * pixels + pixel), level, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def _sample_kernel(
    clips, samples, table, sampled, frames, height, width, of_clip, of_channel, of_frame, of_row, of_column,
    PIXELS: tl.constexpr, FRAMES: tl.constexpr,
):  # fmt: skip
    """Rotations and perspectives of the clips `sampled`, before they are blurred; samples (s, 3, T, h, w)."""
    number = tl.program_id(1)
    clip = tl.load(sampled + number)
    clips += clip.to(tl.int64) * of_clip
    pixels = height * width
    samples += number.to(tl.int64) * (3 * frames * pixels)
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS))[:, None]
    inner = tl.minimum(pixel, pixels - 1)
    for first in range(0, frames, FRAMES):
        frame = first + tl.arange(0, FRAMES)[None, :]
        mask = (frame < frames) & (pixel < pixels)
        red, green, blue = _sampled(
            clips, tl.minimum(frame, frames - 1) * of_frame, inner % width, inner // width, height, width,
            of_channel, of_row, of_column, table + clip * ROW,
        )  # fmt: skip
        place = frame * pixels + pixel
        tl.store(samples + place, red, mask=mask)
        tl.store(samples + (place + frames * pixels), green, mask=mask)
        tl.store(samples + (place + 2 * frames * pixels), blue, mask=mask)


@triton.jit(do_not_specialize=[*SIZES, "out_channel", "out_pixel"])
def _augment_kernel(
    clips, samples, out, table, taps, frames, height, width, of_clip, of_channel, of_frame, of_row, of_column,
    out_channel, out_pixel, PIXELS: tl.constexpr, FRAMES: tl.constexpr,
    LOW_R: tl.constexpr, HIGH_R: tl.constexpr, LOW_G: tl.constexpr, HIGH_G: tl.constexpr, LOW_B: tl.constexpr,
    HIGH_B: tl.constexpr, OF_GREEN: tl.constexpr, OF_BLUE: tl.constexpr,
):  # fmt: skip
    """All operations; `samples` are those of `_sample_kernel`. The frames of `out` lie one after the other.

    LOW and HIGH are the limits of the channels, OF_GREEN and OF_BLUE the factors of a normalisation. A factor of 1
    costs nothing, and does not change a bit.
    """
    clip = tl.program_id(1)
    row = table + clip * ROW
    pixels = height * width
    clips += clip.to(tl.int64) * of_clip
    out += clip.to(tl.int64) * (3 * frames * pixels)
    source = tl.load(row + SOURCE)
    samples += tl.load(row + SLOT).to(tl.int64) * (3 * frames * pixels)
    pixel = (tl.program_id(0) * PIXELS + tl.arange(0, PIXELS))[:, None]
    inner = tl.minimum(pixel, pixels - 1)
    x, y = inner % width, inner // width
    hue, saturation = tl.load(row + HUE), tl.load(row + SATURATION)
    gain, luma_gain = tl.load(row + GAIN), tl.load(row + LUMA_GAIN)
    offset_r, offset_g, offset_b = tl.load(row + OFFSET), tl.load(row + OFFSET + 1), tl.load(row + OFFSET + 2)
    noise_scale = tl.load(row + NOISE_SCALE)
    noise = tl.zeros((PIXELS, 1), tl.float32)
    if noise_scale != 0:
        noise = _noise(tl.load(row + NOISE_SEED).to(tl.int32), inner, pixels) * noise_scale
    for first in range(0, frames, FRAMES):
        frame = first + tl.arange(0, FRAMES)[None, :]
        mask = (frame < frames) & (pixel < pixels)
        existing = tl.minimum(frame, frames - 1)
        if source == OF_CLIP:
            red, green, blue = _blurred(
                clips, existing * of_frame, x, y, height, width, of_channel, of_row, of_column, taps, row
            )
        elif source == OF_SAMPLES:
            red, green, blue = _blurred(
                samples, existing * pixels, x, y, height, width, frames * pixels, width, 1, taps, row
            )
        else:
            red, green, blue = _sampled(
                clips, existing * of_frame, x, y, height, width, of_channel, of_row, of_column, row
            )
        if (hue != 0) | (saturation != 0):
            red, green, blue = _shifted(red, green, blue, hue, saturation)
        luma = (red * LUMA_R + green * LUMA_G + blue * LUMA_B) * luma_gain + noise
        red = tl.minimum(tl.maximum(red * gain + offset_r + luma, LOW_R), HIGH_R)
        green = tl.minimum(tl.maximum(green * (gain * OF_GREEN) + offset_g + luma * OF_GREEN, LOW_G), HIGH_G)
        blue = tl.minimum(tl.maximum(blue * (gain * OF_BLUE) + offset_b + luma * OF_BLUE, LOW_B), HIGH_B)
        place = (frame * pixels + pixel) * out_pixel
        kind = out.dtype.element_ty
        tl.store(out + place, red.to(kind), mask=mask)
        tl.store(out + (place + out_channel), green.to(kind), mask=mask)
        tl.store(out + (place + 2 * out_channel), blue.to(kind), mask=mask)


_look_up = Launcher(_look_up_kernel, 4, num_warps=WARPS)
_sample = Launcher(_sample_kernel, 4, num_warps=WARPS)
_augment = Launcher(_augment_kernel, 5, num_warps=WARPS)


def augment(clips: Tensor, params: Tensor, out: Tensor, normalisation: Normalisation = SRTG) -> None:
    """Write uint8 clips (n, 3, T, h, w) of any strides, augmented and normalised, to `out`; see plain.py.

    `out` is contiguous or in channels_last_3d. `may_take` has to be true.
    """
    count, _, frames, height, width = clips.shape
    fields = named_params(params.numpy())
    arrays, levels = tables_of(fields, height, width, normalisation), level_tables(clips, fields)
    table, taps, *of_sampled = to_device(arrays if len(arrays.sampled) else arrays[:2], clips.device)
    tiles = triton.cdiv(height * width, PIXELS)
    constants = PIXELS, min(FRAMES, triton.next_power_of_2(frames))
    if levels is not None:
        changed = torch.empty(clips.shape, dtype=torch.uint8, device=clips.device)
        sizes = (frames, height, width, *clips.stride())
        _look_up((tiles, count, 1), clips, changed, table, levels.tables, *sizes, *constants)
        clips = changed
    sizes = (frames, height, width, *clips.stride())
    samples = table  # of none
    if of_sampled:
        (sampled,) = of_sampled
        samples = torch.empty((len(sampled), 3, frames, height, width), dtype=torch.float32, device=clips.device)
        _sample((tiles, len(sampled), 1), clips, samples, table, sampled, *sizes, *constants)
    of_pixel = 1 if out.is_contiguous() else 3
    of_channel = frames * height * width if out.is_contiguous() else 1
    _augment(
        (tiles, count, 1), clips, samples, out, table, taps, *sizes, of_channel, of_pixel, *constants,
        *constants_of(normalisation),
    )  # fmt: skip


def constants_of(normalisation: Normalisation) -> tuple[float, ...]:
    """Of `_augment_kernel`, in order, behind PIXELS and FRAMES."""
    limits = (limit for pair in normalisation.limits for limit in pair)
    return (*limits, *normalisation.factors[1:])


def may_take(clips: Tensor) -> bool:
    """Whether the offsets within a clip, and the number of clips, are not too large for the kernels."""
    last = sum((size - 1) * stride for size, stride in zip(clips.shape[1:], clips.stride()[1:], strict=True))
    return clips.numel() > 0 and max(last, clips[0].numel()) < 2**31 and len(clips) <= MOST_CLIPS
