"""Files of weights that other programs wrote."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from common.errors import DataError
from network import create_network, load_checkpoint
from network.weights import reading, safetensors_file
from network.weights.reading import DamagedError, read_checkpoint
from network.weights.safetensors_file import read_safetensors
from tests.network.weights.exported import network_of


@pytest.mark.parametrize("name", ["x.pth", "x.SAFETENSORS", "x.safetensors", "x"])
def test_a_renamed_file_is_read_by_its_content(tmp_path, name):
    """Whole weights were called damaged because a download gave them another ending."""
    weights = {"a": torch.arange(3.0)}
    for save in (save_file, torch.save):
        save(weights, tmp_path / name)
        assert read_checkpoint(tmp_path / name)["a"].equal(weights["a"])


def test_safetensors_of_others_are_state_dicts(tmp_path):
    """Files from the Hugging Face hub have no metadata of this project."""
    save_file(network_of("r3d_10").state_dict(), tmp_path / "x.safetensors")
    report, _ = load_checkpoint(create_network("r3d_10", 3), read_checkpoint(tmp_path / "x.safetensors"))
    assert report.complete


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
        (b"404: Not Found", "text"),
        (b"", "empty"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_what_is_no_checkpoint_is_said(tmp_path, content, kind, ending):
    """A download often gives a page or a pointer under the right name."""
    (tmp_path / f"x.{ending}").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.{ending} is .*{kind}"):
        read_checkpoint(tmp_path / f"x.{ending}")


def test_a_path_that_is_no_file_is_named_as_what_it_is(tmp_path):
    """`does not exist` of a folder that is there sends the user the wrong way; a pipe would be waited for."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "link", "pipe"):
        with pytest.raises(DataError, match=rf"/{name} is a {name}"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(DataError, match=r"/dev/null is a device"):
        read_checkpoint(Path("/dev/null"))


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_training_scripts_save_beside_the_weights_is_ignored(tmp_path, is_zip):
    """Arguments, best scores as NumPy numbers and paths run no code and are not needed."""
    weights = {"a": torch.arange(3.0)}
    extras = {"args": argparse.Namespace(lr=1), "best": np.float64(77.5), "all": np.arange(3), "out": Path("x")}
    torch.save({"state_dict": weights} | extras, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    assert torch.equal(read_checkpoint(tmp_path / "x.pth")["state_dict"]["a"], weights["a"])


@pytest.mark.parametrize("is_zip", [True, False])
def test_other_objects_are_refused_without_torchs_advice(tmp_path, is_zip):
    """torch advises to load the file with `weights_only=False`, which would run its code."""
    torch.save({"a": torch.zeros(2), "x": os.mkdir}, tmp_path / "x.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(DataError, match=r"x\.pth holds other Python objects.*mkdir") as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert "weights_only" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")  # torch's, on the protocol
@pytest.mark.parametrize("is_zip", [True, False])
def test_another_pickle_protocol_is_named_and_not_called_damage(tmp_path, is_zip):
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth", pickle_protocol=4, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(DataError, match=r"x\.pth .*protocol") as caught:
        read_checkpoint(tmp_path / "x.pth")
    assert not isinstance(caught.value, DamagedError)


@pytest.mark.filterwarnings("ignore")  # torch's, that TorchScript is deprecated
def test_a_program_of_torchscript_is_named(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "x.pth"))
    with pytest.raises(DataError, match=r"x\.pth .*torch\.jit.*state_dict"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["x.onnx", "x.pt2"])
def test_an_exported_network_is_named(tmp_path, name):
    """`damaged or incomplete` of a good file sends the user the wrong way."""
    (tmp_path / name).write_bytes(b"\x08\x08\x12\x07pytorch")
    with pytest.raises(DataError, match=rf"{name} .*only \.pth, \.pt and \.safetensors can be loaded"):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path, monkeypatch, kept):
    """Its checksums were those of the old file, and its tensors of the new one: a mixture of two networks."""
    path, other = tmp_path / "x.pth", tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    torch.save({"a": torch.ones(1000)}, other)
    load = torch.load

    def overwrite(*arguments, **flags):
        with path.open("r+b") as file:  # as `rsync --inplace` and `cp` do
            file.write(other.read_bytes()[: int(kept * other.stat().st_size)])
        return load(*arguments, **flags)

    monkeypatch.setattr(torch, "load", overwrite)
    with pytest.raises(DataError, match=r"x\.pth was changed while it was read"):
        read_checkpoint(path)


def test_a_file_that_a_run_replaces_meanwhile_is_read_whole(tmp_path, monkeypatch):
    """An evaluation of `last` beside the run that writes it: the old file is whole, and stays so until it is closed."""
    path, other = tmp_path / "x.pth", tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    torch.save({"a": torch.ones(1000)}, other)
    load = torch.load

    def replace(*arguments, **flags):
        other.replace(path)
        return load(*arguments, **flags)

    monkeypatch.setattr(torch, "load", replace)
    assert not read_checkpoint(path)["a"].any()


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_safetensors_that_are_overwritten_later_stay_as_they_were(tmp_path, kept):
    """Weights whose checksum was right became those of the new file, without a word, or the process was killed."""
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(10_000)}, path)
    weights = read_checkpoint(path)["a"]
    with path.open("r+b") as file:
        file.truncate(int(kept * path.stat().st_size))
        file.seek(200)
        file.write(bytes(10_000))
    assert (weights == 1).all()


def test_safetensors_that_are_written_while_they_are_read_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(10_000)}, path)

    def overwrite(*arguments):
        with path.open("r+b") as file:
            file.write(path.read_bytes() + b"more")
        return read_safetensors(*arguments)

    monkeypatch.setattr(reading, "read_safetensors", overwrite)
    with pytest.raises(DataError, match=r"x\.safetensors was changed while it was read"):
        read_checkpoint(path)


def test_safetensors_of_all_types_are_read(tmp_path):
    """They are read here byte by byte, not by safetensors, which maps the file."""
    types = list(safetensors_file.DTYPES.values())
    weights = {f"w{number}": torch.arange(6).reshape(2, 3).to(dtype) for number, dtype in enumerate(types)}
    weights |= {"scalar": torch.tensor(3.0), "empty": torch.zeros(0, 4), "a": torch.ones(1, dtype=torch.bool)}
    save_file(weights, tmp_path / "x.safetensors")
    read = read_checkpoint(tmp_path / "x.safetensors")
    assert read.keys() == weights.keys()
    for name, tensor in weights.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name].float(), tensor.float()), name


def test_safetensors_of_a_type_that_is_not_known_are_not_called_damaged(tmp_path):
    """The user looked for damage in a whole file."""
    text = json.dumps({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(1))
    with pytest.raises(DataError, match=r"x\.safetensors: its tensor a is of the type F4"):
        read_checkpoint(tmp_path / "x.safetensors")
    types = {"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu"}
    known = {code: getattr(torch, name) for code, name in types.items() if hasattr(torch, name)}
    assert known.items() <= safetensors_file.DTYPES.items()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [4]}, {"shape": [-3]}, {"data_offsets": [0, 16]}, {"data_offsets": [4, 16]}, {"dtype": None},
        {"data_offsets": [0, 2**40], "shape": [2**38]}, {"shape": [1] * 100}, {"shape": None},
    ],
    ids=str,
)  # fmt: skip
def test_safetensors_that_contradict_themselves_are_refused(tmp_path, change):
    header = {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]} | change}
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(12))
    with pytest.raises(DataError, match=r"x\.safetensors is damaged, or no safetensors file"):
        read_checkpoint(tmp_path / "x.safetensors")
