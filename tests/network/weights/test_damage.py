"""A damaged file of weights is refused: else a network with a few wrong weights is trained on, scored or exported."""

import json
import random
import struct
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from common.errors import DataError
from network.resnet3d import Recursion
from network.weights.reading import DamagedError, read_checkpoint
from network.weights.safetensors_file import write_safetensors
from tests.tiny_network import TinyNetwork
from train.checkpoint.files import CheckpointFolder

FACTS = {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3}


def network():
    torch.manual_seed(0)
    return TinyNetwork(3, Recursion(False, "final"))


def is_same(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


def checkpoint_of(net):
    momentum = {number: {"momentum_buffer": torch.randn_like(p)} for number, p in enumerate(net.parameters())}
    return {"format": 1, "network": FACTS, "weights": dict(net.state_dict()), "optimizer": {"state": momentum}}


def damaged(content, random_numbers, count):
    """`count` flips of one bit and as many truncations; a third each near the end and near the start."""
    size = len(content)
    for number in range(2 * count):
        low, high = [(0, size), (max(0, size - 20_000), size), (0, min(size, 20_000))][number % 3]
        at = random_numbers.randrange(low, high)
        if number < count:
            flipped = bytes([content[at] ^ 1 << random_numbers.randrange(8)])
            yield f"bit of byte {at}", content[:at] + flipped + content[at + 1 :]
        else:
            yield f"cut at {at}", content[:at]


def check_damage(path, count, seed):
    """Each damaged file is refused, or loads as it was; returns the number of refused ones."""
    whole, content, refused = read_checkpoint(path), path.read_bytes(), 0
    for what, bad in damaged(content, random.Random(seed), count):
        path.write_bytes(bad)
        try:
            assert is_same(whole, read_checkpoint(path)), f"seed {seed}: {what} loads with other values"
        except DataError as error:
            assert str(path) in str(error) and "\n" not in str(error), what
            refused += 1
    path.write_bytes(content)
    return refused


def test_a_flipped_or_cut_checkpoint_is_refused_or_loads_as_it_was(tmp_path):
    """torch compares no checksum: four of five flipped bits gave other weights or momentum."""
    folder = CheckpointFolder(tmp_path, "srtg_tiny", 0)
    folder.save(checkpoint_of(network()))
    assert check_damage(folder.last, 40, seed=1) > 60


@pytest.mark.slow
def test_no_damage_of_a_real_checkpoint_is_silent(tmp_path):
    """As above, on other bytes each time."""
    from network import create_network

    seed = random.randrange(10**9)
    print("seed", seed)
    folder = CheckpointFolder(tmp_path, "r3d_10", 0)
    folder.save(checkpoint_of(create_network("r3d_10", 3)))
    assert check_damage(folder.last, 200, seed) > 300


def test_damage_that_checksums_do_not_cover_is_refused(tmp_path):
    """One bit of the archive's directory makes torch read nothing for a tensor: it has whatever was in memory."""
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(100.0)}, path)
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(b"x/data/0"))
    assert content[entry + 38] == 0  # the attributes
    content[entry + 38] = 0x10
    path.write_bytes(content)
    assert zipfile.ZipFile(path).testzip() is None
    with pytest.raises(DamagedError, match=r"x\.pth"):
        read_checkpoint(path)


def test_files_without_checksums_load(tmp_path):
    """Those of torch before 1.6, torchvision's among them, and those saved without checksums for speed."""
    weights = {"a": torch.arange(10.0)}
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(weights, tmp_path / "fast.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert all(is_same(read_checkpoint(tmp_path / name), weights) for name in ("old.pth", "fast.pth"))


def test_safetensors_of_this_project_have_a_checksum(tmp_path):
    """The format has none, so a flipped bit would be another weight; other readers must not mind ours."""
    path, weights = tmp_path / "x.safetensors", dict(network().state_dict())
    write_safetensors(path, weights, FACTS, ["a", "b", "c"])
    assert is_same(load_file(path), weights)
    assert check_damage(path, 40, seed=2) > 60
    content = path.read_bytes()
    places = [content.index(text) for text in (b'srtg"', b"srtg_tiny", b"srtg_crc32")]
    for at in (*places, len(content) - 1):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(DataError, match=r"x\.safetensors"):
            read_checkpoint(path)


def test_safetensors_of_older_versions_load_without_a_checksum(tmp_path):
    weights, facts = dict(network().state_dict()), {"network": FACTS, "classes": ["a", "b", "c"]}
    save_file(weights, tmp_path / "x.safetensors", metadata={"format": "pt", "srtg": json.dumps(facts)})
    assert is_same(read_checkpoint(tmp_path / "x.safetensors"), facts | {"weights": weights})


@pytest.mark.parametrize("facts", ["[]", "5", "null", "{", "[" * 100_000, '{"network": 5}', '{"weights": 7}', "NaN"])
def test_safetensors_with_other_facts_are_refused(tmp_path, facts):
    tensors = {"fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    header = json.dumps({"__metadata__": {"srtg": facts}} | tensors).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with safe_open(path, "pt"):
        pass
    with pytest.raises(DataError, match=r"x\.safetensors"):
        read_checkpoint(path)


def test_safetensors_are_readable_by_whom_the_umask_lets(tmp_path):
    """A file for the group that only its author can read stops the others."""
    write_safetensors(tmp_path / "x.safetensors", network().state_dict(), FACTS, None)
    (tmp_path / "other").touch()
    assert (tmp_path / "x.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_two_joined_checkpoints_are_refused(tmp_path):
    """zipfile checks the second one and torch loads the first, damaged one: other weights in silence."""
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(100.0)}, path)
    whole = path.read_bytes()
    at = whole.index(torch.arange(100.0).numpy().tobytes()) + 200
    bad = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for before in (bad, whole, b"PK\x03\x04" + bytes(60)):
        path.write_bytes(before + whole)
        with pytest.raises(DamagedError, match=r"x\.pth is damaged.*bytes precede"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_parts_of_one_name_is_refused(tmp_path):
    """Which of them torch loads is chance; it takes `Data/0` for `data/0`."""
    for name in ("x/data/0", "x/Data/0"):
        path = tmp_path / "x.pth"
        torch.save({"a": torch.arange(100.0)}, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, bytes(400))
        with pytest.raises(DamagedError, match=r"x\.pth.*same name"):
            read_checkpoint(path)


def test_an_archive_that_another_program_wrote_loads(tmp_path):
    """Its record of the end may be of the older form, and a comment may follow it."""
    path, other = tmp_path / "x.pth", tmp_path / "y.pth"
    torch.save({"a": torch.arange(100.0)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as copy:
        copy.comment = b"a comment"
        for entry in archive.infolist():
            copy.writestr(entry.filename, archive.read(entry))
    assert is_same(read_checkpoint(other), read_checkpoint(path))


def test_a_small_file_does_not_take_all_memory(tmp_path):
    """torch's list of safe types has bytearray: a pickle of 50 bytes makes one of any size."""
    path = tmp_path / "x.pth"
    pickled = b"\x80\x02c__builtin__\nbytearray\nJ\x00\x5e\xd0\xb2\x85R."
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "y.pth", "w") as copy:
        for entry in archive.infolist():
            is_pickle = entry.filename.endswith("data.pkl")
            copy.writestr(entry.filename, pickled if is_pickle else archive.read(entry))
    (tmp_path / "old.pth").write_bytes(pickled)
    for name in ("y.pth", "old.pth"):
        with pytest.raises(DataError, match=rf"{name}.*bytearray.*memory"):
            read_checkpoint(tmp_path / name)


def repacked(source, path, extra=0):
    """A copy of the archive that another program packed, its first tensor with `extra` more bytes of zeros."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as copy:
        for entry in archive.infolist():
            is_first = entry.filename.endswith("data/0")
            copy.writestr(entry.filename, archive.read(entry) + bytes(extra if is_first else 0))
    return path


def test_a_packed_checkpoint_is_unpacked_within_limits(tmp_path):
    """A file of some megabytes took gigabytes. One that another program packed loads: weights hardly get smaller."""
    weights = {"a": torch.randn(200), "zeros": torch.zeros(2**20)}
    torch.save(weights, tmp_path / "x.pth")
    assert is_same(read_checkpoint(repacked(tmp_path / "x.pth", tmp_path / "y.pth")), weights)
    with pytest.raises(DataError, match=r"y\.pth unpacks to far more"):
        read_checkpoint(repacked(tmp_path / "x.pth", tmp_path / "y.pth", 2**27))
