"""The operations that programs of .pt2 files may call, and torch's codes in these files."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.errors import NetworkError
from network.weights.facts import shown

SCHEMA = 8
"""The version of torch's format. torch refuses others, too."""

DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
CODES: dict[str, dict[int, Any]] = {
    "as_scalar_type": DTYPES,
    "as_memory_format": FORMATS,
    "as_layout": {7: torch.strided},
}
"""torch's codes, by the kind of the argument."""

AUTOCAST = "torch.ops.higher_order.wrap_with_autocast"
WITHOUT_VALUE = ("torch.ops.aten._assert_tensor_metadata.default", "torch.ops.aten.promote_types.default")
"""Left out: a check of types, and a type that the program already has in its place."""

PREFIX = "torch.ops.aten."

# Each computes a value from its arguments alone, and checks them: none reads a file, runs code, or trusts an index.
# Those of this project's networks, and for networks that users add, those of common layers.
_NAMES = """
    conv1d.default conv2d.default conv3d.default linear.default matmul.default bmm.default mm.default addmm.default
    batch_norm.default layer_norm.default group_norm.default instance_norm.default lstm.input
    scaled_dot_product_attention.default
    relu.default relu_.default relu6.default hardtanh.default hardtanh_.default leaky_relu.default leaky_relu_.default
    elu.default gelu.default silu.default silu_.default hardswish.default hardswish_.default hardsigmoid.default
    sigmoid.default tanh.default softplus.default softmax.int log_softmax.int dropout.default feature_dropout.default
    max_pool2d.default max_pool3d.default avg_pool2d.default avg_pool3d.default
    adaptive_avg_pool2d.default adaptive_avg_pool3d.default adaptive_max_pool3d.default
    mean.dim mean.default sum.dim_IntList sum.default amax.default amin.default var.correction std.correction
    add.Tensor add.Scalar add_.Tensor sub.Tensor sub.Scalar sub_.Tensor rsub.Scalar mul.Tensor mul.Scalar mul_.Tensor
    div.Tensor div.Scalar div_.Tensor neg.default abs.default exp.default log.default sqrt.default rsqrt.default
    pow.Tensor_Scalar clamp.default clamp_min.default maximum.default minimum.default where.self where.ScalarOther
    where.ScalarSelf where.Scalar masked_fill.Scalar
    eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor
    ge.Scalar logical_and.default logical_or.default logical_not.default bitwise_and.Tensor bitwise_or.Tensor
    bitwise_not.default all.default all.dim any.default any.dim argmin.default argmax.default topk.default sort.default
    linalg_vector_norm.default cumsum.default square.default reciprocal.default einsum.default mT.default movedim.int
    mish.default
    permute.default transpose.int t.default view.default reshape.default flatten.using_ints unflatten.int
    squeeze.default squeeze.dim squeeze.dims unsqueeze.default expand.default expand_as.default repeat.default
    cat.default stack.default split.Tensor split_with_sizes.default chunk.default unbind.int select.int slice.Tensor
    narrow.default flip.default roll.default pad.default gather.default index_select.default contiguous.default
    clone.default detach.default detach_.default alias.default to.dtype to.device to.dtype_layout _to_copy.default
    type_as.default zeros.default ones.default full.default zeros_like.default ones_like.default full_like.default
    new_zeros.default new_ones.default arange.default arange.start arange.start_step scalar_tensor.default
    lift_fresh_copy.default sym_size.int
"""
OPERATIONS = frozenset(_NAMES.split())
RETURNING = {f"aten::{name}" for name in ("dropout", "feature_dropout", "einsum", "type_as")}
"""Operations that may return what they were given, though their schema does not say so."""


def operation_of(target: str) -> Any:
    """The operation of torch for a target of a program, or None if it is none of `OPERATIONS`."""
    name = target.removeprefix(PREFIX)
    if name == target or name not in OPERATIONS:
        return None
    operation, overload = name.split(".")
    return getattr(getattr(torch.ops.aten, operation), overload)


LSTM = torch.ops.aten.lstm.input
OF_TYPES = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}
MOST_VALUES = 2**31  # that an operation may make of a size alone
LARGEST_WINDOW = 2**12  # of a convolution or pooling
_MAKING = ("zeros", "ones", "full", "new_zeros", "new_ones", "arange", "repeat", "pad")
_WINDOWS = ("kernel_size", "stride", "padding", "dilation")


def check_constants(operation: Any, arguments: Mapping[str, Any]) -> None:
    """NetworkError for constants that torch does not check itself, or that would take any memory or time.

    torch takes any whole number for a type, and reads past its tables.
    """
    name = operation.name().removeprefix("aten::").partition(".")[0]
    for argument, value in arguments.items():
        if argument in OF_TYPES and not (value is None or isinstance(value, OF_TYPES[argument])):
            raise NetworkError(f"its program has a {argument} of {shown(value)}")
        numbers = [abs(each) for each in (value if isinstance(value, list) else [value]) if type(each) is int]
        if argument in _WINDOWS and max(numbers, default=0) > LARGEST_WINDOW:
            raise NetworkError(f"its program has a {argument} of {shown(str(value))}")
        makes = name in _MAKING and argument not in ("fill_value", "value")
        if makes and math.prod(max(1, each) for each in numbers) > MOST_VALUES:
            raise NetworkError(f"its program makes a tensor of {shown(str(value))}")


def check_lstm(
    input: Tensor, hx: Sequence[Tensor], params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> None:  # fmt: skip
    """NetworkError unless the tensors of an LSTM fit each other: torch reads past their ends.

    The arguments are named as in its schema.
    """
    ways = 2 if bidirectional else 1
    clips = input.shape[0 if batch_first else 1] if input.dim() == 3 else 0
    width = hx[0].shape[-1] if len(hx) == 2 and hx[0].dim() == 3 else 0
    expected: list[tuple[int, ...]] = []
    for layer in range(num_layers):
        of_input = input.shape[-1] if layer == 0 else ways * width
        one = [(4 * width, of_input), (4 * width, width), *[(4 * width,)] * (2 * has_biases)]
        expected += one * ways
    states = [(num_layers * ways, clips, width)] * 2
    given = [*params, *hx]
    fits = [tuple(each.shape) for each in given] == [*expected, *states] and clips and width
    if not fits or any((each.dtype, each.device) != (input.dtype, input.device) for each in given):
        raise NetworkError("its program has an LSTM whose weights, states and inputs do not fit each other")


def written(operation: Any, arguments: Mapping[str, Any]) -> list[str]:
    """The names of the arguments that a call writes into: those of `relu_`, and the statistics of a training."""
    names = [each.name for each in operation._schema.arguments if each.alias_info and each.alias_info.is_write]
    if arguments.get("training") or arguments.get("use_input_stats"):
        names += ["running_mean", "running_var"]
    return names


def returned(operation: Any) -> list[str]:
    """The names of the arguments in whose memory an operation's outputs may be, as those of `view`."""
    arguments = operation._schema.arguments
    is_any = operation.name().partition(".")[0] in RETURNING
    return [each.name for each in arguments if is_any or each.alias_info]
