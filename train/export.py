"""Write a checkpoint for other programs: `python -m train.export CHECKPOINT OUTPUT.onnx|.pt2|.safetensors`.

The ending of OUTPUT decides the format. ONNX takes clips of any length and size, a torch.export program (.pt2) those of
`--clip-length` and `--clip-size`; safetensors has only the weights and loads with `--pretrained-3d`. All have what the
checkpoint says of its network, classes, clips and videos. For a checkpoint of another project, name the network with
`--network`.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import atomic_file, check_output, write_errors
from common.normalisation import AUTO, NORMALISATIONS, normalisation_of
from common.text import printable
from evaluate.preprocessing import Preprocessing
from network.weights.averages import WEIGHTS
from network.weights.exporting import OPSET, export_onnx, export_program, export_safetensors
from network.weights.facts import facts_of, in_file
from network.weights.loading import LoadedNetwork, load_network
from train.file_settings import check_clip

FORMATS = (".onnx", ".pt2", ".safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Export as the arguments say and print what the file takes; UserError for mistakes of the user."""
    args = _parser().parse_args(arguments)
    check_output(args.output, FORMATS, read=args.checkpoint)
    suffix = args.output.suffix.lower()
    flags = [flag for flag, value in (("--clip-length", args.clip_length), ("--clip-size", args.clip_size)) if value]
    if flags and suffix != ".pt2":
        what = "takes clips of any length and size" if suffix == ".onnx" else "has weights alone"
        raise DataError(f"{' and '.join(flags)}: only for .pt2, {args.output} {what}; leave it out")
    if not args.output.parent.is_dir():
        raise DataError(f"the folder {args.output.parent} does not exist: create it, or write elsewhere")
    loaded = load_network(args.checkpoint, args.network, normalisation_of(args.normalisation), args.weights)
    preprocessing = _preprocessing(args, loaded)
    with write_errors(args.output), atomic_file(args.output) as temporary:
        takes = _write(loaded, temporary, suffix, preprocessing)
    print(printable(f"{args.checkpoint}: {loaded.origin}"))
    print(printable(f"{args.output}: {loaded.facts['name']}, {loaded.facts['num_classes']} classes; {takes}"))
    if loaded.training["preprocessing"]:
        print(f"trained for clips of {preprocessing.show()}, cut from frames of {preprocessing.short_side:g} pixels")
    unit = loaded.network.normalisation.of_unit_range()
    print(f"normalisation: RGB of 0 to 1, minus {unit['mean']}, divided by {unit['std']}")
    return 0


def _write(loaded: LoadedNetwork, path: Path, suffix: str, preprocessing: Preprocessing) -> str:
    """Write `path` in the format of `suffix`; returns what the file takes, for the user."""
    training = {name: values for name, values in loaded.training.items() if values}
    network = facts_of(loaded.network)
    about = {"network": network, "classes": loaded.classes} | training | loaded.network.normalisation.of_unit_range()
    metadata = {key: json.dumps(value) for key, value in about.items()}
    if suffix == ".onnx":
        export_onnx(loaded.network, path, metadata)
        return f"clips float32 (batch, 3, frames, height, width) of any sizes, opset {OPSET}"
    if suffix == ".pt2":
        length, height, width = preprocessing.shape
        export_program(loaded.network, path, (length, height, width), metadata)
        return f"clips float32 (batch, 3, {', '.join(map(str, preprocessing.shape))}) of any batch"
    export_safetensors(loaded.network, path, network, loaded.classes, training)
    return "weights for --pretrained-3d"


def _preprocessing(args: argparse.Namespace, loaded: LoadedNetwork) -> Preprocessing:
    """What the file takes, which is also put into `loaded.training` if the checkpoint says it.

    A .pt2 takes one length and size: the flags', else those that the network was trained for, else 16 and 224.
    """
    normalisation = loaded.network.normalisation
    known = Preprocessing.from_facts(loaded.training, normalisation)
    options = loaded.training["options"]
    length, size = options.get("clip_length", 16), options.get("clip_size", 224)
    found = known or Preprocessing(length, size, 1, normalisation=normalisation)
    found = replace(
        found, clip_length=args.clip_length or found.clip_length, clip_size=args.clip_size or found.clip_size
    )
    if options and not (args.clip_length and args.clip_size):
        with in_file(args.checkpoint):
            check_clip(found.clip_length, found.clip_size)
    if known:
        loaded.training["preprocessing"] = found.plain()
    return found


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="python -m train.export", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="a .pth of this project or another, or .safetensors")
    parser.add_argument("output", type=Path, help=f"the file to write: {', '.join(FORMATS)}")
    parser.add_argument("--network", default="", help="the network, for a checkpoint that does not name it")
    parser.add_argument(
        "--normalisation",
        default=AUTO,
        choices=(AUTO, *NORMALISATIONS),
        help="what a checkpoint of another project expects of the frames, if it cannot tell (default: auto)",
    )
    parser.add_argument(
        "--weights",
        default="auto",
        choices=WEIGHTS,
        help="which weights of a checkpoint of this project: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in WEIGHTS.items()),
    )
    parser.add_argument(
        "--clip-length", type=positive_integer, help="frames, for .pt2 (default: the checkpoint's, else 16)"
    )
    parser.add_argument(
        "--clip-size",
        type=positive_integer,
        help="height and width in pixels, for .pt2 (default: the checkpoint's, else 224)",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
