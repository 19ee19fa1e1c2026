"""What a pickle would make, found before torch makes it: no small file may take all memory, or take forever.

torch.load(weights_only=True) runs no code of a file, but a few bytes can still name a call that makes any number of
bytes (bytearray, encode), or one text, tuple or list that is used again and again, inside of itself or as a key: each
level doubles the work. Here the operations are followed as torch's reader does, with sizes in place of values.

Protocol 2 (PEP 307) alone: at any other operation torch stops, and so does this.
"""

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Sequence
from typing import Any, BinaryIO

MOST_REPEATED = 10**7  # elements that may be gone through more often than the pickle has them
MOST_ODD_KEYS = 5000  # of dicts and sets, other than text and numbers: those of one hash can be made
DEEPEST = 100
HASHED_AS_IS = 2**61 - 1  # smaller numbers are their own hash
ENCODE, REBUILD, FROM_TYPE = "_codecs.encode", "torch._utils._rebuild", "torch._tensor._rebuild_from_type_v2"
# Allowed by torch, and not in weights: given a number, a nested list or another type, each makes a value of any size.
LARGE_CALLS = ("torch._utils._rebuild_device_tensor", "torch.storage.")
QUANTISED = "torch._utils._rebuild_qtensor"  # the same, of a list
FILLED = ("list", "other")
SETTERS = ("builtins.set", "collections.OrderedDict", "collections.Counter")


class LargeError(Exception):
    """A pickle that would take far more memory or time than its bytes; the message names what does."""


class _Value:
    """What an operation makes. `size`: of its elements and theirs, each counted as often as it is used."""

    __slots__ = ("depth", "items", "kind", "size", "text")
    depth: int
    size: int

    def __init__(self, kind: str, items: Sequence["_Value"] = (), text: str = "") -> None:
        self.kind = kind  # plain, large, text, tuple, list (also for a dict), name, other
        self.items = list(items) if kind in FILLED else items
        self.text = text
        self.size = 1 + sum(item.size for item in items)
        self.depth = 1 + max((item.depth for item in items), default=0) if kind == "tuple" else 0

    def add(self, items: Sequence["_Value"]) -> None:
        if not isinstance(self.items, list):
            raise ValueError("cannot be filled")
        self.items += items
        self.size += sum(item.size for item in items)


_PLAIN = _Value("plain")
_LARGE = _Value("large")


def check_pickles(file: BinaryIO, number: int = 1) -> None:
    """LargeError if one of the next `number` pickles would take far more memory or time than its bytes."""
    for _ in range(number):
        reader = _Reader()
        try:
            is_whole = reader.read(file)
        except (ValueError, LookupError):  # torch will stop there, too
            return
        if not is_whole:
            return


class _Reader:
    def __init__(self) -> None:
        self.stack: list[_Value] = []
        self.marked: list[list[_Value]] = []
        self.memo: dict[int, _Value] = {}
        self.work = 0
        self.allowed = MOST_REPEATED
        self.odd_keys = 0

    def read(self, file: BinaryIO) -> bool:
        """Whether the pickle came to its end."""
        argument: Any
        for operation, argument, _ in pickletools.genops(file):
            name = operation.name
            self.allowed += 4
            if name in ("BINPUT", "LONG_BINPUT"):
                self.memo[argument] = self.stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                self.stack.append(self.memo[argument])
                self.count(self.memo[argument].size)
            elif name in ("BINUNICODE", "SHORT_BINSTRING"):
                self.allowed += len(argument)
                self.stack.append(_Value("text", text=argument))
            elif name in ("BININT", "BININT1", "BININT2", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE"):
                self.stack.append(_PLAIN)
            elif name == "LONG1":
                self.stack.append(_PLAIN if abs(argument) < HASHED_AS_IS else _LARGE)
            elif name == "GLOBAL":
                self.stack.append(_Value("name", text=_full_name(argument)))
            elif name == "STOP":
                _check_nesting(self.stack.pop(), self.allowed)
                return True
            elif name in _STEPS:
                _STEPS[name](self)
            elif name != "PROTO":
                return False
        return False

    def count(self, work: int) -> None:
        self.work += work
        if self.work > self.allowed:
            raise LargeError("one value that is used very often")

    def pop_mark(self) -> list[_Value]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def mark(self) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def tuple_of(self, items: list[_Value]) -> None:
        made = _Value("tuple", items)
        if made.depth > DEEPEST:
            raise LargeError("tuples in tuples")
        self.stack.append(made)

    def short_tuple(self, length: int) -> None:
        items = self.stack[-length:]
        del self.stack[-length:]
        self.tuple_of(items)

    def empty(self) -> None:
        self.stack.append(_Value("list"))

    def append(self, items: list[_Value]) -> None:
        self.stack[-1].add(items)

    def set_items(self, items: list[_Value]) -> None:
        for key in items[::2]:
            self.count_key(key)
        self.append(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def count_key(self, key: _Value) -> None:
        if key.kind not in ("large", "tuple", "other"):
            return
        self.odd_keys += 1
        if self.odd_keys > MOST_ODD_KEYS:
            raise LargeError("keys that may have one hash")

    def call(self) -> None:
        """REDUCE and NEWOBJ: a name and a tuple of arguments."""
        arguments, called = self.stack.pop(), self.stack.pop()
        if called.kind != "name" or arguments.kind != "tuple":
            raise LargeError("a call of no name")
        if called.text == ENCODE:
            self.encode(arguments.items)
            return
        _check_call(called.text, arguments.items)
        self.go_through(arguments)
        for elements in arguments.items if called.text in SETTERS else ():
            for element in elements.items:
                self.count_key(element.items[0] if element.kind == "list" and element.items else element)
        self.stack.append(_Value("other", [arguments]))

    def encode(self, arguments: Sequence[_Value]) -> None:
        """Bytes, which protocol 2 writes as a text in Latin-1."""
        kinds = [each.kind for each in arguments]
        if kinds != ["text", "text"] or arguments[1].text not in ("latin1", "latin-1"):
            raise LargeError(ENCODE)
        self.count(len(arguments[0].text))
        self.stack.append(_PLAIN)

    def build(self) -> None:
        state = self.stack.pop()
        self.go_through(state)
        self.append([state])

    def go_through(self, value: _Value) -> None:
        """Count elements and theirs as they are now: what is in a tuple may have been filled since."""
        for item in value.items:
            self.count(item.size)
            for inner in item.items:
                self.count(inner.size)

    def load_storage(self) -> None:
        self.stack[-1] = _Value("other")


_STEPS: dict[str, Any] = {
    "MARK": _Reader.mark,
    "TUPLE": lambda reader: reader.tuple_of(reader.pop_mark()),
    "TUPLE1": lambda reader: reader.short_tuple(1),
    "TUPLE2": lambda reader: reader.short_tuple(2),
    "TUPLE3": lambda reader: reader.short_tuple(3),
    "EMPTY_TUPLE": lambda reader: reader.tuple_of([]),
    "EMPTY_LIST": _Reader.empty,
    "EMPTY_DICT": _Reader.empty,
    "EMPTY_SET": _Reader.empty,
    "APPEND": lambda reader: reader.append([reader.stack.pop()]),
    "APPENDS": lambda reader: reader.append(reader.pop_mark()),
    "SETITEM": _Reader.set_item,
    "SETITEMS": lambda reader: reader.set_items(reader.pop_mark()),
    "REDUCE": _Reader.call,
    "NEWOBJ": _Reader.call,
    "BUILD": _Reader.build,
    "BINPERSID": _Reader.load_storage,
}


def _check_call(name: str, arguments: Sequence[_Value]) -> None:
    """LargeError if the call may make a value of any size."""
    inner = "".join(each.text for each in arguments[:1]) if name == FROM_TYPE else REBUILD
    has_lists = any(item.kind == "list" for each in arguments for item in each.items)
    is_tensor = name.startswith("torch.") and name.endswith("Tensor")
    if is_tensor or name.startswith(LARGE_CALLS) or (name == QUANTISED and has_lists):
        raise LargeError(name)
    if not inner.startswith(REBUILD) or inner.startswith((*LARGE_CALLS, QUANTISED)):
        raise LargeError(inner or name)


def _full_name(argument: str) -> str:
    """The name as Python 3 has it: pickles of protocol 2 have those of Python 2. LargeError for that of bytearray."""
    module, _, name = argument.partition(" ")
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    if (module, name) == ("builtins", "bytearray"):
        raise LargeError(name)
    return f"{module}.{name}"


def _check_nesting(top: _Value, most: int) -> None:
    """LargeError if containers are in themselves or very deep, or have more than `most` elements if written out."""
    known: dict[int, tuple[int, int] | None] = {}

    def walk(value: _Value, depth: int) -> tuple[int, int]:
        """How large and how deep."""
        found = known.get(id(value), (0, 0))
        if found is None or depth > DEEPEST:
            raise LargeError("lists in lists")
        if found[0]:
            return found
        known[id(value)] = None
        size, height = 1, 1
        for item in value.items:
            inner = walk(item, depth + 1) if item.items else (1, 0)
            size, height = size + inner[0], max(height, 1 + inner[1])
        if height > DEEPEST or size > most:
            raise LargeError("lists in lists")
        known[id(value)] = size, height
        return size, height

    walk(top, 0)
