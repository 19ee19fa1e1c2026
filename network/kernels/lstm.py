# ruff: noqa: ANN201 (what Triton compiles has no types of Python)
# mypy: disable-error-code="no-untyped-def"
"""Triton kernels of the two-layer LSTM of squeeze and recursion, from zero states, in float32.

Shapes: B clips, C channels, T frames. Weights are nn.LSTM's: (4 C, C), with rows of the input gate first, then of the
forget gate, the candidate and the output gate.

A launch is a step in time: layer 1 at one frame and layer 0 at the one that it can do meanwhile, the next (forward) or
the one after (backward). A pass has T + 1 launches; one more gives the gradients of inputs and weights. A program
computes the four gates of a tile of clips and channels: matrix products, then the cell, so that nothing but gates and
states is written. Sums are in an order that depends on the shapes alone: results are the same in every run.

Matrix products are of three pairs of TF32 numbers, which keep 22 of float32's 24 bits. Importing this file needs
Triton. The plain operation that it replaces is network.recursion.FrameLSTM.
"""

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from common.kernels.launch import Launcher

# Sizes that change with the shape of the clips, and places in time, must not make Triton compile again.
_UNSPECIALISED = ["step", "first_layer", "clips", "frames"]
_OF_GRADIENTS = ["clips", "frames", "row_programs", "bias_programs"]
_CLIPS, _K = 32, 16
"""Of a tile: clips, and summands of a warp. A warp sums all of a tile, of other summands than the other warps."""
_CHANNELS, _CHANNELS_BACK, _CHANNELS_OF_INPUTS = (4, 8), (8, 32), (16, 32)
"""Of a tile, at least and at most, in a forward step, in a backward one, and in the gradient of x."""
_PROGRAMS = 128
"""Tiles are wider, and read less of memory twice, where there are more programs: no more run at a time on an H100."""
_ROWS, _COLUMNS, _SUMMANDS, _BIASES = 32, 64, 32, 32
"""Of a tile of a weight's gradient, and of a bias's."""


@triton.jit
def _tf32(x):
    """Round x to the 10 bits of TF32."""
    bits = x.to(tl.int32, bitcast=True)
    return ((bits + 0x1000) & -0x2000).to(tl.float32, bitcast=True)


@triton.jit
def _add_product(total, rest, a, b):
    """Add a matrix product to the sum total + rest.

    Tensor cores cut off what they add to a sum, which would show in long ones: each product of the leading bits is a
    sum of its own, and is added by rounding. (That is what max_num_imprecise_acc is for: without, Triton joins them.)
    """
    leading_a, leading_b = _tf32(a), _tf32(b)
    rest = tl.dot(a - leading_a, leading_b, rest, input_precision="tf32")
    rest = tl.dot(leading_a, b - leading_b, rest, input_precision="tf32")
    return total + tl.dot(leading_a, leading_b, input_precision="tf32", max_num_imprecise_acc=1), rest


@triton.jit
def _summands(WARPS: tl.constexpr, TILE_K: tl.constexpr):
    """Which summands each warp takes: (WARPS, TILE_K)."""
    return tl.arange(0, WARPS)[:, None] * TILE_K + tl.arange(0, TILE_K)[None, :]


@triton.jit
def _sum_of_warps(x):
    """The sum over the first dimension, a power of two, each element in one thread; tl.sum leaves it in every warp."""
    x = tl.permute(x, (1, 2, 0))
    for _ in tl.static_range(x.type.shape[2].bit_length() - 1):
        one, other = tl.split(tl.reshape(x, (x.type.shape[0], x.type.shape[1], x.type.shape[2] // 2, 2)))
        x = one + other
    return tl.reshape(x, (x.type.shape[0], x.type.shape[1]))


@triton.jit
def _tanh(x):
    """To the last bits also near zero, where 2 sigmoid(2 x) - 1 loses them; the polynomial is that of Cephes."""
    square = x * x
    near = -5.70498872745e-3 * square + 2.06390887954e-2
    near = near * square - 5.37397155531e-2
    near = near * square + 1.33314422036e-1
    near = near * square - 3.33332819422e-1
    near = near * square * x + x
    far = 1 - 2 / (tl.exp(2 * tl.abs(x)) + 1)
    return tl.where(tl.abs(x) < 0.625, near, tl.where(x < 0, -far, far))


@triton.jit(do_not_specialize=_UNSPECIALISED)
def step_kernel(
    x,
    w_ih_0,
    w_hh_0,
    b_ih_0,
    b_hh_0,
    w_ih_1,
    w_hh_1,
    b_ih_1,
    b_hh_1,
    hidden,
    cells,
    gates,
    step,
    first_layer,
    clips,
    frames,
    channels,
    KEPT: tl.constexpr,
    WARPS: tl.constexpr,
    TILE_CLIPS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_K: tl.constexpr,
):
    """Frame `step` of layer 0 and frame `step` - 1 of layer 1: hidden (2, T, B, C) from x (T, B, C).

    KEPT: also cells (2, T, B, C) and gates (2, T, B, 4, C), for the backward pass; else cells (2, B, C) are those of
    the last frame alone. Programs: tiles of channels, tiles of clips, layers from `first_layer`.
    """
    layer = first_layer + tl.program_id(2)
    frame = step - layer
    at = layer * frames + frame
    size = clips.to(tl.int64) * channels
    clip = tl.program_id(1) * TILE_CLIPS + tl.arange(0, TILE_CLIPS)
    start = tl.program_id(0) * TILE_CHANNELS
    column = tl.arange(0, 4 * TILE_CHANNELS)  # gate by gate of one channel, then those of the next
    row = (column % 4) * channels + start + column // 4
    is_row = start + column // 4 < channels
    of_clip = clip.to(tl.int64)[:, None] * channels

    # What is needed last is read first, while the products wait for memory too.
    b_ih, b_hh = tl.where(layer == 0, b_ih_0, b_ih_1), tl.where(layer == 0, b_hh_0, b_hh_1)
    bias = tl.load(b_ih + row, mask=is_row, other=0.0) + tl.load(b_hh + row, mask=is_row, other=0.0)
    channel = start + tl.arange(0, TILE_CHANNELS)
    inside = (clip < clips)[:, None] & (channel < channels)[None, :]
    offsets = of_clip + channel[None, :]
    now = cells + (at if KEPT else layer) * size + offsets
    cell = tl.load(now - (size if KEPT else 0), mask=inside & (frame > 0), other=0.0)

    inputs = tl.where(layer == 0, x, hidden) + frame * size
    before = hidden + (at - 1) * size
    w_ih, w_hh = tl.where(layer == 0, w_ih_0, w_ih_1), tl.where(layer == 0, w_hh_0, w_hh_1)
    total = tl.zeros((WARPS, TILE_CLIPS, 4 * TILE_CHANNELS), dtype=tl.float32)
    rest = tl.zeros((WARPS, TILE_CLIPS, 4 * TILE_CHANNELS), dtype=tl.float32)
    summand = _summands(WARPS, TILE_K)
    tiles = tl.cdiv(channels, WARPS * TILE_K)
    for index in range(0, tl.where(frame > 0, 2 * tiles, tiles)):  # before the first frame, states are zero
        is_first = index < tiles
        k = tl.where(is_first, index, index - tiles) * WARPS * TILE_K + summand
        a = tl.load(
            tl.where(is_first, inputs, before) + of_clip[None, :, :] + k[:, None, :],
            mask=(clip < clips)[None, :, None] & (k < channels)[:, None, :],
            other=0.0,
        )
        w = tl.load(
            tl.where(is_first, w_ih, w_hh) + (row * channels)[None, :, None] + k[:, None, :],
            mask=is_row[None, :, None] & (k < channels)[:, None, :],
            other=0.0,
        )
        total, rest = _add_product(total, rest, a, tl.permute(w, (0, 2, 1)))

    sums = tl.reshape(_sum_of_warps(total + rest) + bias[None, :], (TILE_CLIPS, TILE_CHANNELS, 2, 2))
    even, odd = tl.split(sums)
    input_gate, candidate = tl.split(even)
    forget_gate, output_gate = tl.split(odd)
    input_gate, forget_gate, output_gate = tl.sigmoid(input_gate), tl.sigmoid(forget_gate), tl.sigmoid(output_gate)
    candidate = _tanh(candidate)

    cell = forget_gate * cell + input_gate * candidate
    tl.store(now, cell, mask=inside)
    tl.store(hidden + at * size + offsets, output_gate * _tanh(cell), mask=inside)
    if KEPT:
        gate = gates + at * 4 * size + 4 * of_clip + channel[None, :]
        tl.store(gate, input_gate, mask=inside)
        tl.store(gate + channels, forget_gate, mask=inside)
        tl.store(gate + 2 * channels, candidate, mask=inside)
        tl.store(gate + 3 * channels, output_gate, mask=inside)


@triton.jit(do_not_specialize=_UNSPECIALISED)
def step_gradient_kernel(
    gradient,
    w_hh_0,
    w_ih_1,
    w_hh_1,
    cells,
    gates,
    gate_gradients,
    cell_gradients,
    step,
    first_layer,
    clips,
    frames,
    channels,
    WARPS: tl.constexpr,
    TILE_CLIPS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_K: tl.constexpr,
):
    """Frame T - 1 - `step` of layer 1 and the one after it of layer 0: the gradients (2, T, B, 4 C) of gates' sums.

    `gradient` (T, B, C) is that of layer 1's hidden states. cell_gradients (2, B, C) go from frame to frame. Programs
    as in the forward pass.
    """
    layer = first_layer + tl.program_id(2)
    frame = frames - step - layer
    at = layer * frames + frame
    has_next = frame + 1 < frames
    size = clips.to(tl.int64) * channels
    clip = tl.program_id(1) * TILE_CLIPS + tl.arange(0, TILE_CLIPS)
    channel = tl.program_id(0) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    of_clip = clip.to(tl.int64)[:, None] * channels

    # What is needed last is read first.
    inside = (clip < clips)[:, None] & (channel < channels)[None, :]
    offsets = of_clip + channel[None, :]
    gate_offsets = at * 4 * size + 4 * of_clip + channel[None, :]
    gate = gates + gate_offsets
    input_gate = tl.load(gate, mask=inside, other=0.0)
    forget_gate = tl.load(gate + channels, mask=inside, other=0.0)
    candidate = tl.load(gate + 2 * channels, mask=inside, other=0.0)
    output_gate = tl.load(gate + 3 * channels, mask=inside, other=0.0)
    now = cells + at * size + offsets
    squashed = _tanh(tl.load(now, mask=inside, other=0.0))
    cell_before = tl.load(now - size, mask=inside & (frame > 0), other=0.0)
    of_output = tl.load(gradient + frame * size + offsets, mask=inside & (layer == 1), other=0.0)
    of_cell = tl.load(cell_gradients + layer * size + offsets, mask=inside & has_next, other=0.0)

    # Layer 0: from layer 1's inputs, then from its own next frame; layer 1: from its own next frame.
    first, second = gate_gradients + (frames + frame + layer) * 4 * size, gate_gradients + (frame + 1) * 4 * size
    first_weight = tl.where(layer == 0, w_ih_1, w_hh_1)
    total = tl.zeros((WARPS, TILE_CLIPS, TILE_CHANNELS), dtype=tl.float32)
    rest = tl.zeros((WARPS, TILE_CLIPS, TILE_CHANNELS), dtype=tl.float32)
    summand = _summands(WARPS, TILE_K)
    tiles = tl.cdiv(4 * channels, WARPS * TILE_K)
    for index in range(0, tiles * (has_next.to(tl.int32) + 1 - layer)):
        is_first = index < tiles
        k = tl.where(is_first, index, index - tiles) * WARPS * TILE_K + summand
        a = tl.load(
            tl.where(is_first, first, second) + 4 * of_clip[None, :, :] + k[:, None, :],
            mask=(clip < clips)[None, :, None] & (k < 4 * channels)[:, None, :],
            other=0.0,
        )
        w = tl.load(
            tl.where(is_first, first_weight, w_hh_0) + (k * channels)[:, :, None] + channel[None, None, :],
            mask=(k < 4 * channels)[:, :, None] & (channel < channels)[None, None, :],
            other=0.0,
        )
        total, rest = _add_product(total, rest, a, w)

    of_hidden = _sum_of_warps(total + rest) + of_output
    of_cell += of_hidden * output_gate * (1 - squashed * squashed)
    tl.store(cell_gradients + layer * size + offsets, of_cell * forget_gate, mask=inside)
    to = gate_gradients + gate_offsets
    tl.store(to, of_cell * candidate * input_gate * (1 - input_gate), mask=inside)
    tl.store(to + channels, of_cell * cell_before * forget_gate * (1 - forget_gate), mask=inside)
    tl.store(to + 2 * channels, of_cell * input_gate * (1 - candidate * candidate), mask=inside)
    tl.store(to + 3 * channels, of_hidden * squashed * output_gate * (1 - output_gate), mask=inside)


@triton.jit
def _input_gradient(
    program, gate_gradients, w, out, rows, channels, WARPS: tl.constexpr, TILE_CLIPS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr, TILE_K: tl.constexpr,
):  # fmt: skip
    """A tile of out (T B, C): gate_gradients (T B, 4 C) times w (4 C, C)."""
    columns = tl.cdiv(channels, TILE_CHANNELS)
    row = (program // columns) * TILE_CLIPS + tl.arange(0, TILE_CLIPS)
    channel = (program % columns) * TILE_CHANNELS + tl.arange(0, TILE_CHANNELS)
    of_row = row.to(tl.int64)[:, None] * channels
    total = tl.zeros((WARPS, TILE_CLIPS, TILE_CHANNELS), dtype=tl.float32)
    rest = tl.zeros((WARPS, TILE_CLIPS, TILE_CHANNELS), dtype=tl.float32)
    for start in range(0, 4 * channels, WARPS * TILE_K):
        k = start + _summands(WARPS, TILE_K)
        a = tl.load(
            gate_gradients + 4 * of_row[None, :, :] + k[:, None, :],
            mask=(row < rows)[None, :, None] & (k < 4 * channels)[:, None, :],
            other=0.0,
        )
        b = tl.load(
            w + (k * channels)[:, :, None] + channel[None, None, :],
            mask=(k < 4 * channels)[:, :, None] & (channel < channels)[None, None, :],
            other=0.0,
        )
        total, rest = _add_product(total, rest, a, b)
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    tl.store(out + of_row + channel[None, :], _sum_of_warps(total + rest), mask=inside)


@triton.jit
def _weight_gradient(
    program, x, hidden, gate_gradients, out, clips, frames, channels, TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr, TILE_SUMMANDS: tl.constexpr,
):  # fmt: skip
    """A tile of a weight's gradient (4 C, C): gradients of gates times what the weight is multiplied by, transposed."""
    columns = tl.cdiv(channels, TILE_COLUMNS)
    tiles = tl.cdiv(4 * channels, TILE_ROWS) * columns
    weight = program // tiles  # w_ih_0, w_hh_0, w_ih_1, w_hh_1
    tile = program % tiles
    layer = weight // 2
    later = weight % 2  # a hidden state is multiplied in the next frame
    row = (tile // columns) * TILE_ROWS + tl.arange(0, TILE_ROWS)
    channel = (tile % columns) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    size = clips.to(tl.int64) * channels
    inputs = tl.where(weight == 0, x, hidden)
    inputs += tl.where(weight == 3, frames * size, 0)
    gate_gradients += (layer * frames + later) * 4 * size
    summands = (frames - later) * clips
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), dtype=tl.float32)
    rest = tl.zeros((TILE_ROWS, TILE_COLUMNS), dtype=tl.float32)
    for start in range(0, summands, TILE_SUMMANDS):
        k = start + tl.arange(0, TILE_SUMMANDS)
        of_k = k.to(tl.int64) * channels
        inside = (row < 4 * channels)[:, None] & (k < summands)[None, :]
        a = tl.load(gate_gradients + 4 * of_k[None, :] + row[:, None], mask=inside, other=0.0)
        inside = (k < summands)[:, None] & (channel < channels)[None, :]
        b = tl.load(inputs + of_k[:, None] + channel[None, :], mask=inside, other=0.0)
        total, rest = _add_product(total, rest, a, b)
    inside = (row < 4 * channels)[:, None] & (channel < channels)[None, :]
    to = out + weight * 4 * channels.to(tl.int64) * channels
    tl.store(to + row.to(tl.int64)[:, None] * channels + channel[None, :], total + rest, mask=inside)


@triton.jit
def _bias_gradient(
    program, gate_gradients, out, rows, channels, TILE_ROWS: tl.constexpr, TILE_COLUMNS: tl.constexpr
):  # fmt: skip
    """A tile of both biases' gradients (4 C,) of a layer: sums of gate_gradients (T B, 4 C) over clips and frames."""
    tiles = tl.cdiv(4 * channels, TILE_COLUMNS)
    layer = program // tiles
    column = (program % tiles) * TILE_COLUMNS + tl.arange(0, TILE_COLUMNS)
    gate_gradients += layer * rows.to(tl.int64) * 4 * channels
    total = tl.zeros((TILE_ROWS, TILE_COLUMNS), dtype=tl.float32)
    for start in range(0, rows, TILE_ROWS):
        row = start + tl.arange(0, TILE_ROWS)
        inside = (row < rows)[:, None] & (column < 4 * channels)[None, :]
        offsets = row.to(tl.int64)[:, None] * 4 * channels + column[None, :]
        total += tl.load(gate_gradients + offsets, mask=inside, other=0.0)
    sums = tl.sum(total, axis=0)
    to = out + 16 * channels.to(tl.int64) * channels + layer * 8 * channels + column
    tl.store(to, sums, mask=column < 4 * channels)
    tl.store(to + 4 * channels, sums, mask=column < 4 * channels)


@triton.jit(do_not_specialize=_OF_GRADIENTS)
def gradients_kernel(
    x,
    w_ih_0,
    hidden,
    gate_gradients,
    of_x,
    of_weights,
    clips,
    frames,
    row_programs,
    bias_programs,
    channels,
    WARPS: tl.constexpr,
    TILE_CLIPS: tl.constexpr,
    TILE_CHANNELS: tl.constexpr,
    TILE_K: tl.constexpr,
    TILE_ROWS: tl.constexpr,
    TILE_COLUMNS: tl.constexpr,
    TILE_SUMMANDS: tl.constexpr,
    TILE_BIASES: tl.constexpr,
):
    """The gradients of x (T, B, C) and of all weights, in one piece: w_ih_0, w_hh_0, w_ih_1, w_hh_1, biases likewise.

    The first programs are for x, the next for the biases, the rest for the weights.
    """
    program = tl.program_id(0)
    rows = clips * frames
    if program < row_programs:
        _input_gradient(program, gate_gradients, w_ih_0, of_x, rows, channels, WARPS, TILE_CLIPS, TILE_CHANNELS, TILE_K)
    elif program < row_programs + bias_programs:
        _bias_gradient(program - row_programs, gate_gradients, of_weights, rows, channels, 128, TILE_BIASES)
    else:
        tile = program - row_programs - bias_programs
        sizes = clips, frames, channels
        _weight_gradient(tile, x, hidden, gate_gradients, of_weights, *sizes, TILE_ROWS, TILE_COLUMNS, TILE_SUMMANDS)


_step_of_few_channels, _step = (Launcher(step_kernel, 12, num_warps=warps, num_stages=4) for warps in (4, 8))
_step_gradient = Launcher(step_gradient_kernel, 8, num_warps=8, num_stages=4)
_gradients = Launcher(gradients_kernel, 6, num_warps=4, num_stages=3)


def recurse(x: Tensor, weights: Sequence[Tensor], is_training: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Layer 1's hidden states (T, B, C) of frame vectors x (T, B, C), and what the backward pass needs.

    That is hidden and cell states (2, T, B, C) and gates (2, T, B, 4, C) of both layers, if `is_training`.
    The weights are nn.LSTM's of two layers, each in one piece of memory as x is; all float32.
    """
    frames, clips, channels = x.shape
    hidden = x.new_empty(2, frames, clips, channels)
    cells = torch.empty_like(hidden) if is_training else x.new_empty(2, clips, channels)
    gates = x.new_empty(2, frames, clips, 4, channels) if is_training else cells
    rows = -(-clips // _CLIPS)
    tile, columns = _tile(channels, rows * min(2, frames), *_CHANNELS)
    launch, warps = (_step_of_few_channels, 4) if channels <= 64 else (_step, 8)
    for step in range(frames + 1):
        layers = (step < frames) + (step > 0)
        numbers = step, int(step == frames), clips, frames, channels
        constants = is_training, warps, _CLIPS, tile, _K
        launch((columns, rows, layers), x, *weights, hidden, cells, gates, *numbers, *constants)
    return hidden[1], (hidden, cells, gates) if is_training else ()


def recurse_back(
    gradient: Tensor, x: Tensor, kept: Sequence[Tensor], weights: Sequence[Tensor], of_x: bool, of_weights: bool
) -> tuple[Tensor | None, list[Tensor] | None]:
    """The gradients of x and of all weights, where wanted, from that of `recurse`'s output (T, B, C)."""
    frames, clips, channels = x.shape
    w_ih_0, w_hh_0, _, _, w_ih_1, w_hh_1, _, _ = weights
    hidden, cells, gates = kept
    gate_gradients = torch.empty_like(gates)
    cell_gradients = x.new_empty(2, clips, channels)
    rows = -(-clips // _CLIPS)
    tile, columns = _tile(channels, rows * min(2, frames), *_CHANNELS_BACK)
    tensors = gradient, w_hh_0, w_ih_1, w_hh_1, cells, gates, gate_gradients, cell_gradients
    for step in range(frames + 1):
        layers = (step < frames) + (step > 0)
        numbers = step, int(step == 0), clips, frames, channels
        _step_gradient((columns, rows, layers), *tensors, *numbers, 8, _CLIPS, tile, _K)

    result = torch.empty_like(x) if of_x else None
    flat = x.new_empty(16 * channels * (channels + 1)) if of_weights else None
    rows = -(-frames * clips // _CLIPS)
    tile, columns = _tile(channels, rows, *_CHANNELS_OF_INPUTS)
    row_programs = columns * rows if of_x else 0
    bias_programs = 2 * -(-4 * channels // _BIASES) if of_weights else 0
    weight_programs = 4 * -(-4 * channels // _ROWS) * -(-channels // _COLUMNS) if of_weights else 0
    grid = row_programs + bias_programs + weight_programs, 1, 1
    if grid[0]:
        to = x if result is None else result, x if flat is None else flat
        numbers = clips, frames, row_programs, bias_programs, channels
        constants = 4, _CLIPS, tile, _K, _ROWS, _COLUMNS, _SUMMANDS, _BIASES
        _gradients(grid, x, w_ih_0, hidden, gate_gradients, *to, *numbers, *constants)
    return result, None if flat is None else _in_order(flat, channels)


def _in_order(flat: Tensor, channels: int) -> list[Tensor]:
    """The gradients in nn.LSTM's order: of each layer w_ih, w_hh, b_ih, b_hh."""
    square = 4 * channels * channels
    matrices = flat[: 4 * square].view(4, 4 * channels, channels).unbind()
    biases = flat[4 * square :].view(4, 4 * channels).unbind()
    return [*matrices[:2], *biases[:2], *matrices[2:], *biases[2:]]


def _tile(channels: int, rows: int, least: int, most: int) -> tuple[int, int]:
    """The channels of a tile, and how many tiles of a row there are."""
    tile = least
    while tile < most and rows * -(-channels // tile) > _PROGRAMS:
        tile *= 2
    return tile, -(-channels // tile)
