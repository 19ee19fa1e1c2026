"""libjpeg-turbo 3, where the system has it: it decodes the part of a JPEG that a box shows, in less time.

simplejpeg, which brings a libjpeg-turbo of its own, decodes whole pictures alone. A part has the same pixels, and
damage anywhere in the JPEG is found all the same: the rest is still read, only not computed.

The library is that of the linker or of the environment's lib folder; SRTG_TURBOJPEG names another, or `none`.
"""

import ctypes
import os
import sys
import threading
import warnings
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

_NAMES = ("libturbojpeg.so.0", "libturbojpeg.0.dylib", "turbojpeg.dll")
# Of turbojpeg.h.
_DECOMPRESS, _RGB = 1, 0
_STOP_ON_WARNING, _WIDTH, _HEIGHT, _FAST_DCT = 0, 5, 6, 10
ALIGNMENT = (
    32  # pixels of the source: the widest block of any kind of JPEG, at which alone a part may begin on the left
)
MARGIN = 2  # pixels of the source: colours take those beside them as well

_decoders = threading.local()  # a handle is for one thread at a time


class Part(NamedTuple):
    """A rectangle of a frame that may be reduced, in pixels of that; `left` a multiple of ALIGNMENT / factor."""

    top: int
    left: int
    height: int
    width: int


class _Rectangle(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("width", ctypes.c_int), ("height", ctypes.c_int))


class _Fraction(ctypes.Structure):
    _fields_ = (("numerator", ctypes.c_int), ("denominator", ctypes.c_int))


class PartDecoder:
    """Decodes parts of JPEGs; `thread_decoder` gives one."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = ctypes.c_void_p(library.tj3Init(_DECOMPRESS))
        self._set(_STOP_ON_WARNING, 1)

    def __del__(self) -> None:
        self._library.tj3Destroy(self._handle)

    def decode(self, blob: bytes, size: tuple[int, int], part: Part, factor: int, fast: bool, out: np.ndarray) -> bool:
        """Write a part of a JPEG of `size` (height, width), reduced by `factor` (1, 2, 4), to `out`; whether it worked.

        `out` is contiguous uint8 (height, width, 3). It works for whole JPEGs of that size alone, of grey and usual
        colours.
        """
        assert out.shape == (part.height, part.width, 3) and out.flags.c_contiguous, (out.shape, part)
        library, handle = self._library, self._handle
        if library.tj3DecompressHeader(handle, blob, len(blob)):
            return False
        if (library.tj3Get(handle, _HEIGHT), library.tj3Get(handle, _WIDTH)) != size:
            return False
        self._set(_FAST_DCT, int(fast))
        # A box that a larger factor has left would not fit the next one's size.
        library.tj3SetCroppingRegion(handle, _Rectangle(0, 0, 0, 0))
        return not (
            library.tj3SetScalingFactor(handle, _Fraction(1, factor))
            or library.tj3SetCroppingRegion(handle, _Rectangle(part.left, part.top, part.width, part.height))
            or library.tj3Decompress8(handle, blob, len(blob), out.ctypes.data, 0, _RGB)
        )

    def _set(self, parameter: int, value: int) -> None:
        failed = self._library.tj3Set(self._handle, parameter, value)
        assert not failed, parameter


def thread_decoder() -> PartDecoder | None:
    """The decoder of this thread; None where there is no libjpeg-turbo 3."""
    library = _library()
    if library is None:
        return None
    if not hasattr(_decoders, "decoder"):
        _decoders.decoder = PartDecoder(library)
    decoder: PartDecoder = _decoders.decoder
    return decoder


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    named = os.environ.get("SRTG_TURBOJPEG", "")
    if named == "none":
        return None
    inside = [str(Path(sys.prefix) / "lib" / name) for name in _NAMES]
    for path in [named] if named else [*_NAMES, *inside]:
        with suppress(OSError):
            library = ctypes.CDLL(path)
            if hasattr(library, "tj3SetCroppingRegion"):  # version 2 has it not
                return _declared(library)
    if named:
        warnings.warn(f"SRTG_TURBOJPEG: {named} is no libjpeg-turbo 3; clips are read without it", stacklevel=2)
    return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    handle, integer, size, data = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
    library.tj3Init.restype = handle
    for name, types in {
        "tj3Init": [integer],
        "tj3Destroy": [handle],
        "tj3Set": [handle, integer, integer],
        "tj3Get": [handle, integer],
        "tj3DecompressHeader": [handle, data, size],
        "tj3SetScalingFactor": [handle, _Fraction],
        "tj3SetCroppingRegion": [handle, _Rectangle],
        "tj3Decompress8": [handle, data, size, ctypes.c_void_p, integer, integer],
    }.items():
        getattr(library, name).argtypes = types
    return library
