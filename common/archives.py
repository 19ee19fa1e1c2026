"""Parts of zip files, and arrays of .npz and .npy files, that somebody else may have written: no more memory than said.

Who asks zipfile for a whole part gets all that it unpacks to, whatever size the archive states; NumPy makes an array of
the shape that a header states before it reads a value.
"""

import io
import math
import tokenize
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of the others, zipfile unpacks whole blocks of any size
SMALL = 2**26  # bytes that any file may unpack to


def unpacks_to_far_more(archive: zipfile.ZipFile, bytes_of_file: int, times: int, small: int = SMALL) -> bool:
    """Whether the parts together are larger than `times` the file and `small` bytes, or no bound holds for one."""
    entries = archive.infolist()
    if any(entry.compress_type not in BOUNDED for entry in entries):
        return True
    return sum(entry.file_size for entry in entries) > times * bytes_of_file + small


def read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """A part's bytes, as many as the archive states for it; its checksum is compared.

    KeyError if there is none, ValueError if it is packed in a way that has no bound, and zipfile's errors.
    """
    entry = archive.getinfo(name)
    if entry.compress_type not in BOUNDED:
        raise ValueError(f"its part {name} is packed in a way that is not read")
    with archive.open(entry) as part:
        return part.read(entry.file_size)


def read_arrays(archive: zipfile.ZipFile, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Arrays of an .npz. Errors as by `read_part` and `array_of`."""
    return {name: array_of(read_part(archive, f"{name}.npy")) for name in names}


def array_of(content: bytes) -> np.ndarray:
    """The array in the bytes of an .npy. ValueError if they are not one of plain values, all of them and no more."""
    file = io.BytesIO(content)
    shape, dtype = array_header(file)
    if dtype.itemsize * math.prod(shape) != len(content) - file.tell():
        raise ValueError("it holds an array of another size than its header says")
    file.seek(0)
    array: np.ndarray = np.load(file, allow_pickle=False)
    return array


def array_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type that an .npy states, read up to its values. ValueError if they are none of plain values."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (tokenize.TokenError, SyntaxError, TypeError, RecursionError, MemoryError) as error:  # of Python's parser
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from None
    if dtype.hasobject or not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError("it holds no array of plain values")
    return shape, dtype
