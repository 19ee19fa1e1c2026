"""A .pt2 that a user is handed runs no code, and is not read wrongly."""

import io
import json
import random
import zipfile
import zlib

import pytest
import torch
from torch._export.serde import schema

from common.errors import DataError, NetworkError, UserError
from network.registry import create_network
from network.resnet3d import Recursion
from network.weights import programs
from network.weights.exporting import export_program
from network.weights.operations import (
    DTYPES,
    FORMATS,
    OPERATIONS,
    PREFIX,
    SCHEMA,
    check_constants,
    check_lstm,
    operation_of,
)
from network.weights.program_size import check_size
from network.weights.programs import Graph, Name, Program, Step, read_program
from tests.tiny_network import TinyNetwork

MODEL, WEIGHTS = "archive/models/model.json", "archive/data/weights/model_weights_config.json"
CONSTANTS, INPUTS = "archive/data/constants/model_constants_config.json", "archive/data/sample_inputs/model.pt"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network's program; its gates take many operations."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("exported") / "x.pt2"
    export_program(TinyNetwork(3, Recursion(True, "final")).eval(), path, (4, 32, 32), {"network": "{}"})
    return path


def changed(path, source, changes):
    """A copy of the archive `source`; `changes` are functions of an entry's JSON or bytes, by its name."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as copy:
        for entry in archive.infolist():
            content = archive.read(entry)
            if entry.filename in changes:
                is_json = entry.filename.endswith(".json")
                content = changes[entry.filename](json.loads(content) if is_json else content)
                content = json.dumps(content) if is_json else content
            copy.writestr(entry.filename, content)
    return path


def logits(program):
    with torch.no_grad():
        return program(torch.ones(2, 3, 4, 32, 32))


class Mark:
    """An object whose pickle makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def replaced(find, replace):
    """A change of the first of a JSON's objects that `find` takes, by `replace`."""

    def change(value):
        stack = [value]
        while stack:
            each = stack.pop(0)
            if isinstance(each, dict) and find(each):
                replace(each)
                return value
            stack += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        raise AssertionError("nothing was found")

    return change


def renamed(old, new):
    return lambda value: json.loads(json.dumps(value).replace(json.dumps(old), json.dumps(new)))


def every_place(mark):
    """Code that makes the file `mark`, in each place of a program that torch's reader runs or puts into source."""
    call = f"[open({str(mark)!r}, 'w'), Symbol('s7', positive=True, integer=True)][1]"
    statement = f"x\n    open({str(mark)!r}, 'w')\n    y"
    return {
        "sample inputs": {INPUTS: lambda _: pickled((Mark(mark),))},
        "an expression": {MODEL: replaced(lambda each: "expr_str" in each, lambda each: each.update(expr_str=call))},
        "a guard": {MODEL: lambda value: value | {"guards_code": [call]}},
        "the name of the input": {MODEL: renamed("clips", statement)},
        "the name of a value": {MODEL: renamed("conv3d", statement)},
    }


@pytest.mark.parametrize("place", list(every_place("")))
def test_code_in_a_program_is_not_run(tmp_path, exported, place):
    """torch.export.load runs the first three, before anything is evaluated."""
    mark = tmp_path / "mark"
    path = changed(tmp_path / "x.pt2", exported, every_place(mark)[place])
    assert torch.equal(logits(read_program(path)[0]), logits(read_program(exported)[0]))
    assert not mark.exists()


def is_target(each):
    return each.get("target") == "torch.ops.aten.relu_.default"


def to_target(name):
    return {MODEL: replaced(is_target, lambda each: each.update(target=name))}


def to_argument(kind, value):
    return {MODEL: replaced(is_target, lambda each: each["inputs"][0].update(arg={kind: value}))}


REFUSED = {
    "a function of Python": (to_target("torch._C._jit_set_profiling_mode"), "calls torch._C"),
    "a function of the system": (to_target("torch.os.system"), "calls torch.os.system"),
    "an operator of Python": (to_target("_operator.methodcaller"), "calls _operator"),
    "an operation that reads files": (to_target("torch.ops.aten.from_file.default"), "calls torch.ops.aten.from_file"),
    "a path of names within an operation": (to_target("torch.ops.aten.relu.default.__class__"), "calls"),
    "an object": (to_argument("as_custom_obj", {"name": "x", "class_fqn": "y"}), "as_custom_obj"),
    "an operator as argument": (to_argument("as_operator", "torch.os.system"), "as_operator"),
    "a graph as argument": (to_argument("as_graph", {}), "as_graph"),
    "a value that is not computed": (to_argument("as_tensor", {"name": "z"}), "uses z before"),
    "pickled weights": (
        {WEIGHTS: replaced(lambda each: "use_pickle" in each, lambda each: each.update(use_pickle=True))},
        "is a pickle",
    ),
    "an object among the constants": (
        {CONSTANTS: lambda _: {"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": 0, "tensor_meta": None}}}},
        "another object",
    ),
    "weights of more values than the file": (
        {
            WEIGHTS: replaced(
                lambda each: "strides" in each,
                lambda each: each.update(sizes=[{"as_int": 2**40}], strides=[{"as_int": 0}]),
            )
        },
        "more values than the file",
    ),
    "a number in place of a type": (
        {MODEL: lambda value: json.loads(json.dumps(value).replace('{"as_scalar_type": 7}', '{"as_int": -1}'))},
        "a dtype of",
    ),
    "a tensor as large as one likes": (
        {MODEL: replaced(lambda each: each.get("name") == "size", lambda each: each.update(arg={"as_ints": [2**40]}))},
        "makes a tensor of",
    ),
    "a window without end": (
        {MODEL: replaced(lambda each: each.get("name") == "padding", lambda each: each.update(arg={"as_int": 9**9}))},
        "a padding of",
    ),
    "another version of the format": (
        {MODEL: lambda value: value | {"schema_version": {"major": 9, "minor": 1}}},
        "another version of torch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_only_torch_could_read_is_refused(tmp_path, exported, name):
    """Each would let a file name what is run, or take all memory."""
    changes, message = REFUSED[name]
    with pytest.raises(UserError, match=rf"x\.pt2.*{message}") as error:
        read_program(changed(tmp_path / "x.pt2", exported, changes))
    assert "\n" not in str(error.value)


def test_a_padding_without_end_in_value_is_allowed():
    """A network that pads with minus infinity before a maximum could not be evaluated as .pt2."""
    check_constants(torch.ops.aten.pad.default, {"pad": [1, 1], "mode": "constant", "value": float("-inf")})
    check_constants(torch.ops.aten.full.default, {"size": [2, -1], "fill_value": 2**40, "dtype": torch.float32})


LSTM_ARGUMENTS = (torch.zeros(4, 8, 6), [torch.zeros(1, 8, 5)] * 2,
                  [torch.zeros(20, 6), torch.zeros(20, 5), torch.zeros(20), torch.zeros(20)])  # fmt: skip


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_lstm_whose_tensors_do_not_fit_is_not_called(part):
    """torch reads and writes past their ends: the process dies, or gives scores of other memory."""
    flags = (True, 1, 0.0, False, False, False)
    check_lstm(*LSTM_ARGUMENTS, *flags)
    torch.lstm(*LSTM_ARGUMENTS, *flags)
    wrong = list(LSTM_ARGUMENTS)
    wrong[part] = [torch.zeros(4, 8, 7), [torch.zeros(1, 1, 5)] * 2, [torch.zeros(20)] * 4][part]
    for given in (wrong, [*wrong[:2], wrong[2][:3]]):
        with pytest.raises(NetworkError, match="LSTM"):
            check_lstm(*given, *flags)


def test_damaged_programs_are_one_line_or_the_same(tmp_path, exported, capfd):
    """torch compares no checksum: a changed byte gave the scores of other weights."""
    expected, content, refused = logits(read_program(exported)[0]), exported.read_bytes(), 0
    path, numbers = tmp_path / "x.pt2", random.Random(3)
    for number in range(60):
        bad = bytearray(content)
        bad[numbers.randrange(len(bad))] ^= 1 << numbers.randrange(8)
        path.write_bytes(bad if number % 2 else content[: numbers.randrange(len(content))])
        try:
            assert torch.equal(logits(read_program(path)[0]), expected)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 35
    assert capfd.readouterr().err == ""


def test_a_checkpoint_under_the_ending_of_programs_is_said_to_be_one(tmp_path, capfd):
    """It gave eighteen lines of torch's log with a traceback."""
    torch.save({"weights": {}}, tmp_path / "x.pt2")
    with pytest.raises(UserError, match=r"x\.pt2 holds weights.*\.pth"):
        read_program(tmp_path / "x.pt2")
    assert capfd.readouterr().err == ""


def test_a_program_computes_where_its_clips_are(exported):
    """Programs name the device that they were written on: on a GPU, the LSTM's first state was on the CPU."""
    program = read_program(exported)[0].to("meta")
    assert program(torch.ones(2, 3, 4, 32, 32, device="meta")).shape == (2, 3)


def test_a_program_of_another_project_is_refused(tmp_path):
    """It does not say what it takes and gives."""
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "x.pt2")
    with pytest.raises(UserError, match=r"x\.pt2.*train\.export did not write"):
        read_program(tmp_path / "x.pt2")


def test_a_small_program_does_not_take_all_memory(tmp_path, exported):
    """A packed entry of zeros takes a thousandth of its size."""
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(tmp_path / "x.pt2", "w", zipfile.ZIP_DEFLATED) as copy:
        for entry in archive.infolist():
            is_weight = entry.filename.endswith("/weight_0")
            copy.writestr(entry.filename, bytes(2**27) if is_weight else archive.read(entry))
    with pytest.raises(UserError, match=r"x\.pt2 unpacks to far more"):
        read_program(tmp_path / "x.pt2")


def test_a_program_packed_in_another_way_is_refused(tmp_path, exported):
    """zipfile unpacks bzip2 and LZMA without a bound, whatever size is stated."""
    with zipfile.ZipFile(exported) as archive, zipfile.ZipFile(tmp_path / "x.pt2", "w", zipfile.ZIP_BZIP2) as copy:
        for entry in archive.infolist():
            copy.writestr(entry.filename, archive.read(entry))
    with pytest.raises(UserError, match=r"x\.pt2 unpacks to far more"):
        read_program(tmp_path / "x.pt2")


def test_operations_and_codes_are_those_of_the_installed_torch():
    """A new torch may number types anew, and drop operations."""
    assert schema.SCHEMA_VERSION[0] == SCHEMA
    assert all(callable(operation_of(PREFIX + name)) for name in OPERATIONS)
    names = {schema.SCALAR_TYPE_TO_C10[code].lower(): dtype for code, dtype in DTYPES.items()}
    assert names == {
        "byte": torch.uint8, "char": torch.int8, "short": torch.int16, "int": torch.int32, "long": torch.int64,
        "half": torch.float16, "float": torch.float32, "double": torch.float64, "bool": torch.bool,
        "bfloat16": torch.bfloat16,
    }  # fmt: skip
    formats = {schema.MEMORY_FORMAT_TO_C10[code]: form for code, form in FORMATS.items()}
    assert formats == {
        "Contiguous": torch.contiguous_format, "ChannelsLast": torch.channels_last,
        "ChannelsLast3d": torch.channels_last_3d, "Preserve": torch.preserve_format,
    }  # fmt: skip


def exported_as(path, network, shape=(4, 32, 32)):
    export_program(network.eval(), path, shape, {"network": "{}"})
    return path


class Changing(TinyNetwork):
    """Adds to a value that is its weight or its clips, or may be in their memory."""

    def __init__(self, change):
        super().__init__(3, Recursion(False, "final"))
        self.change = change
        self.register_buffer("shift", torch.ones(3))

    def forward(self, clips):
        return super().forward(clips) + self.change(self, clips)


CHANGES = {
    "a weight": lambda network, clips: network.shift.add_(1),
    "a view of a weight": lambda network, clips: network.shift.view(1, 3)[:, :2].relu_().sum(),
    "what dropout returned": lambda network, clips: torch.dropout(network.shift, 0.5, False).mul_(2),
    "the clips": lambda network, clips: clips.mul_(0.5).mean(),
    "the statistics of a batch norm": lambda network, clips: torch.batch_norm(
        clips, None, None, network.shift, network.shift, True, 0.1, 1e-5, False
    ).mean(),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_program_that_would_change_its_weights_or_clips_is_refused(tmp_path, name):
    """The scores of a video would depend on the videos before it."""
    path = exported_as(tmp_path / "x.pt2", Changing(CHANGES[name]))
    with pytest.raises(UserError, match=r"x\.pt2.*changes a weight or the clips"):
        read_program(path)


def test_a_program_may_change_what_it_has_computed(tmp_path):
    """As each ReLU here does."""
    network = Changing(lambda network, clips: (network.shift + 1).view(1, 3).relu_().add_(1))
    own = read_program(exported_as(tmp_path / "x.pt2", network))[0]
    expected = logits(network)
    assert all(torch.allclose(logits(own), expected, atol=1e-5) for _ in range(2))


def test_a_tensor_with_two_names_is_read():
    """A traceback of zip, at the first clip."""
    scale = torch.full((2,), 3.0)
    step = Step(torch.ops.aten.mul.Tensor, {"self": Name("a"), "other": Name("b")}, ["c"], False, [])
    program = Program(Graph([step], [Name("c")], [False]), "clips", {"a": scale, "b": scale}, (4, 32, 32))
    assert torch.equal(logits(program), scale * scale)


def test_the_digest_is_of_the_file_that_is_read(tmp_path, exported, monkeypatch):
    """The scores of a program got the digest of the one that replaced it meanwhile."""
    path, content = tmp_path / "x.pt2", exported.read_bytes()
    path.write_bytes(content)
    read = programs._read

    def replace(*arguments):
        (tmp_path / "y.pt2").write_bytes(b"another")
        (tmp_path / "y.pt2").replace(path)
        return read(*arguments)

    monkeypatch.setattr(programs, "_read", replace)
    assert read_program(path)[2] == zlib.crc32(content)


def test_a_program_that_is_written_while_it_is_read_is_refused(tmp_path, exported, monkeypatch):
    path = tmp_path / "x.pt2"
    path.write_bytes(exported.read_bytes())
    read = programs._read

    def overwrite(*arguments):
        found = read(*arguments)
        with path.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(programs, "_read", overwrite)
    with pytest.raises(DataError, match=r"x\.pt2 was changed while it was read"):
        read_program(path)


@pytest.mark.parametrize("operation", ["expand", "cat"])
def test_a_program_that_computes_far_more_than_any_network_is_refused(operation):
    """One small node took days, or all memory, before the first video was scored."""

    def program(clips):
        for _ in range(40):
            clips = clips.expand(10**12, *clips.shape[1:]).amax(0) if operation == "expand" else torch.cat([clips] * 2)

    with pytest.raises(NetworkError, match=rf"computes far more than any network here, by aten\.{operation}"):
        check_size(program, (4, 32, 32))
    check_size(lambda clips: clips.sum(), (300, 312, 312))


def test_a_program_cannot_hide_how_much_it_computes(tmp_path, exported):
    """The shape of its clips is what the file says."""

    def longer(model):
        name = model["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"]
        model["graph_module"]["graph"]["tensor_values"][name]["sizes"][2] = {"as_int": 10**7}
        return model

    with pytest.raises(NetworkError, match="far more"):
        read_program(changed(tmp_path / "x.pt2", exported, {MODEL: longer}))


def many_products(clips):
    one = clips[:1, 0, 0, 0, :1]
    for _ in range(1000):
        torch.mm(one.expand(256, 2**20), one.expand(2**20, 256))


def many_sums(clips):
    values = clips.flatten()[:1].expand(2**29)
    for _ in range(1000):
        values.sum()


def large_filters(clips):
    one = clips[:1, :1, :1, :1, :1]
    torch.conv3d(one.expand(1, 3, 64, 1000, 1000), one.expand(4, 3, 9, 499, 499))


def large_windows(clips):
    torch.nn.functional.avg_pool2d(clips[:1, 0, :1, :1, :1].reshape(1, 1, 1).expand(1, 8000, 8000), 4000, 1)


LONG = {"mm": many_products, "convolution": large_filters, "avg_pool2d": large_windows, "sum": many_sums}


@pytest.mark.parametrize("name", list(LONG))
def test_a_program_that_gives_little_and_computes_for_hours_is_refused(name):
    """The scores of one video took hours, without a line."""
    with pytest.raises(NetworkError, match=rf"computes far more than any network here, by aten\.{name}"):
        check_size(LONG[name], (4, 32, 32))


@pytest.mark.parametrize("name", ["tv_r2plus1d_34", "wide_r3d101_2"])
def test_the_largest_networks_are_far_below_what_is_refused(name):
    """An exported network of one's own could not be evaluated at clips of 128 frames."""
    with torch.device("meta"):
        network = create_network(name, 700).eval()
    check_size(network, (128, 312, 312))


class Making(TinyNetwork):
    def forward(self, clips):
        return super().forward(clips) + torch.ones(3) + clips.new_ones(3)


def test_a_program_whose_values_are_powers_of_the_number_of_clips_is_refused():
    """One clip tells nothing of it: a batch of 16 took 17 GB."""
    for power in (3, 8):
        with pytest.raises(NetworkError):
            check_size(lambda clips, power=power: clips.new_ones([len(clips)] * power).sum() + clips.sum(), (4, 32, 32))
    check_size(lambda clips: clips.flatten(1).sum(1).expand(3, -1), (4, 32, 32))


@pytest.mark.parametrize("device", [{"as_none": True}, {"as_string": "cpu"}, None], ids=repr)
def test_a_program_computes_nothing_while_its_size_is_found(tmp_path, device):
    """What it makes without a device was made on the CPU before its size was compared, in gigabytes."""

    def changes(value):
        for node in value["graph_module"]["graph"]["nodes"]:
            for each in node["inputs"] if node["target"] == "torch.ops.aten.ones.default" else []:
                if each["name"] == "device":
                    node["inputs"].remove(each)
                    node["inputs"] += [each | {"arg": device}] if device else []
        return value

    path = exported_as(tmp_path / "x.pt2", Making(3, Recursion(False, "final")))
    program = read_program(changed(tmp_path / "y.pt2", path, {MODEL: changes}))[0]
    assert torch.equal(logits(program), logits(read_program(path)[0]))
    assert program.to("meta")(torch.ones(2, 3, 4, 32, 32, device="meta")).device.type == "meta"
