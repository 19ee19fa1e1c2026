"""The command; the package's docstring explains it."""

import signal
import sys
from pathlib import Path

import benchmarks.gpu as package
from benchmarks.gpu.results import COLUMNS, Results, cells, ordered
from benchmarks.gpu.runner import Section, Settings, is_good, missing, run_sections
from common.cli import CommandParser, run_command
from common.errors import DataError
from common.files import write_errors

NETWORKS = ("numpy", "rich", "safetensors", "filelock")
TRAINING = (*NETWORKS, "cv2", "simplejpeg", "tensorboard")
SECTIONS = (
    Section("a", "tests", "benchmarks.gpu.card_tests:run", 0.26, (*TRAINING, "av", "pytest"), 210),
    Section("b", "limits of the card", "benchmarks.gpu.limits:run", 0.04, NETWORKS),
    Section("h", "fused operations", "benchmarks.gpu.kernels:run", 0.06, NETWORKS),
    Section("c", "a training step", "benchmarks.gpu.steps:run_forms", 0.23, NETWORKS),
    Section("d", "other networks", "benchmarks.gpu.steps:run_networks", 0.12, NETWORKS),
    Section("e", "shapes of multigrid", "benchmarks.gpu.multigrid:run", 0.13, TRAINING),
    Section("i", "parts of the recipe", "benchmarks.gpu.recipe:run", 0.08, TRAINING),
    Section("f", "reading", "benchmarks.gpu.reading:run", 0.12, TRAINING),
    Section("g", "learning", "benchmarks.gpu.learning:run", 0.09, TRAINING),
)
OPTIONAL = ("torchvision", "av", "matplotlib", "onnx", "onnxruntime", "onnxscript", "pytest_timeout", "hypothesis")


def main() -> int:
    """Run the sections and show what they measured."""
    parser = CommandParser(prog="python -m benchmarks.gpu", description=package.__doc__)
    parser.add_argument("--minutes", type=float, default=8.0, help="of all sections together")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    parser.add_argument("--sections", default=",".join(section.letter for section in SECTIONS), help="such as a,c")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small networks and shapes, as always on the CPU")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="for section g: videos, train.txt and test.txt")
    parser.add_argument("--dataset", type=Path, metavar="DIR", help="for section g: a folder that was converted before")
    arguments = parser.parse_args()
    chosen = _chosen(arguments.sections)
    if arguments.minutes <= 0:
        raise DataError(f"--minutes {arguments.minutes:g}: must be above 0")
    for flag, folder in (("--videos", arguments.videos), ("--dataset", arguments.dataset)):
        if folder and not folder.is_dir():
            raise DataError(f"{flag} {folder}: there is no such folder")
    with write_errors(arguments.output):
        arguments.output.mkdir(parents=True, exist_ok=True)
    _say_what_is_missing(chosen)
    settings = Settings(
        arguments.device, arguments.tiny or arguments.device == "cpu", 60 * arguments.minutes,
        arguments.videos and arguments.videos.resolve(), arguments.dataset and arguments.dataset.resolve(),
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the section's process ends too
    results = Results(arguments.output.resolve())
    outcomes = run_sections(chosen, settings, results)
    _show(results)
    facts = results.read()["sections"]
    for section in chosen:
        print(f"{section.letter}: {section.title}: {outcomes[section.letter]}")
        for problem in facts[section.letter].get("problems", []):
            print(f"    {problem}")
    return 0 if all(map(is_good, outcomes.values())) else 1


def _chosen(text: str) -> list[Section]:
    letters = [letter.strip() for letter in text.split(",") if letter.strip()]
    known = {section.letter: section for section in SECTIONS}
    if not letters or set(letters) - set(known):
        raise DataError(f"--sections {text}: give letters of {', '.join(known)}, such as a,c")
    return [section for letter, section in known.items() if letter in letters]


def _say_what_is_missing(sections: list[Section]) -> None:
    absent = missing(("torch", *dict.fromkeys(name for section in sections for name in section.needs)))
    for name in absent:
        letters = [section.letter for section in sections if name in ("torch", *section.needs)]
        print(f"missing: {name}, without which these sections are left out: {', '.join(letters)}", flush=True)
    for name in missing(OPTIONAL):
        if name not in absent:
            print(f"missing: {name}, without which a part of a section is left out", flush=True)


def _show(results: Results) -> None:
    """Print the measurements in columns; device, version and date stand above those that share them."""
    headings, before = COLUMNS[:5], None
    rows = [cells(row) for row in ordered(results.read())]
    widths = [max(len(row[number]) for row in [headings, *rows]) for number in range(len(headings) - 1)]
    for row in rows:
        about = (*row[5:7], row[7].split(" ")[0])
        if about != before:
            print(f"\n{', '.join(about)}")
            before = about
        print("  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=False)] + [row[4]]))
    print(f"\nin {results.folder}: {', '.join(sorted(path.name for path in results.folder.iterdir()))}")


if __name__ == "__main__":
    run_command(main)
