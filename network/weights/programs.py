"""Run torch.export programs (.pt2) that `export_program` wrote, without torch's own reader.

`torch.export.load` runs code of a file: it unpickles objects, evaluates expressions and guards as Python, and puts
names of the graph into source that it executes. Here a file is data: its graph is a list of operations, of which only
those of `OPERATIONS` are called, and its weights are bytes.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from common.archives import read_part
from common.errors import DataError, NetworkError
from common.files import reason
from network.srtg import without_autocast
from network.weights.facts import shown
from network.weights.operations import (
    AUTOCAST,
    CODES,
    DTYPES,
    LSTM,
    SCHEMA,
    WITHOUT_VALUE,
    check_constants,
    check_lstm,
    operation_of,
    returned,
    written,
)
from network.weights.program_size import check_size
from network.weights.reading import unpacks_to_far_more

BLOCK = 2**20
LARGEST_JSON = 2**26
"""Most bytes of one of the archive's JSON files; the deepest network has a graph of some megabytes."""

Values = dict[str, Any]


class Name(str):
    """Stands for the value of this name."""


DEVICE = Name("")
"""Stands for the device of the clips: programs name the one that they were written on."""


class Step(NamedTuple):
    """One operation of a graph: a call, or a graph of its own that runs without autocast."""

    call: Any
    arguments: dict[str, Any]
    """By their names in the operation's schema; of a graph, by the names of its inputs."""
    outputs: list[str]
    is_tuple: bool
    """Whether the outputs are the items of what `call` returns."""
    last_use_of: list[str]


class Graph(NamedTuple):
    """Steps that compute the values `outputs` from others."""

    steps: list[Step]
    outputs: list[Name]
    are_kept: list[bool]
    """Of each output, whether it may be in the memory of a weight or of the clips."""

    def run(self, values: Values) -> list[Any]:
        """The outputs. `values` has the inputs, and is emptied of what is no longer needed."""
        for call, arguments, outputs, is_tuple, last_use_of in self.steps:
            given = {name: _value_of(argument, values) for name, argument in arguments.items()}
            if isinstance(call, Graph):
                with without_autocast(values[DEVICE].type):
                    result = call.run(given | {DEVICE: values[DEVICE]})
            else:
                if call is LSTM:
                    check_lstm(**given)
                result = call(**given)
            values.update(zip(outputs, result if is_tuple else [result], strict=True))
            for name in last_use_of:
                del values[name]
        return [values[name] for name in self.outputs]


class Program(nn.Module):
    """A program's graph with its weights: clips (B, 3, *shape) to logits."""

    def __init__(self, graph: Graph, clips: str, weights: Mapping[str, Tensor], shape: tuple[int, ...]) -> None:
        """`clips` is the name of the input in the graph, `weights` are named as there."""
        super().__init__()
        self.graph = graph
        self.clips = clips
        self.weights = {name: f"weight_{number}" for number, name in enumerate(weights)}
        self.shape = shape
        for name, tensor in weights.items():
            self.register_buffer(self.weights[name], tensor)

    def forward(self, clips: Tensor) -> Tensor:
        """Logits on the clips' device."""
        # `buffers()` would leave out a tensor that has two names.
        values: Values = {name: getattr(self, buffer) for name, buffer in self.weights.items()}
        (logits,) = self.graph.run(values | {self.clips: clips, DEVICE: clips.device})
        return cast(Tensor, logits)


def read_program(path: Path) -> tuple[Program, dict[str, Any], int]:
    """The program of a .pt2 file, the metadata that `export_program` was given, and the CRC-32 of the file.

    DataError if the file is damaged or has no program; NetworkError if `export_program` cannot have written it.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            if unpacks_to_far_more(file, archive):
                raise DataError(f"{path} unpacks to far more bytes than it has: no exported program does")
            before = os.fstat(file.fileno())
            program, metadata = _read(path, archive)
            file.seek(0)
            digest = 0
            while block := file.read(BLOCK):
                digest = zlib.crc32(block, digest)
            after = os.fstat(file.fileno())
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise DataError(f"{path} was changed while it was read: read it again when it is whole")
            return program, metadata, digest
    except DataError:
        raise
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from error
    except Exception as error:  # of any type: what the file says is used before it is known to be right
        why = str(error) if isinstance(error, zipfile.BadZipFile) else f"{type(error).__name__}: {error}"
        raise DataError(f"{path} is damaged, or no torch.export program ({shown(why, 150)})") from error


def _read(path: Path, archive: zipfile.ZipFile) -> tuple[Program, dict[str, Any]]:
    names = archive.namelist()
    folder = names[0].split("/")[0] if names else ""
    if f"{folder}/data.pkl" in names:
        raise DataError(f"{path} holds weights and no program: give it under a name that ends in .pth")
    if f"{folder}/models/model.json" not in names:
        raise NetworkError("it is no torch.export program, or one of an older torch: export the checkpoint again")
    if f"{folder}/extra/facts.json" not in names:
        raise NetworkError("it is a program that train.export did not write")
    metadata = _json(archive, f"{folder}/extra/facts.json")
    program = _json(archive, f"{folder}/models/model.json")
    if program["schema_version"]["major"] != SCHEMA:
        raise NetworkError(
            f"it is of another version of torch, {shown(program.get('torch_version'))}: export the checkpoint again"
        )
    saved = _weights(archive, f"{folder}/data/weights", "model_weights_config.json")
    saved |= _weights(archive, f"{folder}/data/constants", "model_constants_config.json")
    graph, signature = program["graph_module"]["graph"], program["graph_module"]["signature"]
    clips, weights = _inputs(signature["input_specs"], saved)
    if [next(iter(spec)) for spec in signature["output_specs"]] != ["user_output"]:
        raise NetworkError("its program gives other outputs than logits")
    shape = tuple(size["as_int"] for size in graph["tensor_values"][clips]["sizes"][2:])
    steps = _graph(graph, [*weights, clips], fixed=[*weights, clips])
    check_size(Program(steps, clips, {name: value.to("meta") for name, value in weights.items()}, shape), shape)
    return Program(steps, clips, weights, shape), metadata if isinstance(metadata, dict) else {}


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > LARGEST_JSON:
        raise NetworkError(f"its {shown(name)} is larger than any program's")
    return json.loads(read_part(archive, name))


def _weights(archive: zipfile.ZipFile, folder: str, config: str) -> dict[str, Tensor]:
    """The tensors that the JSON file `config` of a folder lists. zipfile compares their checksums."""
    tensors = {}
    for name, about in _json(archive, f"{folder}/{config}")["config"].items():
        meta = about["tensor_meta"]
        if about["use_pickle"] or meta is None:
            raise NetworkError(f"its {shown(name)} is a pickle or another object, which could run code when loaded")
        sizes, strides = ([_whole(size["as_int"]) for size in meta[part]] for part in ("sizes", "strides"))
        content = bytearray(read_part(archive, f"{folder}/{about['path_name']}"))
        dtype = DTYPES[meta["dtype"]]
        flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        tensor = flat.as_strided(sizes, strides, _whole(meta["storage_offset"]["as_int"]))
        if tensor.numel() > flat.numel():
            raise NetworkError(f"its {shown(name)} has more values than the file")
        tensors[name] = tensor.clone()
    return tensors


def _inputs(specs: Sequence[Mapping[str, Any]], saved: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """The name of the clips in the graph, and the weights by their names there."""
    clips, weights = [], {}
    for spec in specs:
        ((kind, about),) = spec.items()
        if kind == "user_input":
            clips.append(_text(about["arg"]["as_tensor"]["name"]))
        elif kind in ("parameter", "buffer", "tensor_constant"):
            weights[_text(about["arg"]["name"])] = saved[about[f"{kind}_name"]]
        else:
            raise NetworkError(f"its program has an input of the kind {shown(kind)}")
    if len(clips) != 1 or clips[0] in weights:
        raise NetworkError("its program takes other inputs than clips")
    return clips[0], weights


def _graph(graph: Mapping[str, Any], given: Iterable[str], fixed: Iterable[str]) -> Graph:
    """A graph of the file; `given` are the values that it may use, of which it may not change those `fixed`."""
    known, kept, last_use = {str(DEVICE), *given}, {*fixed}, dict[str, int]()
    steps: list[Step] = []
    for node in graph["nodes"]:
        if node["target"] in WITHOUT_VALUE:
            continue
        call, arguments = _call(node, kept)
        for name in _used(arguments.values()):
            if name not in known:
                raise NetworkError(f"its program uses {shown(name)} before it is computed")
            last_use[name] = len(steps)
        outputs, is_tuple = _outputs(node["outputs"])
        is_tuple = is_tuple or isinstance(call, Graph)
        if known & {*outputs} or len({*outputs}) < len(outputs):
            raise NetworkError("its program computes a value twice")
        known |= {*outputs}
        kept |= _kept(call, arguments, outputs, kept)
        last_use |= dict.fromkeys(outputs, len(steps))
        steps.append(Step(call, arguments, outputs, is_tuple, []))
    results = [Name(_text(each["as_tensor"]["name"])) for each in graph["outputs"]]
    if not known.issuperset(results):
        raise NetworkError("its program does not compute its outputs")
    for name, number in last_use.items():
        if name != DEVICE and name not in results:
            steps[number].last_use_of.append(name)
    return Graph(steps, results, [name in kept for name in results])


def _kept(call: Any, arguments: Mapping[str, Any], outputs: Sequence[str], kept: Collection[str]) -> set[str]:
    """The outputs of a call that may be in the memory of values `kept`; NetworkError if it changes these."""
    if isinstance(call, Graph):
        return {name for name, is_kept in zip(outputs, call.are_kept, strict=True) if is_kept}
    if any(arguments.get(name) in kept for name in written(call, arguments)):
        raise NetworkError(f"its program changes a weight or the clips, by {shown(str(call))}")
    used = _used(arguments[name] for name in returned(call) if name in arguments)
    return {*outputs} if any(name in kept for name in used) else set()


def _call(node: Mapping[str, Any], kept: Collection[str]) -> tuple[Any, dict[str, Any]]:
    """What a node calls, and its arguments. NetworkError for other operations than those of `OPERATIONS`."""
    target, inputs = _text(node["target"]), node["inputs"]
    if target == AUTOCAST:
        _, _, is_enabled, _, body, *given = (each["arg"] for each in inputs)
        if is_enabled != {"as_bool": False}:
            raise NetworkError("its program turns autocast on")
        body = body["as_graph"]["graph"]
        names = [_text(each["as_tensor"]["name"]) for each in body["inputs"]]
        arguments = dict(zip(names, map(_argument, given), strict=True))
        return _graph(body, names, [name for name in names if arguments[name] in kept]), arguments
    call = operation_of(target)
    if call is None:
        raise NetworkError(
            f"its program calls {shown(target)}, which is none of the operations that are run here, in "
            "network/weights/operations.py: give the checkpoint that it was made of"
        )
    arguments = {_text(each["name"]): _argument(each["arg"]) for each in inputs}
    if any(each.name == "device" for each in call._schema.arguments):
        arguments["device"] = DEVICE  # whatever the file says: without one, torch would compute on the CPU
    check_constants(call, arguments)
    return call, arguments


def _argument(argument: Mapping[str, Any]) -> Any:
    """A constant, a `Name` or a list of them."""
    ((kind, value),) = argument.items()
    if kind in CODES:
        return CODES[kind][value]
    if kind == "as_none":
        return None
    if kind == "as_device":
        return DEVICE
    if kind == "as_tensor":
        return Name(_text(value["name"]))
    if kind == "as_tensors":
        return [Name(_text(each["name"])) for each in value]
    if kind == "as_name":
        return Name(_text(value))
    if kind == "as_sym_int":
        return _argument(value)
    if kind in ("as_sym_ints", "as_optional_tensors"):
        return [_argument(each) for each in value]
    if kind in PLAIN:
        return PLAIN[kind](value)
    if kind.endswith("s") and kind[:-1] in PLAIN:
        return [PLAIN[kind[:-1]](each) for each in value]
    raise NetworkError(f"its program has an argument of the kind {shown(kind)}")


def _outputs(outputs: Sequence[Mapping[str, Any]]) -> tuple[list[str], bool]:
    """The names of an operation's outputs, and whether it returns several."""
    if len(outputs) == 1:
        ((kind, value),) = outputs[0].items()
        if kind == "as_tensors":
            return [_text(each["name"]) for each in value], True
    found = [_argument(output) for output in outputs]
    if not all(isinstance(name, Name) and name != DEVICE for name in found):
        raise NetworkError("its program has an operation whose outputs are no tensors")
    return list(map(str, found)), len(outputs) > 1


def _used(arguments: Iterable[Any]) -> list[str]:
    names: list[str] = []
    for argument in arguments:
        names += _used(argument) if isinstance(argument, list) else [argument] if isinstance(argument, Name) else []
    return names


def _value_of(argument: Any, values: Values) -> Any:
    if isinstance(argument, Name):
        return values[argument]
    return [_value_of(each, values) for each in argument] if isinstance(argument, list) else argument


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shown(value)} in place of a name")
    return value


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"{shown(value)} in place of a whole number")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{shown(value)} in place of a whole number")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{shown(value)} in place of true or false")
    return value


PLAIN: dict[str, Callable[[Any], Any]] = {"as_int": _number, "as_float": float, "as_bool": _truth, "as_string": _text}
