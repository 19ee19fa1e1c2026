"""Pickles of a few bytes that torch's safe reader would work on forever, or fill all memory with."""

import io
import pickle
import struct
import zipfile
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch

from common.errors import DataError
from network.weights.pickles import CallError, check_pickles
from network.weights.reading import read_checkpoint


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


ENCODE = b"c_codecs\nencode\n"


def storage(key):
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + b"K\x01tQ"


OF_SIZE = b"ctorch._utils\n_rebuild_tensor_v2\n"
EXPANDED = OF_SIZE + b"(" + storage("0") + b"K\0J\0\0\0\x70\x85K\0\x85\x89ccollections\nOrderedDict\n)RtR"
COPY = b"ctorch._utils\n_rebuild_device_tensor_from_cpu_tensor\n("
PARAMETER = b"ctorch.nn.parameter\nParameter\n"
STATE = b"ctorch._utils\n_rebuild_parameter_with_state\n("
OF_TYPE = b"ctorch._tensor\n_rebuild_from_type_v2\n("
ORDERED = b"ccollections\nOrderedDict\n"
MEMORY = b"(ctorch\nFloatTensor\n)RK\0J\0\0\0\x20\x85K\1\x85tb"  # of another tensor, made larger
NUMBERS = b"".join(b"M" + struct.pack("<H", number) for number in range(20_000))
NAMES = b"".join(text(f"a{number}") + b"N" for number in range(5000))
MANY = storage("0") + b"q\2](" + NUMBERS + b"eq\0(" + NUMBERS + b"tq\1"
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
        (ENCODE + b"(" + text("a") + text("hex") + b"tR", "encode"),
        (COPY + EXPANDED + b"ctorch\nfloat64\n" + text("cpu") + b"\x89tR", "_rebuild_device_tensor_from_cpu_tensor"),
        (MANY + (b"ccollections\nCounter\nh\0\x85R") * 5000, "Counter"),
        (MANY + (b"c__builtin__\nset\nh\0\x85R") * 5000, "set"),
        (MANY + (b"ctorch\nSize\nh\0\x85R") * 5000, "Size"),
        (MANY + (b"cargparse\nNamespace\nh\1R") * 5000, "Namespace"),
        (MANY + (OF_SIZE + b"(h\2K\0h\1h\1\x89NtR") * 5000, "_rebuild_tensor_v2"),
        (b"}(" + NAMES + b"uq\0" + (b"ccollections\nOrderedDict\n)Rh\0b") * 5000, "state"),
        (b"ctorch\nSize\n" + EXPANDED + b"\x85R", "Size"),
        (b"ccollections\nOrderedDict\n]" + EXPANDED + b"a\x85R", "OrderedDict"),
        (b"ctorch\nFloatTensor\nJ\0\0\0\x70\x85R", "FloatTensor"),
        (b"ctorch._utils\n_rebuild_qtensor\n" + EXPANDED + b"\x85R", "_rebuild_qtensor"),
        (b"ctorch\nTensor\n]R", "Tensor"),
        (PARAMETER + b")" + b"q\0h\0\x86" * 40 + b"\x85R", "Parameter"),
        (PARAMETER + b")" + b"\x85" * 10_000 + b"R", "nested"),
        (b"})" + b"\x85" * 1_000_000 + b"Ns", "nested"),
        (b"})" + b"q\0h\0\x86" * 40 + b"Ns", "key"),
        (EXPANDED + b"NNs", "no dict"),
        (ORDERED + b"](" + b")" + b"q\0h\0\x86" * 60 + b"K\1\x86e\x85R", "OrderedDict"),
        (b"ccollections\nCounter\n](" + b")" + b"q\0h\0\x86" * 60 + b"e\x85R", "Counter"),
        (b"c__builtin__\nset\n](" + b")" + b"\x85" * 1_000_000 + b"e\x85R", "nested"),
        (storage("0\0a"), "storage"),
        (b"ccollections\nOrderedDict\n)R}" + text("items") + b"Nsb", "items"),
        (b"ccollections\nOrderedDict\n)Rccollections\nOrderedDict\n](]" + text("items") + b"aNae\x85Rb", "attribute"),
        (STATE + b"N\x89N}" + text("numel") + b"NstR", "numel"),
        (OF_TYPE + ORDERED * 2 + b"(]t}" + text("items") + ORDERED + b"stR", "_rebuild_from_type_v2"),
        (OF_TYPE + ORDERED + b"N(]t}" + text("as_subclass") + b"ctorch\nFloatTensor\nstR", "_rebuild_from_type_v2"),
        (b"ctorch\nTensor\n)R" + MEMORY, "state of a tensor"),
        (EXPANDED + MEMORY, "state of a tensor"),
        (PARAMETER + b")R" + MEMORY, "state of a tensor"),
        (storage("0") + b"}" + text("dtype") + b"ctorch\nfloat64\nsb", "state of a tensor"),
        (b"\x80\x09" + ENCODE + text("a") + text("hex") + b"\x86R", "encode"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_small_pickle_does_not_take_all_memory_or_time(pickled, why):
    """Each took minutes or all memory, or ended Python, in every command that reads weights."""
    with pytest.raises(CallError, match=why):
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


@pytest.mark.parametrize(
    "value",
    [
        {"weights": OrderedDict((f"layer{i}", torch.zeros(2, 3)) for i in range(100)), "epoch": 3},
        {"scores": [np.float64(0.5)] * 3, "state": np.random.default_rng(0).bytes(3000), "flag": np.bool_(True)},
        {"seen": set(range(10000)), "by_time": {float(i): 2**40 + i for i in range(10000)}, "counts": Counter("abc")},
        {"z": "z", "of_one_letter": b"z", "class": np.uint8(60), "signs": ["<", "|"]},
        {"names": tuple(f"video {i}" for i in range(20000)), "hashes": [2**63 + i for i in range(10000)]},
        {"betas": [(0.9, 0.999)] * 1000, "pairs": {(i, "a"): i for i in range(1000)}},
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


def scheduled():
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters())
    return torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5, 5]).state_dict()


def with_attribute(value):
    value.is_frozen = True
    return value


@pytest.mark.parametrize(
    "value",
    [
        scheduled()["milestones"], {"a", "b"}, torch.Size([2, 3]), 1 + 2j, torch.float16, torch.device("cpu"), b"bytes",
        torch.nn.Parameter(torch.zeros(2)),
        with_attribute(torch.nn.Parameter(torch.zeros(2))), with_attribute(torch.zeros(2)),
        torch.nn.BatchNorm2d(3).state_dict(), [torch.Size([])] * 1000, [torch.device("cpu") for _ in range(10_000)],
        [{f"video {number}", number} for number in range(10_000)], torch.zeros(1).expand(3),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("is_zip", [True, False])
def test_what_files_of_others_hold_beside_the_weights_is_read(tmp_path, value, is_zip):
    """Schedules of Lightning and timm hold a Counter: without it, the weights could not be loaded."""
    torch.save({"a": value}, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    read = read_checkpoint(tmp_path / "x.pth")["a"]
    same = (
        torch.equal
        if torch.is_tensor(value)
        else lambda one, other: (repr(one) == repr(other)) if isinstance(one, dict) else one == other
    )
    assert type(read) is type(value) and same(read, value)


def test_a_dict_of_python_2_is_read(tmp_path):
    """It is written as a list of pairs; files of that time are still downloaded."""
    pair = b"](" + text("a") + b"K\x05e"
    (tmp_path / "x.pth").write_bytes(old_file(b"ccollections\nOrderedDict\n](" + pair + b"e\x85R"))
    assert read_checkpoint(tmp_path / "x.pth") == {"a": 5}


def test_a_tensor_of_a_new_type_is_read(tmp_path):
    """torch writes those by another function."""
    torch.save({"a": torch.ones(2, dtype=torch.uint16)}, tmp_path / "x.pth")
    assert read_checkpoint(tmp_path / "x.pth")["a"].tolist() == [1, 1]


def old_file(pickled):
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*parts, b"\x80\x02" + pickled + b".", pickle.dumps([], 2)])


def test_an_old_file_that_lists_fewer_storages_than_it_has_is_refused(tmp_path):
    """Its tensors had what was in memory before: other values each time."""
    torch.save({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "x.pth").read_bytes()
    with (tmp_path / "x.pth").open("rb") as file:
        for _ in range(4):
            pickle._Unpickler.load(NoStorages(file))
        start = file.tell()
        keys = pickle.load(file)
        end = file.tell()
    values = content[end : end + 16]  # of the first
    (tmp_path / "x.pth").write_bytes(content[:start] + pickle.dumps(keys[:1], 2) + values)
    with pytest.raises(DataError, match=r"x\.pth is damaged .*fewer storages"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("keys", [(), {}, "", OrderedDict(), None, [[]], [0]], ids=repr)
def test_an_old_file_whose_list_of_storages_is_none_is_refused(tmp_path, keys):
    """torch takes anything that it can go through: the weights were what was in memory before."""
    pickled = OF_SIZE + b"(" + storage("0") + b"K\0K\1\x85K\1\x85\x89ccollections\nOrderedDict\n)RtR"
    end = len(pickle.dumps([], 2))
    (tmp_path / "x.pth").write_bytes(old_file(b"}" + text("w") + pickled + b"s")[:-end] + pickle.dumps(keys, 2))
    with pytest.raises(DataError, match=r"x\.pth is damaged .*fewer storages"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_parameter_of_old_torch_is_let_pass():
    """torch 0.4 and older write a parameter's state behind it: whether it has gradients, and hooks."""
    check_pickles(io.BytesIO(b"\x80\x02" + PARAMETER + EXPANDED + b"\x85R(\x88\x89NtbK\1\x86."))
    with pytest.raises(CallError, match="state"):
        check_pickles(io.BytesIO(b"\x80\x02" + PARAMETER + EXPANDED + b"\x85R(\x88\x89NNtb."))


class NoStorages(pickle._Unpickler):
    def persistent_load(self, pid):
        return torch.FloatStorage(2)


def test_tensors_of_other_layouts_are_named(tmp_path):
    """`Other Python objects` of a sparse tensor sends the user the wrong way."""
    torch.save({"a": torch.eye(2).to_sparse()}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"x\.pth holds sparse tensors"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_damaged_length_is_left_to_torch(tmp_path):
    """The size that it says was asked for, and the file was blamed on the memory of the machine."""
    path = tmp_path / "old.pth"
    path.write_bytes(b"\x80\x02\x8d" + b"\xff" * 6 + b"\0\x00" + b"a" * 100)
    with path.open("rb") as file:
        check_pickles(file)
