"""Calls in a pickle of weights that make any number of bytes of a few, found before torch makes them.

torch.load(weights_only=True) runs no code of a file, but it allows two such calls: bytearray(N), and encode(text,
codec) of _codecs, by which protocol 2 (PEP 307) writes bytes. Codecs other than Latin-1 double a text, or take hours.
"""

import pickletools
from typing import Any, BinaryIO

ENCODE = "_codecs encode"
LATIN_1 = ("latin1", "latin-1")
PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
NAME, TEXT = "GLOBAL", "BINUNICODE"
CALL = ("TUPLE2", "REDUCE")  # the operations behind a name and two arguments
Made = tuple[str, str]  # the operation that made a value, and its name or text


class LargeError(Exception):
    """A pickle that would take far more memory or time than its bytes; the message names the call that does."""


def check_pickles(file: BinaryIO, number: int = 1) -> None:
    """LargeError if one of the next `number` pickles makes a bytearray, or calls encode otherwise than for bytes.

    A pickle that is none, or is cut off, is left to torch. So are operations that torch does not know: it stops there.
    """
    for _ in range(number):
        try:
            _check(file)
        except (ValueError, LookupError, OverflowError, MemoryError):  # MemoryError: of a length that the file says
            return


def _check(file: BinaryIO) -> None:
    memo: dict[int, Made] = {}
    made: Made = ("", "")  # the value on top of the stack
    call: list[Made] | None = None  # what followed the name encode so far
    argument: Any
    for operation, argument, _ in pickletools.genops(file):
        kind = operation.name
        if kind in PUT:
            memo[argument] = made
            continue
        made = memo[argument] if kind in GET else (kind, str(argument) if kind in (NAME, TEXT) else "")
        if kind == NAME and made[1].endswith(" bytearray"):
            raise LargeError("bytearray")
        if call is not None:
            # A text that is recalled would be encoded again and again; of one letter, Python has only one.
            call.append(made if kind not in GET or len(call) == 1 or len(made[1]) == 1 else (kind, ""))
            if not _is_of_bytes(call):
                raise LargeError(ENCODE)
            call = None if len(call) == 4 else call
        elif made == (NAME, ENCODE):
            call = []


def _is_of_bytes(call: list[Made]) -> bool:
    """Whether a call of encode begins as pickle writes it for bytes: a text, Latin-1, and the call."""
    kinds = [kind for kind, _ in call]
    codec = [text for _, text in call[1:2]]
    return kinds == [TEXT, TEXT, *CALL][: len(kinds)] and all(text in LATIN_1 for text in codec)
