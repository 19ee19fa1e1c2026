"""What a pickle of weights may call: all else is refused before torch reads it.

torch.load(weights_only=True) runs no code of a file, but it makes any number of bytes of a few, or works for hours: a
list that is recalled becomes a new set again and again, a value that stands for a billion is copied. So a pickle is
read here first, with stand-ins for what it makes. Each call must be one of `CALLS`, as pickle writes it, and together
they may take about as many values as the pickle has bytes.
"""

import operator
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import torch

IGNORED = (
    "argparse.Namespace",
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    "numpy.ndarray", "numpy.dtype",
    "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
)  # fmt: skip
"""Scripts of others save their arguments and best scores beside the weights. What these would make is dropped."""

VALUES_PER_BYTE, FREE_VALUES = 2, 2**16  # that the calls of a pickle may take
LONGEST_NAME = 64  # characters of a device
TENSOR_TYPE = re.compile(r"torch\.(cuda\.)?[A-Za-z0-9]*Tensor")

# The operations of torch's reader, which stops at others.
OPERATIONS = [getattr(pickle, name)[0] for name in (
    "APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPERSID", "BINPUT", "BINUNICODE",
    "EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE", "GLOBAL", "LONG1", "LONG_BINGET", "LONG_BINPUT", "MARK",
    "NEWFALSE", "NEWTRUE", "NONE", "SHORT_BINSTRING", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
)]  # fmt: skip


class CallError(Exception):
    """A pickle calls what no file of weights calls, or with far more values than it has; the message names the call."""


class Name(str):
    """Stands for a function or class, `module.name`."""


class Other:
    """Stands for any other value: a storage, a tensor."""


class Ignored(Other):
    """Stands for what one of `IGNORED` makes, whose state is dropped."""


class Parameter(Other):
    """Stands for a parameter. torch before 1.0 gives it a state, which has no values."""


def check_pickles(file: BinaryIO, number: int = 1) -> None:
    """CallError if one of the next `number` pickles calls what it may not, or too much.

    ValueError if the last of several is no list, or lacks a storage of the others: torch would take what is in memory
    for it.
    A pickle that is none, or is cut off, is left to torch, which stops at the same byte.
    """
    storages: set[str] = set()
    for index in range(number):
        try:
            reader = _Reader(file)
            value = reader.load()
            storages |= reader.storages
        except CallError:
            raise
        except RecursionError:
            raise CallError("nested tuples") from None
        except Exception:  # of any type: pickle documents few
            return
        if index and index == number - 1:
            keys = [key for key in value if isinstance(key, str)] if isinstance(value, list) else None
            if keys is None or not storages.issubset(keys):
                raise ValueError("it lists fewer storages than its tensors have")


class _Reader(pickle._Unpickler):  # the one in C makes a table as large as a file says
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8")  # as torch.load
        self.file, self.start, self.values = file, file.tell(), 0
        self.stack: list[Any] = []
        self.storages: set[str] = set()

    def find_class(self, module: str, name: str) -> Name:
        return Name(f"{module}.{name}".replace("__builtin__.", "builtins."))

    def persistent_load(self, pid: Any) -> Other:
        # torch finds one part of an archive under many keys: in capitals, or with more behind a zero byte.
        is_number = isinstance(pid[2], str) and re.fullmatch("[0-9]+", pid[2])
        if not is_number and (not isinstance(pid[0], str) or pid[0] == "storage"):  # torch refuses all but storages
            raise CallError("a storage under a name that is no number")
        self.storages.add(str(pid[2]))
        return Other()

    def call(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        self.stack.append(self.called(name, arguments))

    def called(self, name: object, arguments: object) -> Any:
        """What stands for the result of a call."""
        known = name if isinstance(name, Name) else Name("a value that is no function")
        self.take(known, arguments)
        call = CALLS.get(known) or (_nothing if TENSOR_TYPE.fullmatch(known) else None)
        if call and isinstance(arguments, tuple):
            with suppress(TypeError):  # of other arguments
                return call(self, *arguments)
        raise CallError(known.removeprefix("builtins."))

    def build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        self.take("a state", state)
        if isinstance(value, dict):
            self.attributes(OrderedDict, state)
        elif not isinstance(value, Ignored) and not (isinstance(value, Parameter) and _is_state(state)):
            raise CallError("a state of a tensor")  # of four values: its memory, of any size, which is not filled

    def attributes(self, cls: type, state: object) -> None:
        """CallError if attributes that an object of `cls` gets would hide those of its class, as `items`."""
        for part in state if isinstance(state, tuple) else (state,):
            if part is not None and type(part) is not dict:
                raise CallError("attributes without names")
            for name in part or ():
                if type(name) is not str or hasattr(cls, name):
                    raise CallError(f"the attribute {name}")

    def take(self, name: str, value: object) -> None:
        """Count the values that a call takes, and keys that it hashes. CallError if they are too many by now."""
        self.values += 1 + len(value) if isinstance(value, list | tuple | dict | set) else 1
        if self.values > VALUES_PER_BYTE * (self.file.tell() - self.start) + FREE_VALUES:
            raise CallError(name.removeprefix("builtins."))
        if isinstance(value, tuple | list | dict):  # of a dict, its keys
            for item in value:
                if isinstance(item, tuple | list):
                    self.take(name, item)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_pairs([key, value])

    def set_items(self) -> None:
        self.set_pairs(self.pop_mark())  # type: ignore[attr-defined]

    def set_pairs(self, items: list[Any]) -> None:
        """Give a dict keys and values in turn. CallError if a key is made of far more values than the pickle has."""
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise CallError("an item of what is no dict")  # of a tensor, it may fill any number of values
        for key, value in zip(items[::2], items[1::2], strict=True):
            if isinstance(key, tuple):  # Python hashes what is in it, however deep, and again wherever it is recalled
                self.take("a key", key)
            target[key] = value

    def protocol(self) -> None:
        self.file.read(1)  # torch takes any

    dispatch = {code: pickle._Unpickler.dispatch[code] for code in OPERATIONS}
    dispatch |= {pickle.PROTO[0]: protocol, pickle.REDUCE[0]: call}  # type: ignore[dict-item]
    dispatch |= {pickle.NEWOBJ[0]: call, pickle.BUILD[0]: build}  # type: ignore[dict-item]
    dispatch |= {pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items}  # type: ignore[dict-item]


def _anything(_: _Reader, *__: Any) -> Other:
    return Other()


def _ignored(_: _Reader, *__: Any) -> Ignored:
    return Ignored()


def _parameter(_: _Reader, *__: Any) -> Parameter:
    return Parameter()


def _nothing(_: _Reader) -> Other:
    return Other()


def _with_state(reader: _Reader, *arguments: Any) -> Other:
    for state in arguments[3:]:
        reader.attributes(torch.Tensor, state)
    return Other()


def _of_type(reader: _Reader, function: Any, _: Any, arguments: Any, state: Any) -> Any:
    """As torch writes tensors with attributes, and nothing else: what is no tensor has other attributes to hide."""
    result = reader.called(function, arguments)
    if function not in MAKING_TENSORS:
        raise TypeError
    reader.attributes(torch.Tensor, state)
    return result


def _is_state(state: Any) -> bool:
    """Whether a parameter is given what it needs for gradients, and no other memory."""
    return type(state) is tuple and len(state) == 3 and type(state[0]) is bool


def _mapping(_: _Reader, items: Any = ()) -> dict[Any, Any]:
    if type(items) not in (list, tuple, dict):
        raise TypeError
    return dict.fromkeys(range(len(items)))


def _ordered(reader: _Reader, items: Any = ()) -> dict[Any, Any]:
    if not all(type(pair) in (list, tuple) for pair in items):  # as Python 2 wrote it
        raise TypeError
    return _mapping(reader, items)


def _set(_: _Reader, items: Any = ()) -> Other:
    if type(items) is not list:
        raise TypeError
    return Other()


def _size(_: _Reader, items: Any = ()) -> tuple[int, ...]:
    if type(items) not in (list, tuple):
        raise TypeError
    return tuple(map(operator.index, items))


def _plain(_: _Reader, *values: Any) -> Other:
    if not all(type(value) in (int, float) or (type(value) is str and len(value) < LONGEST_NAME) for value in values):
        raise TypeError
    return Other()


def _bytes(reader: _Reader, text: Any, codec: Any) -> Other:
    """As protocol 2 (PEP 307) writes bytes. Other codecs double a text, or take hours."""
    if type(text) is not str or codec not in ("latin1", "latin-1"):
        raise TypeError
    if len(text) > 1:  # of one letter, Python has only one text, which is recalled
        reader.take("_codecs.encode", [None] * len(text))
    return Other()


MAKING_TENSORS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _anything,
    "torch._utils._rebuild_tensor_v2": _anything,
    "torch._utils._rebuild_tensor_v3": _anything,
    "torch._utils._rebuild_meta_tensor_no_storage": _anything,
    "torch._utils._rebuild_parameter": _anything,
    "torch._utils._rebuild_parameter_with_state": _with_state,
    "torch.nn.parameter.Parameter": _parameter,
}
CALLS: Mapping[str, Callable[..., Any]] = {
    **MAKING_TENSORS,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _size,
    "torch.device": _plain,
    "torch.serialization._get_layout": _plain,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _mapping,
    "builtins.set": _set,
    "builtins.complex": _plain,
    "_codecs.encode": _bytes,
    **dict.fromkeys(IGNORED, _ignored),
}
