"""libjpeg-turbo 3 (optional): decodes only the part of a JPEG that a crop box needs, which takes less time.

simplejpeg, which contains an older libjpeg-turbo, decodes whole pictures only. The pixels of a part are the same, and
damage anywhere in the JPEG is still found: the rest is read, but not transformed to pixels.

The library is found by the linker or in the environment's lib folder. SRTG_TURBOJPEG=PATH names another one,
SRTG_TURBOJPEG=none uses none.
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
# Constants of turbojpeg.h.
_DECOMPRESS, _RGB = 1, 0
_STOP_ON_WARNING, _WIDTH, _HEIGHT, _FAST_DCT = 0, 5, 6, 10
# In pixels of the source. A part must begin on the left at a multiple of the JPEG's block width, which is at most 32.
ALIGNMENT = 32
MARGIN = 2  # colours are interpolated from neighbours, so these are decoded too

_decoders = threading.local()  # a handle is for one thread at a time


class Part(NamedTuple):
    """A rectangle in pixels of the (reduced) frame; `left` is a multiple of ALIGNMENT / factor."""

    top: int
    left: int
    height: int
    width: int


class _Rectangle(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int), ("width", ctypes.c_int), ("height", ctypes.c_int))


class _Fraction(ctypes.Structure):
    _fields_ = (("numerator", ctypes.c_int), ("denominator", ctypes.c_int))


class PartDecoder:
    """Decodes parts of JPEGs; get it from `thread_decoder`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = ctypes.c_void_p(library.tj3Init(_DECOMPRESS))
        self._set(_STOP_ON_WARNING, 1)

    def __del__(self) -> None:
        self._library.tj3Destroy(self._handle)

    def decode(self, blob: bytes, size: tuple[int, int], part: Part, factor: int, fast: bool, out: np.ndarray) -> bool:
        """Write a part of a JPEG of `size` (height, width), reduced by `factor` (1, 2, 4), to `out`.

        `out` is contiguous uint8 (height, width, 3). Returns False if the JPEG is damaged, of another size, or of
        a colour space that cannot become RGB (CMYK).
        """
        assert out.shape == (part.height, part.width, 3) and out.flags.c_contiguous, (out.shape, part)
        library, handle = self._library, self._handle
        if library.tj3DecompressHeader(handle, blob, len(blob)):
            return False
        if (library.tj3Get(handle, _HEIGHT), library.tj3Get(handle, _WIDTH)) != size:
            return False
        self._set(_FAST_DCT, int(fast))
        # Reset the region of the last JPEG: it may lie outside of this one's scaled size.
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
    """The decoder of this thread; None if the system has no libjpeg-turbo 3."""
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
            if hasattr(library, "tj3SetCroppingRegion"):  # version 2 lacks it
                return _declared(library)
    if named:
        warnings.warn(
            f"SRTG_TURBOJPEG={named} is not libjpeg-turbo 3: clips are read without it, more slowly", stacklevel=2
        )
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
