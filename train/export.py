"""Write a checkpoint for other programs: `python -m train.export CHECKPOINT OUTPUT.onnx|.pt2|.safetensors`.

The form is that of OUTPUT's ending. ONNX takes clips of any length and size, a torch.export program (.pt2) those of
`--clip-length` and `--clip-size`; safetensors has the weights alone and loads by `--pretrained-3d`. A checkpoint of
another project needs the network that it is for, by `--network`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import atomic_file
from data.augment.normalise import MEAN, SCALE
from network import VideoNetwork, create_network, load_checkpoint, recognise
from network.weights.exporting import OPSET, export_onnx, export_program
from network.weights.loading import has_network_facts
from network.weights.reading import read_checkpoint
from network.weights.safetensors_file import write_safetensors
from train.checkpoint.files import Checkpoint

FORMS = (".onnx", ".pt2", ".safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the arguments say, print what the file takes; DataError for a user's mistake."""
    args = _parser().parse_args(arguments)
    form = args.output.suffix
    if form not in FORMS:
        raise DataError(f"{args.output} ends in none of {', '.join(FORMS)}, so its form is unknown")
    if not args.output.parent.is_dir():
        raise DataError(f"the folder {args.output.parent} does not exist")
    try:
        network, classes, facts = load_network(args.checkpoint, args.network)
        described = _describe(facts, classes)
        with atomic_file(args.output) as temporary:
            if form == ".onnx":
                export_onnx(network, temporary, described)
                takes = f"clips float32 (batch, 3, frames, height, width) of any sizes, opset {OPSET}"
            elif form == ".pt2":
                shape = (args.clip_length, args.clip_size, args.clip_size)
                export_program(network, temporary, shape, described)
                takes = f"clips float32 (batch, 3, {', '.join(map(str, shape))}) of any batch"
            else:
                write_safetensors(temporary, network.state_dict(), facts, classes)
                takes = "weights for --pretrained-3d"
    except OSError as error:
        raise DataError(f"{args.output} cannot be written: {error}") from error
    print(f"{args.output}: {facts['name']}, {facts['num_classes']} classes; {takes}")
    print(f"normalisation: RGB of 0 to 1, minus {described['mean']}, divided by {described['std']}")
    return 0


def load_network(path: Path, name: str = "") -> tuple[VideoNetwork, list[str] | None, dict[str, Any]]:
    """The network of a checkpoint with all its weights, its classes if they have names, and its facts.

    `name` is that of the network for a checkpoint of another project. NetworkError or DataError if it does not fit.
    """
    checkpoint = read_checkpoint(path)
    facts = _facts(path, checkpoint, name)
    network = create_network(facts["name"], facts["num_classes"], facts["gates"], facts["placement"])
    classes = checkpoint.get("classes") if has_network_facts(checkpoint) else None
    load_checkpoint(network, checkpoint, classes, strict=True)
    return network.eval(), classes, facts


def _facts(path: Path, checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    if has_network_facts(checkpoint):
        facts = dict(checkpoint["network"])
        if name and name != facts["name"]:
            raise DataError(f"{path} is of {facts['name']}, not of {name}: leave --network out")
        return facts
    published = recognise(checkpoint)
    name = name or published.network
    if not name or "fc.bias" not in published.state_dict:
        raise DataError(f"{path} does not say what network it is for, or has no classifier: say --network NAME")
    num_classes = len(published.state_dict["fc.bias"])
    return {"name": name, "gates": False, "placement": "final", "num_classes": num_classes}


def _describe(facts: dict[str, Any], classes: list[str] | None) -> dict[str, str]:
    """What travels in the file's metadata, as text."""
    mean = [round(value / 255, 6) for value in MEAN]
    about = {"mean": mean, "std": [round(1 / (255 * SCALE), 6)] * 3}
    return {key: json.dumps(value) for key, value in ({"network": facts, "classes": classes} | about).items()}


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m train.export", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a .pth of this project or another, or .safetensors")
    parser.add_argument("output", type=Path, help=f"the file to write: {', '.join(FORMS)}")
    parser.add_argument("--network", default="", help="for a checkpoint that does not name its network")
    parser.add_argument("--clip-length", type=positive_integer, default=16, help="frames, for .pt2 (%(default)s)")
    parser.add_argument(
        "--clip-size", type=positive_integer, default=224, help="height and width, for .pt2 (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
