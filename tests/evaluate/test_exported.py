"""A damaged .onnx file is refused: the format has no checksum, and its scores would be those of other weights."""

import json
import logging
import random
import zlib

import pytest
import torch

from common.errors import UserError
from evaluate.exported import read_exported
from evaluate.model import load_model
from network.resnet3d import Recursion
from network.weights.exporting import export_onnx
from network.weights.onnx_parts import strange_part
from tests.tiny_network import TinyNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

FACTS = {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("exported") / "x.onnx"
    network = TinyNetwork(3, Recursion(False, "final")).eval()
    export_onnx(network, path, {"network": json.dumps(FACTS), "classes": json.dumps(["a", "b", "c"])})
    return path


def logits(path):
    return read_exported(path, CPU).network(torch.ones(1, 3, 4, 32, 32))


def test_a_changed_or_cut_file_is_refused_or_the_same(tmp_path, exported):
    """One changed byte in a weight gave other scores, and status 0."""
    expected, content, refused = logits(exported), exported.read_bytes(), 0
    path, numbers = tmp_path / "x.onnx", random.Random(4)
    for number in range(100):
        bad = bytearray(content)
        bad[numbers.randrange(len(bad))] ^= 1 << numbers.randrange(8)
        path.write_bytes(bad if number % 4 else content[: numbers.randrange(len(content))])
        try:
            assert torch.equal(logits(path), expected)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 95


@pytest.mark.parametrize("text", [b"clip_length", b"srtg_tiny", b"clips"])
def test_a_file_with_names_that_are_no_text_is_one_line(tmp_path, exported, text, capfd):
    """Of one changed byte, onnxruntime's reader of the metadata gave a traceback, and its fallback four lines."""
    content = exported.read_bytes()
    place = content.find(text) if text in content else content.rfind(b"classes")
    (tmp_path / "x.onnx").write_bytes(content[:place] + b"\xa0" + content[place + 1 :])
    with pytest.raises(UserError, match=r"x\.onnx is damaged"):
        logits(tmp_path / "x.onnx")
    assert capfd.readouterr() == ("", "")


def test_a_copy_that_onnx_saved_is_the_same_file(tmp_path, exported):
    """Other programs write the same content again; that is no damage."""
    onnx.save(onnx.load(exported), tmp_path / "x.onnx")
    assert torch.equal(logits(tmp_path / "x.onnx"), logits(exported))


def test_what_another_program_made_of_an_export_is_run_with_a_warning(tmp_path, exported, caplog):
    """Such as one with quantised weights: its scores may be others."""
    model = onnx.load(exported)
    model.graph.doc_string = "quantised"
    onnx.save(model, tmp_path / "x.onnx")
    with caplog.at_level(logging.WARNING, logger="srtg"):
        assert torch.equal(logits(tmp_path / "x.onnx"), logits(exported))
    (line,) = caplog.messages
    assert "x.onnx was changed by another program" in line


def test_weights_in_another_file_are_refused(tmp_path, exported):
    """The file beside it could be exchanged: other weights had the same digest, and `evaluate.compare` called them so.

    It could also be any file that the user may read.
    """
    model = onnx.load(exported)
    onnx.save(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.data", size_threshold=64)
    assert (tmp_path / "x.data").exists()
    with pytest.raises(UserError, match=r"x\.onnx has weights in another file.*as one file"):
        logits(tmp_path / "x.onnx")
    onnx.save(onnx.load(tmp_path / "x.onnx"), tmp_path / "x.onnx")
    assert torch.equal(logits(tmp_path / "x.onnx"), logits(exported))


@pytest.mark.parametrize("place", ["initializer", "constant", "function", "sparse", "attribute of a function"])
def test_weights_in_another_file_are_found_at_any_place(place):
    outside = onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="w.data")
    constant = onnx.helper.make_node("Constant", [], ["w"], value=outside)
    model = onnx.ModelProto(ir_version=9)
    if place == "initializer":
        model.graph.initializer.append(outside)
    elif place == "constant":
        model.graph.node.append(constant)
    elif place == "function":
        model.functions.add(name="f").node.append(constant)
    elif place == "sparse":
        model.graph.sparse_initializer.add().values.CopyFrom(outside)
    else:
        model.functions.add(name="f").attribute_proto.append(constant.attribute[0])
    assert strange_part(model.SerializeToString()) == "weights in another file"


def test_the_digest_is_of_the_file_that_is_evaluated(tmp_path, exported):
    """A file that was exported again while the dataset was scanned gave its digest to the scores of the one before."""
    path = tmp_path / "x.onnx"
    path.write_bytes(exported.read_bytes())
    model = load_model(path)
    path.write_bytes(b"another")
    assert model.weights_digest() == f"{zlib.crc32(exported.read_bytes()):08x}"


def test_a_loop_is_refused(tmp_path, exported):
    """The .onnx of a stranger computed without end, and nothing says when a loop is done."""
    model = onnx.load(exported)
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["", ""], [], body=body))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"x\.onnx has a loop or a branch"):
        logits(tmp_path / "x.onnx")


@pytest.mark.parametrize("edit", ["weight", "order"])
def test_an_edit_that_keeps_the_size_is_refused_with_the_remedy(tmp_path, exported, edit):
    """It cannot be told from damage: "damaged" alone would leave users without a way to run their own file."""
    model, path = onnx.load(exported), tmp_path / "x.onnx"
    if edit == "weight":
        (weight, *_) = [each for each in model.graph.initializer if each.raw_data and each.data_type == 1]
        weight.raw_data = bytes(len(weight.raw_data))
    else:
        entries = [(each.key, each.value) for each in model.metadata_props]
        del model.metadata_props[:]
        for key, value in reversed(entries):
            model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    assert path.stat().st_size == exported.stat().st_size
    with pytest.raises(UserError, match=r"x\.onnx is damaged.* edited it: remove its metadata entry srtg_crc32"):
        logits(path)
    kept = [prop for prop in model.metadata_props if prop.key != "srtg_crc32"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
    assert logits(path).shape == (1, 3)


def test_an_export_of_an_older_version_loads_without_a_checksum(tmp_path, exported, caplog):
    model = onnx.load(exported)
    kept = [prop for prop in model.metadata_props if prop.key != "srtg_crc32"]
    assert len(kept) == 2
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, tmp_path / "x.onnx")
    assert torch.equal(logits(tmp_path / "x.onnx"), logits(exported))
    assert not caplog.messages


def test_a_file_whose_classes_are_not_those_of_its_graph_is_refused(tmp_path, exported):
    """Its scores would be given to classes that it does not have."""
    model = onnx.load(exported)
    for prop in model.metadata_props:
        if prop.key == "network":
            prop.value = json.dumps(FACTS | {"num_classes": 5})
        if prop.key == "classes":
            prop.value = json.dumps(list("abcde"))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"1x3 values for 1 clips.*5 classes"):
        logits(tmp_path / "x.onnx")
