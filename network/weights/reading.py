"""Read files of weights (.pth, .safetensors), of this project and of others, into dicts."""

import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from common import archives
from common.errors import DataError
from common.files import reason
from network.weights.facts import shown
from network.weights.kinds import HEAD, not_a_file, not_weights
from network.weights.pickles import IGNORED, CallError, check_pickles
from network.weights.safetensors_file import read_safetensors

BLOCK = 2**20  # bytes read at a time while checksums are computed
DIRECTORY = 0x10  # attribute of a zip entry; torch reads nothing for an entry that has it
EXPORTED = (".onnx", ".pt2")  # endings
ZIP, ZIP_END, ZIP64_LOCATOR = b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x07"
HEADER = 30  # bytes before an entry's name and extra field, whose lengths are the last four of them
FARTHEST_END = 2**16 + 22  # bytes from a zip file's end to its record of the end, which a comment may follow
MOST_UNPACKED = 8  # times the bytes of the file
OTHER_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantised",
    "torch._utils._rebuild_nested_tensor": "nested",
}  # by what makes them
LEGACY_PICKLES = 5  # of a file of torch before 1.6, before its tensors


class DamagedError(DataError):
    """A checkpoint whose bytes are damaged, unlike one that is missing, cannot be read or has other content."""


class _Ignored:
    """Stands for an object that weights do not need. Whatever the file says of it is dropped."""

    def __new__(cls, *args: object) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *args: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The file's dict, tensors on the CPU, after a check of its checksums.

    DamagedError if its bytes are damaged. DataError if it is missing, cannot be read, is no checkpoint, or holds other
    Python objects. Files of torch before 1.6 have no checksums.
    """
    try:
        _check_file(path)
        with path.open("rb") as file:
            before = _state(file)
            head = file.read(HEAD)
            if path.suffix.lower() in EXPORTED:
                raise DataError(
                    f"checkpoint {path} is a network for other programs: only .pth, .pt and .safetensors can be loaded "
                    "here; python -m evaluate.run evaluates it"
                )
            if kind := not_weights(head):
                raise DamagedError(f"checkpoint {path} is {kind}")
            is_zip = head.startswith(ZIP)  # the content decides, not the name: files get renamed
            is_safetensors = head[8:9] == b"{" or (path.suffix.lower() == ".safetensors" and not is_zip)
            try:
                if is_zip:
                    _check_zip(path, file)
                checkpoint = read_safetensors(path, file) if is_safetensors else _load(path, file, is_zip)
            finally:
                if _state(file) != before:  # the checksums and the tensors may be of two files
                    raise DataError(f"checkpoint {path} was changed while it was read: read it again when it is whole")
    except OSError as error:
        raise DataError(f"checkpoint {path} cannot be read: {reason(error)}") from error
    if not isinstance(checkpoint, dict):
        raise DataError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a dict of weights")
    return checkpoint


def read_plainly(path: Path) -> Any:
    """What torch loads of a checkpoint, with tensors that have no values and without a check of their checksums.

    For a look at its plain fields. DataError, OSError, or an error that torch.load and zipfile do not document.
    """
    with path.open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            _check_parts(path, file, archive)
        file.seek(0)
        return torch.load(file, map_location="meta", weights_only=True)


def _state(file: BinaryIO) -> tuple[int, int]:
    """What changes when a program writes into the file, but not when a run puts a new file in its place."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _check_file(path: Path) -> None:
    kind = not_a_file(path)
    if kind == "missing":
        there = sorted(other.name for other in _neighbours(path) if other.suffix in (".pth", ".pt", ".safetensors"))
        hint = f"; {path.parent} holds {', '.join(there[-5:])}" if there else ""
        raise DataError(f"checkpoint {path} does not exist{hint}")
    if kind:
        raise DataError(f"checkpoint {path} is {kind}, not a file")


def _check_zip(path: Path, file: BinaryIO) -> None:
    """DamagedError if a checksum of the archive is wrong; torch compares none."""
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check_parts(path, file, archive)
            has_checksums = any(entry.CRC for entry in entries)  # torch can save without: then all are 0
            wrong = next((entry.filename for entry in entries if has_checksums and not _is_whole(archive, entry)), None)
    except (OSError, DataError):
        raise
    except Exception as error:  # zipfile documents few; zlib, EOF, runtime and other errors occur
        raise _damaged(path, str(error) or type(error).__name__) from error
    if wrong is not None:
        raise _damaged(path, f"the checksum of {shown(wrong)} is wrong")


def _check_parts(path: Path, file: BinaryIO, archive: zipfile.ZipFile) -> None:
    """DataError if torch would read other parts than zipfile, or need far more memory than the file has bytes."""
    entries = archive.infolist()
    if any("/code/" in entry.filename for entry in entries):
        raise DataError(f"checkpoint {path} is a program of torch.jit.save: save its state_dict() with torch.save")
    if why := _ambiguous(file, archive):
        raise _damaged(path, why)
    if unpacks_to_far_more(file, archive):
        raise DataError(f"checkpoint {path} unpacks to far more bytes than it has: no weights compress so well")
    pickles = [entry for entry in entries if entry.filename.lower().endswith("data.pkl")]
    for entry in pickles:
        _check_pickles(path, _content(file, archive, entry))


def unpacks_to_far_more(file: BinaryIO, archive: zipfile.ZipFile) -> bool:
    """Whether an archive's parts are far larger than its file. torch compresses none; others' tools save a little."""
    return archives.unpacks_to_far_more(archive, os.fstat(file.fileno()).st_size, MOST_UNPACKED)


def _ambiguous(file: BinaryIO, archive: zipfile.ZipFile) -> str:
    """Why torch could read another content than zipfile, whose checksums are compared; empty if it cannot.

    zipfile corrects the offsets if bytes precede the archive, as in two files that were joined; torch does not. torch
    ignores the case of names.
    """
    entries = archive.infolist()
    if len({entry.filename.lower() for entry in entries}) < len(entries):
        return "its archive has two parts of the same name"
    start = max(0, file.seek(0, os.SEEK_END) - FARTHEST_END)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(ZIP_END)
    end = start + at
    directory = int.from_bytes(tail[at + 16 : at + 20], "little")
    if tail[at - 20 : at - 16] == ZIP64_LOCATOR:
        if int.from_bytes(tail[at - 12 : at - 4], "little") != end - 76:  # 20 bytes of the locator, 56 of the record
            return "other bytes precede its archive"
        directory = int.from_bytes(tail[at - 28 : at - 20], "little")
    is_first = min(entry.header_offset for entry in entries) == 0 if entries else True
    return "" if is_first and directory == archive.start_dir else "other bytes precede its archive"


def _is_whole(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    """Whether the entry has its checksum and torch reads the same bytes that zipfile reads."""
    is_stored = entry.compress_type == zipfile.ZIP_STORED
    if entry.external_attr & DIRECTORY or (is_stored and entry.file_size != entry.compress_size):
        return False
    try:
        with archive.open(entry) as content:
            while content.read(BLOCK):
                pass
    except zipfile.BadZipFile:
        return False
    return True


def _load(path: Path, file: BinaryIO, is_zip: bool) -> Any:
    if not is_zip:
        file.seek(0)
        _check_pickles(path, file, LEGACY_PICKLES)
    file.seek(0)
    try:
        with torch.serialization.safe_globals([(_Ignored, name) for name in IGNORED]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, DataError):
        raise
    except Exception as error:  # torch.load documents no errors; pickle, zip, runtime, key and attribute errors occur
        text = str(error)
        found = re.search(r"GLOBAL (\S+)|whose module (\S+) is blocked", text)
        if found:
            raise _other_objects(path, shown(found[1] or found[2])) from error
        if isinstance(error, MemoryError) or "allocate memory" in text:
            raise DataError(f"checkpoint {path} needs more memory than there is") from error
        found = re.search(r"Unsupported operand (\d+)", text)
        if found and (is_zip or int(found[1]) == pickle.FRAME[0]):
            raise DataError(
                f"checkpoint {path} was saved with another pickle protocol than 2, and torch loads no other without "
                "running code: save it without pickle_protocol"
            ) from error
        why = _why(error)
        if not is_zip or "PytorchStreamReader" in text:  # torch's reader of zip files
            raise _damaged(path, why) from error
        raise DataError(f"checkpoint {path} has right checksums, but torch cannot load it ({why})") from error


def _check_pickles(path: Path, file: BinaryIO, number: int = 1) -> None:
    try:
        check_pickles(file, number)
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    except CallError as error:
        name = str(error)
        if kind := OTHER_TENSORS.get(name):
            raise DataError(f"checkpoint {path} holds {kind} tensors: save them as plain ones") from None
        raise _other_objects(path, shown(name)) from None


def _content(file: BinaryIO, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    """What torch reads of an entry."""
    if entry.compress_type != zipfile.ZIP_STORED:
        return io.BytesIO(archives.read_part(archive, entry.filename))
    file.seek(entry.header_offset)  # past zipfile, which refuses entries without checksums
    lengths = file.read(HEADER)[-4:]
    file.seek(int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little"), os.SEEK_CUR)
    return io.BytesIO(file.read(max(entry.compress_size, entry.file_size)))


def _other_objects(path: Path, name: str) -> DataError:
    return DataError(
        f"checkpoint {path} holds other Python objects than tensors and plain types ({name}), which could run code or "
        "take all memory when loaded: save only its state_dict()"
    )


def _why(error: Exception) -> str:
    """The cause that torch gives, without its advice to load the file without the safeguard."""
    lines = re.findall(r"WeightsUnpickler error:\s*(\S.*)", str(error))
    lines += [line.strip() for line in str(error).splitlines() if line.strip() and "weights_only" not in line]
    return f"{type(error).__name__}: {shown(lines[0], 150)}" if lines else type(error).__name__


def _damaged(path: Path, why: str) -> DamagedError:
    return DamagedError(f"checkpoint {path} is damaged or incomplete, or is no checkpoint ({why})")


def _neighbours(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []
