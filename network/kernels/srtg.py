# ruff: noqa: ANN201 (what Triton compiles has no types of Python)
# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of squeeze and recursion, for x (B, C, T, H, W) in channels_last_3d and frame vectors (T, B, C).

In channels_last_3d a frame of a clip is a matrix of H * W pixels by C channels without gaps. Each kernel reads and
writes such matrices once, in tiles of pixels by channels; frame vectors are float32. Sums are in float32 and in an
order that depends on the shapes alone, so that results are the same in every run.

Importing this file needs Triton. The plain operations that it replaces are in network/srtg.py.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from common.kernels.launch import Launcher

# Sizes that change with the shape of the clips must not make Triton compile again.
_UNSPECIALISED = ["clips", "frames", "pixels"]
# Tiles, of 4,096 or 8,192 numbers. A tile's row of 32 or 64 channels is at least two 32-byte sectors of memory.
_SUM_CHANNELS, _SUM_PIXELS = 32, 256
_MAP_CHANNELS, _MAP_PIXELS = 64, 64


@triton.jit(do_not_specialize=_UNSPECIALISED)
def squeeze_kernel(x, out, clips, frames, pixels, channels, TILE_PIXELS: tl.constexpr, TILE_CHANNELS: tl.constexpr):
    """The mean of each frame over its pixels: out (T, B, C).

    A program for each clip, frame and tile of channels. The last clips come first: what was written last is still
    cached.
    """
    tiles = tl.cdiv(channels, TILE_CHANNELS)
    program = tl.program_id(0)
    matrix = program // tiles
    clip = clips - 1 - matrix // frames
    frame = matrix % frames
    channel = (program % tiles) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    pixel = tl.arange(0, TILE_PIXELS)
    x += (clip.to(tl.int64) * frames + frame) * pixels * channels
    total = tl.zeros((TILE_PIXELS, TILE_CHANNELS), dtype=tl.float32)
    for start in range(0, pixels, TILE_PIXELS):
        inside = (start + pixel < pixels)[:, None] & (channel < channels)[None, :]
        tile = tl.load(x + ((start + pixel) * channels)[:, None] + channel[None, :], mask=inside, other=0.0)
        total += tile.to(tl.float32)
    mean = tl.sum(total, axis=0) / pixels
    vector = out + (frame.to(tl.int64) * clips + clip) * channels
    tl.store(vector + channel, mean, mask=channel < channels)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def scale_kernel(
    x,
    scale,
    is_open,
    out,
    clips,
    frames,
    pixels,
    channels,
    GATED: tl.constexpr,
    TILE_PIXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Write out = x * scale, or out = x in clips that are not open. A program for each tile of each frame."""
    tiles = tl.cdiv(channels, TILE_CHANNELS)
    pixel_tiles = tl.cdiv(pixels, TILE_PIXELS)
    program = tl.program_id(0)
    row = program // tiles
    matrix = row // pixel_tiles
    clip = matrix // frames
    frame = matrix % frames
    channel = (program % tiles) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    pixel = (row % pixel_tiles) * TILE_PIXELS + tl.arange(0, TILE_PIXELS)
    vector = (frame.to(tl.int64) * clips + clip) * channels
    factor = tl.load(scale + vector + channel, mask=channel < channels, other=0.0)
    if GATED:
        factor = tl.where(tl.load(is_open + clip) != 0, factor, 1.0)
    start = matrix.to(tl.int64) * pixels * channels
    offsets = (pixel * channels)[:, None] + channel[None, :]
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    tile = tl.load(x + start + offsets, mask=inside, other=0.0).to(tl.float32) * factor[None, :]
    tl.store(out + start + offsets, tile.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def scale_gradient_kernel(
    gradient,
    x,
    is_open,
    out,
    clips,
    frames,
    pixels,
    channels,
    GATED: tl.constexpr,
    TILE_PIXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Write out (T, B, C): the sum of gradient * x over the pixels of a frame, zero in clips that are not open.

    A program for each frame and tile of channels, the last clips first.
    """
    tiles = tl.cdiv(channels, TILE_CHANNELS)
    program = tl.program_id(0)
    matrix = clips * frames - 1 - program // tiles
    clip = matrix // frames
    frame = matrix % frames
    channel = (program % tiles) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    pixel = tl.arange(0, TILE_PIXELS)
    first = matrix.to(tl.int64) * pixels * channels
    total = tl.zeros((TILE_PIXELS, TILE_CHANNELS), dtype=tl.float32)
    end = pixels
    if GATED:
        end = tl.where(tl.load(is_open + clip) != 0, pixels, 0)
    for start in range(0, end, TILE_PIXELS):
        inside = (start + pixel < pixels)[:, None] & (channel < channels)[None, :]
        offsets = ((start + pixel) * channels)[:, None] + channel[None, :]
        left = tl.load(gradient + first + offsets, mask=inside, other=0.0)
        right = tl.load(x + first + offsets, mask=inside, other=0.0)
        total += left.to(tl.float32) * right.to(tl.float32)
    vector = (frame.to(tl.int64) * clips + clip) * channels
    tl.store(out + vector + channel, tl.sum(total, axis=0), mask=channel < channels)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def input_gradient_kernel(
    gradient,
    scale,
    is_open,
    squeezed_gradient,
    out,
    clips,
    frames,
    pixels,
    channels,
    GATED: tl.constexpr,
    TILE_PIXELS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """Write out = gradient * scale + squeezed_gradient / pixels, or gradient in clips that are not open."""
    tiles = tl.cdiv(channels, TILE_CHANNELS)
    pixel_tiles = tl.cdiv(pixels, TILE_PIXELS)
    program = tl.program_id(0)
    row = program // tiles
    matrix = row // pixel_tiles
    clip = matrix // frames
    frame = matrix % frames
    channel = (program % tiles) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    pixel = (row % pixel_tiles) * TILE_PIXELS + tl.arange(0, TILE_PIXELS)
    vector = (frame.to(tl.int64) * clips + clip) * channels
    factor = tl.load(scale + vector + channel, mask=channel < channels, other=0.0)
    spread = tl.load(squeezed_gradient + vector + channel, mask=channel < channels, other=0.0) / pixels
    if GATED:
        opened = tl.load(is_open + clip) != 0
        factor = tl.where(opened, factor, 1.0)
        spread = tl.where(opened, spread, 0.0)
    start = matrix.to(tl.int64) * pixels * channels
    offsets = (pixel * channels)[:, None] + channel[None, :]
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    tile = tl.load(gradient + start + offsets, mask=inside, other=0.0).to(tl.float32)
    tile = tile * factor[None, :] + spread[None, :]
    tl.store(out + start + offsets, tile.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _all_return(
    soft, a_vectors, b_vectors, stride, frames, channels, TILE_T: tl.constexpr, TILE_CHANNELS: tl.constexpr
):
    """One if the frame of a nearest to each mean of b, weighted by a row of soft (T, T), is the row's own, else zero.

    Of equally near frames the first counts: the own frame must be nearer than those before it, and as near as those
    after it.
    """
    frame = tl.arange(0, TILE_T)
    distances = tl.zeros((TILE_T, TILE_T), dtype=tl.float32)
    for start in range(0, channels, TILE_CHANNELS):
        channel = start + tl.arange(0, TILE_CHANNELS)
        inside = (frame < frames)[:, None] & (channel < channels)[None, :]
        offsets = (frame * stride)[:, None] + channel[None, :]
        a = tl.load(a_vectors + offsets, mask=inside, other=0.0)
        b = tl.load(b_vectors + offsets, mask=inside, other=0.0)
        neighbours = tl.sum(soft[:, :, None] * b[None, :, :], axis=1)
        differences = neighbours[:, None, :] - a[None, :, :]
        distances += tl.sum(differences * differences, axis=2)
    own = frame[:, None] == frame[None, :]
    nearest = tl.sum(tl.where(own, distances, 0.0), axis=1)[:, None]
    returns = tl.where(frame[None, :] < frame[:, None], nearest < distances, nearest <= distances)
    counts = (frame < frames)[:, None] & (frame < frames)[None, :]
    return tl.min(tl.min(tl.where(counts, returns, True).to(tl.int32), axis=1), axis=0)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def gate_kernel(
    a_vectors,
    b_vectors,
    is_open,
    counts,
    clips,
    frames,
    channels,
    COUNTED: tl.constexpr,
    TILE_T: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
):
    """is_open (B,) of a and b (T, B, C), as network.srtg.temporal_gate; adds open and all clips to counts (2,).

    A program for each clip. All distances are sums of squared differences, all means sums of products, in float32.
    """
    clip = tl.program_id(0)
    stride = clips * channels
    a_vectors += clip.to(tl.int64) * channels
    b_vectors += clip.to(tl.int64) * channels
    frame = tl.arange(0, TILE_T)
    distances = tl.zeros((TILE_T, TILE_T), dtype=tl.float32)
    for start in range(0, channels, TILE_CHANNELS):
        channel = start + tl.arange(0, TILE_CHANNELS)
        inside = (frame < frames)[:, None] & (channel < channels)[None, :]
        offsets = (frame * stride)[:, None] + channel[None, :]
        a = tl.load(a_vectors + offsets, mask=inside, other=0.0)
        b = tl.load(b_vectors + offsets, mask=inside, other=0.0)
        differences = a[:, None, :] - b[None, :, :]
        distances += tl.sum(differences * differences, axis=2)
    real = (frame < frames)[None, :]
    # In rows of frames that do not exist, the weights are those of some distances: they are finite and not used.
    forth = tl.where(real, -distances, float("-inf"))
    forth = tl.exp(forth - tl.max(forth, axis=1)[:, None])
    forth = forth / tl.sum(forth, axis=1)[:, None]
    back = tl.where(real, -tl.trans(distances), float("-inf"))
    back = tl.exp(back - tl.max(back, axis=1)[:, None])
    back = back / tl.sum(back, axis=1)[:, None]
    one = _all_return(forth, a_vectors, b_vectors, stride, frames, channels, TILE_T, TILE_CHANNELS)
    other = _all_return(back, b_vectors, a_vectors, stride, frames, channels, TILE_T, TILE_CHANNELS)
    opened = one * other
    tl.store(is_open + clip, opened.to(tl.int8))
    if COUNTED:
        tl.atomic_add(counts, opened.to(tl.int64))
        tl.atomic_add(counts + 1, (opened * 0 + 1).to(tl.int64))


_squeeze = Launcher(squeeze_kernel, 2, num_warps=8)
_scale = Launcher(scale_kernel, 4, num_warps=4)
_scale_gradient = Launcher(scale_gradient_kernel, 4, num_warps=8)
_input_gradient = Launcher(input_gradient_kernel, 5, num_warps=4)
_gate, _gate_of_many_frames = Launcher(gate_kernel, 4, num_warps=4), Launcher(gate_kernel, 4, num_warps=8)


def squeeze(x: Tensor) -> Tensor:
    """The means (T, B, C) of x over H and W, in float32."""
    clips, channels, frames, height, width = x.shape
    out = torch.empty((frames, clips, channels), dtype=torch.float32, device=x.device)
    grid = (clips * frames * -(-channels // _SUM_CHANNELS), 1, 1)
    _squeeze(grid, x, out, clips, frames, height * width, channels, _SUM_PIXELS, _SUM_CHANNELS)
    return out


def scale(x: Tensor, factors: Tensor, is_open: Tensor | None) -> Tensor:
    """Return x times the factors (T, B, C), in clips that are open (B,): all, if None."""
    clips, channels, frames, height, width = x.shape
    out = torch.empty_like(x)
    gate = factors if is_open is None else is_open
    sizes = clips, frames, height * width, channels
    _scale(_map_grid(*sizes), x, factors, gate, out, *sizes, is_open is not None, _MAP_PIXELS, _MAP_CHANNELS)
    return out


def scale_gradient(gradient: Tensor, x: Tensor, is_open: Tensor | None) -> Tensor:
    """The gradient (T, B, C) of the factors, from the gradient of `scale`'s output."""
    clips, channels, frames, height, width = x.shape
    out = torch.empty((frames, clips, channels), dtype=torch.float32, device=x.device)
    gate = out if is_open is None else is_open
    grid = (clips * frames * -(-channels // _SUM_CHANNELS), 1, 1)
    sizes = clips, frames, height * width, channels
    _scale_gradient(grid, gradient, x, gate, out, *sizes, is_open is not None, _SUM_PIXELS, _SUM_CHANNELS)
    return out


def input_gradient(gradient: Tensor, factors: Tensor, is_open: Tensor | None, squeezed_gradient: Tensor) -> Tensor:
    """The gradient of x, from those of `scale`'s output and of the means (T, B, C)."""
    clips, channels, frames, height, width = gradient.shape
    out = torch.empty_like(gradient)
    gate = factors if is_open is None else is_open
    sizes = clips, frames, height * width, channels
    constants = is_open is not None, _MAP_PIXELS, _MAP_CHANNELS
    _input_gradient(_map_grid(*sizes), gradient, factors, gate, squeezed_gradient, out, *sizes, *constants)
    return out


def temporal_gate(a: Tensor, b: Tensor, counts: Tensor | None) -> Tensor:
    """Whether the gate of each clip is open (B,), int8, for float32 a and b (T, B, C) of 2 to 64 frames.

    Adds the number of open gates and of all to counts (2,), int64.
    """
    frames, clips, channels = a.shape
    is_open = torch.empty(clips, dtype=torch.int8, device=a.device)
    tile = 1 << (frames - 1).bit_length()
    launch = _gate if tile <= 16 else _gate_of_many_frames
    counted = is_open if counts is None else counts
    constants = counts is not None, tile, gate_channels(tile)
    launch((clips, 1, 1), a, b, is_open, counted, clips, frames, channels, *constants)
    return is_open


def gate_channels(frames: int) -> int:
    """The channels of a tile of the gate, which has their number times the square of the frames."""
    return max(2, min(64, 8192 // frames**2))


def _map_grid(clips: int, frames: int, pixels: int, channels: int) -> tuple[int, int, int]:
    return clips * frames * -(-pixels // _MAP_PIXELS) * -(-channels // _MAP_CHANNELS), 1, 1
