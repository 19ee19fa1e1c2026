"""Exported files, .onnx and .pt2, as networks: what `train.export` wrote runs as what it was made of."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import DataError, NetworkError
from common.files import open_plain, reason
from common.known_errors import is_of_device
from common.logs import LOG
from network.base import VideoNetwork, check_clips
from network.weights.facts import in_file, saved_facts, shown, training_facts
from network.weights.onnx_checksum import CHECKSUM, changed
from network.weights.onnx_parts import strange_part
from network.weights.programs import Program, read_program

SUFFIXES = (".onnx", ".pt2")
LARGEST_ONNX = 2**31  # bytes, as the format has it
FIELDS = ("network", "classes", "options", "videos", "content", "preprocessing")


class ExportedFile(NamedTuple):
    """A network that runs an exported file, and what the file says of it, as a checkpoint without weights."""

    network: "ExportedNetwork"
    facts: dict[str, Any]
    """As `saved_facts` has them."""
    training: dict[str, dict[str, Any]]
    checkpoint: dict[str, Any]
    digest: str
    """Of the bytes of the file that the network was made of; the path may have others by now."""


class ExportedNetwork(VideoNetwork):
    """Clips (B, 3, T, h, w) to logits (B, classes), computed by an exported file. It cannot be looked into."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__()
        self.name, self.gates, self.placement = facts["name"], facts["gates"], facts["placement"]
        self.normalisation, self.eps = facts["normalisation"], facts["eps"]
        self._num_classes: int = facts["num_classes"]

    @property
    def num_classes(self) -> int:
        """The number of a clip's logits."""
        return self._num_classes

    def checked(self, logits: object, clips: Tensor) -> Tensor:
        """The logits; NetworkError if they are not those of the clips and classes."""
        if not isinstance(logits, Tensor):
            raise NetworkError(f"the exported file gives a {type(logits).__name__}, and no values for each class")
        if logits.shape != (len(clips), self.num_classes):
            raise NetworkError(
                f"the exported file gives {shape_text(logits.shape)} values for {len(clips)} clips, "
                f"its metadata name {self.num_classes} classes"
            )
        return logits


class OnnxNetwork(ExportedNetwork):
    """An ONNX file, run by onnxruntime: on the GPU if its package has that, else on the CPU."""

    def __init__(self, session: Any, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self.session = session

    def forward(self, clips: Tensor) -> Tensor:
        """Logits, float32, on the clips' device."""
        check_clips(clips)
        values = clips.float().contiguous().cpu().numpy()
        try:
            (logits,) = self.session.run(None, {"clips": values})
        except Exception as error:  # onnxruntime's errors have no common type
            if "allocate memory" in str(error):
                raise MemoryError(shown(str(error), 200)) from error
            if _is_of_machine(error):
                raise
            raise NetworkError(
                f"the ONNX file cannot compute {tuple(clips.shape)} ({shown(str(error), 200)})"
            ) from error
        return self.checked(torch.from_numpy(np.asarray(logits)).to(clips.device), clips)


class ProgramNetwork(ExportedNetwork):
    """A torch.export program, which takes clips of one length and size."""

    def __init__(self, program: Program, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self.program = program

    def forward(self, clips: Tensor) -> Tensor:
        """Logits on the clips' device."""
        check_clips(clips)
        shape = self.program.shape
        if tuple(clips.shape[2:]) != shape:
            raise NetworkError(
                f"a .pt2 takes clips of one shape: {shape_text(shape)}, not {shape_text(clips.shape[2:])}"
            )
        try:
            logits = self.program(clips.float())
        except Exception as error:  # of any type: an operation may be given what it does not take
            if _is_of_machine(error):
                raise
            raise NetworkError(f"the .pt2 cannot compute {tuple(clips.shape)} ({shown(str(error), 200)})") from error
        return self.checked(logits, clips)


def _is_of_machine(error: Exception) -> bool:
    """Whether an error while a file is run is none of the file's: memory, the GPU or its libraries, a worker."""
    text = str(error)
    known = "allocate memory" in text or "DataLoader worker" in text
    return known or isinstance(error, MemoryError) or is_of_device(error)


def shape_text(shape: Any) -> str:
    """`16x112x112`."""
    return "x".join(map(str, shape))


def read_exported(path: Path, device: torch.device) -> ExportedFile:
    """The network of an .onnx or .pt2 file.

    DataError if it cannot be read, NetworkError if another program wrote it.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.suffix.lower() == ".onnx":
        try:
            with open_plain(path, LARGEST_ONNX) as file:
                content = file.read()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {reason(error)}") from error
        session, metadata = _onnx_session(path, content, device)
        digest = zlib.crc32(content)
    else:
        program, metadata, digest = read_program(path)
    with in_file(path):
        checkpoint = _checkpoint(metadata)
        facts = saved_facts(checkpoint)
        if facts is None:
            raise NetworkError("its metadata do not say what network it is of: python -m train.export writes them")
        training = training_facts(checkpoint)
        network: ExportedNetwork
        if path.suffix.lower() == ".onnx":
            network = OnnxNetwork(session, facts)
        else:
            if not training["preprocessing"]:
                raise NetworkError("it does not say what clips it takes: export the checkpoint again")
            clips = training["preprocessing"]
            shape = (clips["clip_length"], clips["clip_size"], clips["clip_size"])
            if program.shape != shape:
                raise NetworkError(
                    f"its program takes clips of {shape_text(program.shape)}, its metadata say {shape_text(shape)}: "
                    "export the checkpoint again"
                )
            network = ProgramNetwork(program.to(device), facts)
    return ExportedFile(network.eval(), facts, training, checkpoint, f"{digest:08x}")


def _onnx_session(path: Path, content: bytes, device: torch.device) -> tuple[Any, dict[str, str]]:
    try:
        import onnxruntime
    except ImportError:
        raise NetworkError(f"{path} needs one more package: pip install onnxruntime") from None
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    there = onnxruntime.get_available_providers()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    providers = [each for each in (*wanted, "CPUExecutionProvider") if each in there]
    _check_parts(path, content)
    try:
        # Without a GPU, its fallback is the same again, after lines on standard output.
        session = onnxruntime.InferenceSession(
            content, options, providers=providers, enable_fallback=len(providers) > 1
        )
        metadata = dict(session.get_modelmeta().custom_metadata_map)
    except Exception as error:  # onnxruntime's errors have no common type
        raise DataError(f"{path} is damaged, or no ONNX file ({shown(str(error), 150)})") from error
    how = changed(content, metadata)
    if how == "damaged":
        raise DataError(
            f"{path} is damaged: its checksum is wrong; or another program has edited it: remove its metadata entry "
            f"{CHECKSUM}, or export again"
        )
    if how:
        LOG.warning("%s was changed by another program after it was exported: its scores may be others", path)
    return session, metadata


def _check_parts(path: Path, content: bytes) -> None:
    """NetworkError if an .onnx has a part that `train.export` never writes; DataError if it is none."""
    try:
        found = strange_part(content)
    except ValueError as error:
        raise DataError(f"{path} is damaged, or no ONNX file ({error})") from error
    if found:
        raise NetworkError(
            f"{path} has {found}, which python -m train.export never writes and nothing here runs: export the "
            "checkpoint again, or save it with its weights as one file"
        )


def _checkpoint(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The metadata as a checkpoint has them; NetworkError if one is no JSON."""
    checkpoint: dict[str, Any] = {}
    for name in FIELDS:
        if name in metadata:
            try:
                checkpoint[name] = json.loads(metadata[name])
            except (TypeError, ValueError, RecursionError):
                raise NetworkError(f"its metadata {name!r} are no JSON") from None
    return checkpoint | {"weights": {}} if "network" in checkpoint else {}
