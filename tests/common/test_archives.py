"""Parts and arrays of files that others may have written: a few bytes must not take all memory, nor end a command."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.archives import array_of, read_part, unpacks_to_far_more


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3), np.array("text"), np.zeros((0, 4)), np.array(["a", ""])])
def test_an_array_is_read_as_it_was_written(array: np.ndarray) -> None:
    assert np.array_equal(array_of(npy(array)), array)


def header(text: str) -> bytes:
    packed = text.encode()
    return b"\x93NUMPY\x01\x00" + len(packed).to_bytes(2, "little") + packed


def stated(descr: str, shape: str) -> bytes:
    return header(f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}")


@pytest.mark.parametrize(
    "content",
    [
        stated("<i8", "(1000000000000,)") + bytes(8),
        stated("|V0", "(1000000000000,)"),
        stated("<U0", "(3,)"),
        stated("<i8", "(-1, -1)") + bytes(8),
        stated("<i8", "(4294967296, 4294967296)"),
        stated("|O", "(1,)") + b"\x80\x04N.",
        stated("<i8", "(2,)") + bytes(24),
        header("{'descr': ("),
        header("(" * 5000),
        header("  x\n y"),
        b"\x93NUMPY",
        b"",
    ],
)
def test_what_is_no_whole_array_of_plain_values_is_refused(content: bytes) -> None:
    """NumPy makes an array of the stated size at once, and raises errors of Python's parser for a damaged header."""
    with pytest.raises(ValueError, match=r"."):
        array_of(content)


def archive_of(path: Path, compression: int, content: bytes) -> zipfile.ZipFile:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("part", content)
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_parts_that_unpack_without_a_bound_are_refused(tmp_path: Path, compression: int) -> None:
    """zipfile unpacks whole blocks of them, whatever was asked for: a kilobyte may be a gigabyte."""
    with archive_of(tmp_path / "x.zip", compression, bytes(1000)) as archive:
        assert unpacks_to_far_more(archive, 1000, 8)
        with pytest.raises(ValueError, match="packed"):
            read_part(archive, "part")


def test_a_part_is_no_larger_than_the_archive_states(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    archive_of(path, zipfile.ZIP_DEFLATED, bytes(2**24)).close()
    path.write_bytes(path.read_bytes().replace((2**24).to_bytes(4, "little"), (9).to_bytes(4, "little")))
    with zipfile.ZipFile(path) as archive, pytest.raises(zipfile.BadZipFile):
        read_part(archive, "part")


@pytest.mark.parametrize(("size", "far"), [(2**26, False), (2**26 + 2000, True)])
def test_what_unpacks_to_far_more_is_known_before_it_is_read(tmp_path: Path, size: int, far: bool) -> None:
    with archive_of(tmp_path / "x.zip", zipfile.ZIP_DEFLATED, bytes(size)) as archive:
        assert unpacks_to_far_more(archive, 200, 8) == far
