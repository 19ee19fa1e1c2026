"""Pickles of a few bytes that torch's safe reader would work on forever, or fill all memory with."""

import io
import struct
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from common.errors import DataError
from network.weights.pickles import LargeError, check_pickles
from network.weights.reading import read_checkpoint


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


ENCODE = b"c_codecs\nencode\n"
OF_BYTES = text("a" * 64) + text("latin1") + b"\x86R"


@pytest.mark.parametrize(
    ("pickled", "why"),
    [
        (b"c__builtin__\nbytearray\nJ\0\0\0\x70\x85R", "bytearray"),
        (ENCODE * 30 + OF_BYTES + (text("hex") + b"\x86R") * 29, "encode"),
        (ENCODE + text("\u4e00\u4e01") + text("punycode") + b"\x86R", "encode"),
        (ENCODE + b"q\1" + OF_BYTES + b"h\1" + text("a" * 64) + text("hex") + b"\x86R", "encode"),
        (text("hex") + b"q\2" + ENCODE + text("a") + b"h\2\x86R", "encode"),
        (text("a" * 10**5) + b"q\0" + (ENCODE + b"h\0" + text("latin1") + b"\x86R") * 1000, "encode"),
        (b"](" + ENCODE + text("a") + text("hex") + b"te", "encode"),
    ],
)
def test_a_small_pickle_does_not_take_all_memory_or_time(pickled, why):
    """Each took minutes or all memory, or ended Python, in every command that reads weights."""
    with pytest.raises(LargeError, match=why):
        check_pickles(io.BytesIO(b"\x80\x02" + pickled + b"."))


@pytest.mark.parametrize("name", ["new", "old"])
@pytest.mark.parametrize("codec", ["hex", "punycode"])
def test_such_a_file_is_refused_by_every_reader(tmp_path, name, codec):
    """The check must be before each way to torch's reader."""
    pickled = b"\x80\x02" + ENCODE + text("a" * 64) + text(codec) + b"\x86R."
    path = tmp_path / "weights.pth"
    if name == "old":
        path.write_bytes(pickled)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", pickled)
            archive.writestr("weights/version", "3\n")
    with pytest.raises(DataError, match="encode"):
        read_checkpoint(path)


class Project:
    """An object that torch refuses, with its own message."""


@pytest.mark.parametrize(
    "value",
    [
        {"weights": OrderedDict((f"layer{i}", torch.zeros(2, 3)) for i in range(100)), "epoch": 3},
        {"scores": [np.float64(0.5)] * 3, "state": np.random.default_rng(0).bytes(3000), "flag": np.bool_(True)},
        {"seen": set(range(10000)), "by_time": {float(i): 2**40 + i for i in range(10000)}, "counts": Counter("abc")},
        {"z": "z", "of_one_letter": b"z", "class": np.uint8(60), "signs": ["<", "|"]},
        {"names": tuple(f"video {i}" for i in range(20000)), "hashes": [2**63 + i for i in range(10000)]},
        {"betas": [(0.9, 0.999)] * 1000, "pairs": {(i, "a"): i for i in range(1000)}, "object": Project()},
        torch.nn.Linear(2, 2).state_dict(),
        torch.optim.AdamW(torch.nn.Linear(2, 2).parameters()).state_dict(),
    ],
)
def test_what_checkpoints_hold_is_let_pass(value, tmp_path):
    """A bound that a common checkpoint reaches would refuse its weights."""
    torch.save(value, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as archive:
        check_pickles(io.BytesIO(archive.read("new/data.pkl")))
    torch.save(value, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with (tmp_path / "old.pth").open("rb") as file:
        check_pickles(file, 5)


def test_a_damaged_length_is_left_to_torch(tmp_path):
    """The size that it says was asked for, and the file was blamed on the memory of the machine."""
    path = tmp_path / "old.pth"
    path.write_bytes(b"\x80\x02\x8d" + b"\xff" * 6 + b"\0\x00" + b"a" * 100)
    with path.open("rb") as file:
        check_pickles(file)
