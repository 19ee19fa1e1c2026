"""Pickles of a few bytes that torch's safe reader would work on forever, or fill all memory with."""

import io
import struct
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from network.weights.pickles import LargeError, check_pickles

HASH = 2**61 - 1  # of its multiples the hash is 0


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def number(value):
    content = value.to_bytes(value.bit_length() // 8 + 1, "little")
    return b"\x8a" + bytes([len(content)]) + content


ENCODE = b"c_codecs\nencode\n"
NESTED = b")" + b"q\0h\0\x86" * 40  # ((((), ()), ((), ())), ...)
NESTED_LISTS = b"]" + b"q\0]q\1h\0ah\0a" * 40
LISTS_FILLED_LATER = (
    b"]q\0" + b"".join(bytes([ord("]"), ord("q"), i]) for i in range(1, 41))
    + b"".join(b"h" + bytes([i]) + b"h" + bytes([i + 1]) + b"ah" + bytes([i + 1]) + b"a" for i in range(40)) + b"h\0"
)  # fmt: skip


@pytest.mark.parametrize(
    ("pickled", "why"),
    [
        (b"c__builtin__\nbytearray\nJ\0\0\0\x70\x85R", "bytearray"),
        (ENCODE * 30 + text("a" * 64) + text("latin1") + b"\x86R" + (text("hex") + b"\x86R") * 29, "encode"),
        (ENCODE + text("\u4e00\u4e01") + text("punycode") + b"\x86R", "encode"),
        (text("a" * 10**5) + b"q\0" + (ENCODE + b"h\0" + text("latin1") + b"\x86R") * 1000, "very often"),
        (b"}" + NESTED + b"Ns", "very often"),
        (b"}" + b")" + b"\x85" * 200 + b"Ns", "tuples in tuples"),
        (b"(" + b"N" * 20000 + b"tq\0}" + b"h\0Ns" * 5000, "very often"),
        (b"}(" + b"".join(number(i * HASH) + b"N" for i in range(1, 10000)) + b"u", "one hash"),
        (b"}(" + b"".join(number(i) + b"\x85N" for i in range(10000)) + b"u", "one hash"),
        (b"c__builtin__\nset\n](" + b"".join(number(i * HASH) for i in range(1, 10000)) + b"e\x85R", "one hash"),
        (NESTED_LISTS, "very often"),
        (LISTS_FILLED_LATER, "lists in lists"),
        (b"]q\0h\0a", "lists in lists"),
        (b"]" + b"]" * 200 + b"a" * 200, "lists in lists"),
        (b"ctorch\nFloatTensor\n]q\0h\0a\x85R", "torch.FloatTensor"),
        (b"ctorch\nTensor\n]\x85\x81", "torch.Tensor"),
        (b"ctorch.storage\nUntypedStorage\nJ\0\0\0\x70\x85R", "UntypedStorage"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nTensor\nctorch\nTensor\n]\x85}tR", "torch.Tensor"),
    ],
)
def test_a_small_pickle_does_not_take_all_memory_or_time(pickled, why):
    """Each took minutes or all memory, or ended Python, in every command that reads weights."""
    with pytest.raises(LargeError, match=why):
        check_pickles(io.BytesIO(b"\x80\x02" + pickled + b"."))


class Project:
    """An object that torch refuses, with its own message."""


@pytest.mark.parametrize(
    "value",
    [
        {"weights": OrderedDict((f"layer{i}", torch.zeros(2, 3)) for i in range(100)), "epoch": 3},
        {"scores": [np.float64(0.5)] * 3, "state": np.random.default_rng(0).bytes(3000), "flag": np.bool_(True)},
        {"seen": set(range(10000)), "by_time": {float(i): 2**40 + i for i in range(10000)}, "counts": Counter("abc")},
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
