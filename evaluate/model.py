"""A trained file -> all that is needed to use it: `load_model`. Takes every file that this project writes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError, NetworkError
from common.layout import moved
from common.normalisation import AUTO, normalisation_of
from evaluate.exported import SUFFIXES, read_exported
from evaluate.preprocessing import Preprocessing
from network import VideoNetwork, create_network, load_checkpoint
from network.sub_batch_norm import use_sub_batch_norm
from network.weights.averages import AVERAGES
from network.weights.facts import in_file, saved_facts, training_facts
from network.weights.reading import read_checkpoint
from network.weights.recognising import network_facts
from network.weights.tensors import checksum


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode on its device, and what its file says of it."""

    path: Path
    network: VideoNetwork
    classes: tuple[str, ...] | None
    """Class names in the order of the logits; None if the file has none."""
    preprocessing: Preprocessing | None
    """None if the file does not say what clips the network takes."""
    facts: dict[str, Any]
    """{"name", "gates", "placement", "num_classes"}."""
    origin: str
    """What the file was taken for."""
    checkpoint: dict[str, Any]
    """The other fields of the file, without weights and optimiser; those of an export are its metadata."""
    file_digest: str = ""
    """Of an exported file, a digest of the bytes that were read."""

    @property
    def training(self) -> dict[str, dict[str, Any]]:
        """What the file says of its training, as `training_facts` has it."""
        return training_facts(self.checkpoint)

    def class_names(self) -> tuple[str, ...]:
        """The class names; NetworkError if the file has none: numbers would be taken for names."""
        if self.classes is None:
            raise NetworkError(f"{self.path} names no classes: give --classes FILE, a name a line in the logits' order")
        return self.classes

    def needs_preprocessing(self) -> Preprocessing:
        """The preprocessing; NetworkError if the file does not say it."""
        if self.preprocessing is None:
            raise NetworkError(
                f"{self.path} does not say what clips it was trained for: give --clip-length, --val-size and "
                "--val-frame-interval"
            )
        return self.preprocessing

    def weights_digest(self) -> str:
        """A digest of the weights; of an exported file, one of its bytes."""
        return self.file_digest or f"{checksum(self.network.state_dict()):08x}"


def load_model(
    path: Path | str,
    device: torch.device | str = "cpu",
    name: str = "",
    classes: tuple[str, ...] | None = None,
    normalisation: str = AUTO,
) -> TrainedModel:
    """Load any file of this project: .pth, .safetensors, .onnx (with onnxruntime) or .pt2.

    Weights of other projects load too, if they name their network by their tensors or `name` does; they say neither
    classes nor clips. `classes` are the names for a file without any, `normalisation` is the name of one for a file
    that cannot tell. DataError if the file cannot be read; NetworkError if it is not exactly the weights of its
    network, or if `classes` or `normalisation` contradict it.
    """
    given = normalisation_of(normalisation)
    path, device, digest = Path(path), torch.device(device), ""
    if path.is_dir():
        raise DataError(f"{path} is a folder: give one of its checkpoints, such as *_best.pth")
    if path.suffix.lower() in SUFFIXES:
        if name:
            raise NetworkError(f"{path} names its network: leave --network out")
        if given:
            raise NetworkError(f"{path} says its normalisation: leave --normalisation out")
        exported = read_exported(path, device)
        network: VideoNetwork = exported.network
        digest = exported.digest
        checkpoint, facts, origin = exported.checkpoint, exported.facts, f"{exported.facts['name']} of this project"
    else:
        checkpoint = read_checkpoint(path)
        with in_file(path):
            facts = network_facts(checkpoint, name)
            network = create_network(**facts)
            _, origin = load_checkpoint(network, checkpoint, strict=True, normalisation=given)
            if not saved_facts(checkpoint) and facts["name"].startswith("srtg_"):
                origin += "; taken as without gates, placement final: the file does not say"
    with in_file(path):
        own = (saved_facts(checkpoint) or {}).get("classes")
        preprocessing = Preprocessing.from_facts(training_facts(checkpoint), network.normalisation)
    large = ("weights", "optimizer", "state_dict", "model", *AVERAGES)
    rest = {key: value for key, value in checkpoint.items() if key not in large}
    if "network" in rest:
        rest["weights"] = {}  # the sign of a file of this project
    facts = {key: facts[key] for key in ("name", "gates", "placement", "num_classes")}
    if device.type == "cuda":
        use_sub_batch_norm(network)  # it has a fast form in channels-last
    return TrainedModel(
        path, moved(network, device).eval(), _classes(path, own, classes, facts["num_classes"]), preprocessing, facts,
        origin, rest, digest,
    )  # fmt: skip


def _classes(
    path: Path, own: list[str] | None, given: tuple[str, ...] | None, num_classes: int
) -> tuple[str, ...] | None:
    if given is None:
        return None if own is None else tuple(own)
    if len(given) != num_classes or len(set(given)) < len(given):
        raise NetworkError(f"{path} has {num_classes} classes, and --classes {len(set(given))} names")
    if own is not None and list(given) != own:
        raise NetworkError(f"{path} names its classes itself, and --classes has others, or another order: leave it out")
    return given
