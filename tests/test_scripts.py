"""The training scripts: short, alike, and with the original's flags and defaults."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT
from tests.small_dataset import write_small_dataset
from train.options import DatasetChoice, TrainOptions, make_parser, parse_options

LONG, SMALL = (True, True), (False, False)
DEFAULTS = {  # length, size, train intervals, val interval, batch, long and short cycles, lr, lr steps, epochs
    "hacs": (16, 284, (1, 2), 2, 48, LONG, 0.1, (40, 60, 75, 90), 120),
    "kinetics": (16, 284, (4, 6), 5, 32, LONG, 0.05, (40, 70, 95), 130),
    "mit": (16, 284, (3, 4), 3, 48, LONG, 0.1, (25, 50, 70), 110),
    "ucf101": (16, 256, (2,), 2, 32, SMALL, 0.1, (15, 30, 40), 100),
    "hmdb51": (16, 256, (2,), 2, 32, SMALL, 0.1, (15, 30, 40), 100),
    "diving48": (16, 256, (2,), 2, 32, SMALL, 0.1, (15, 30, 40), 100),
}
LABELS = {
    "hacs": "HACS_clips_v1.1_{}.csv",
    "mit": "Moments_in_Time_{}.csv",
    "diving48": "diving48_{}.csv",
}
CHOICES = {
    "kinetics": ("--variant", "kinetics-{}_{{}}.csv", ("200", "400", "600", "700"), "700"),
    "ucf101": ("--split", "ucf101_split{}_{{}}.csv", ("1", "2", "3"), "1"),
    "hmdb51": ("--split", "hmdb_split{}_{{}}.csv", ("1", "2", "3"), "1"),
}
CLASSES = {"hacs": 200, "mit": 339, "ucf101": 101, "hmdb51": 51, "diving48": 48}
COMMANDS = {
    "hacs": [
        "--network srtg_r3d_34 --dataset DIR/HACS_videos/ --clip-size 224 --gpus 4 --lr-base 0.1 --batch-size 48",
        "--network srtg_r3d_50 --dataset DIR/HACS_videos/ --clip-size 224 --gpus 4 --pretrained_3d "
        "results/HACS/srtg_r3d_50_gates_False/srtg_r3d_50_ep-0020.pth --resume-epoch 21 --lr-base 0.1 --batch-size 32",
    ],
    "kinetics": [
        "--network srtg_r3d_34 --dataset DIR/Kinetics_videos/ --variant 700 --clip-size 224 --gpus 4 --pretrained_3d "
        "results/HACS/srtg_r3d_34_gates_False/srtg_r3d_34_ep-0080.pth --fine-tune True --lr-base 0.1 --batch-size 48"
    ],
}


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / f"train_{name}.py"), run_name="script")


def choice_of(name: str) -> DatasetChoice | None:
    return script(name).get("DATASETS")


def options_of(name: str, *words: str) -> TrainOptions:
    return parse_options("about", script(name)["DEFAULTS"], choice_of(name), ["--dataset", "DIR", *words])


def test_there_are_six_scripts_and_one_for_any_dataset():
    assert {path.stem for path in ROOT.glob("train_*.py")} == {f"train_{name}" for name in (*DEFAULTS, "custom")}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults_are_those_of_the_original(name):
    """A run without flags must be the published training."""
    options = options_of(name)
    length, size, train_intervals, val_interval, batch, cycles, lr, lr_steps, epochs = DEFAULTS[name]
    assert (options.clip_length, options.clip_size) == (length, size)
    assert (options.train_frame_interval, options.val_frame_interval) == (train_intervals, val_interval)
    assert (options.batch_size, (options.long_cycles, options.short_cycles)) == (batch, cycles)
    assert (options.lr_base, options.lr_steps, options.end_epoch) == (lr, lr_steps, epochs)
    assert (options.lr_factor, options.network, options.gates, options.placement) == (
        0.1, "srtg_r3d_34", False, "final",
    )  # fmt: skip


def test_all_datasets_are_augmented_by_default():
    assert {options_of(name).augment for name in DEFAULTS} == {"full"}
    assert options_of("custom").augment == "flip"
    assert {options_of("hacs", "--augment", kind).augment for kind in ("none", "flip", "full")} == {
        "none", "flip", "full"
    }  # fmt: skip


@pytest.mark.parametrize("name", [*DEFAULTS, "custom"])
def test_a_script_is_short_and_begins_with_its_command(name):
    text = (ROOT / f"train_{name}.py").read_text()
    lines = text.count("\n")
    assert lines <= 40
    assert lines >= 25 or name == "custom"
    assert f"python train_{name}.py --" in script(name)["__doc__"]
    assert "op-1" in text or name == "custom"


@pytest.mark.parametrize("name", LABELS)
def test_label_files_have_the_original_s_names(name):
    spec = script(name)["SPEC"]
    assert (spec.train_labels, spec.val_labels) == (LABELS[name].format("train"), LABELS[name].format("val"))
    assert spec.num_classes == CLASSES[name]


@pytest.mark.parametrize("name", CHOICES)
def test_scripts_of_several_datasets_have_a_flag_for_them(name):
    flag, labels, values, default = CHOICES[name]
    choice = choice_of(name)
    assert choice is not None
    assert (choice.flag, tuple(choice.specs), choice.default) == (flag, values, default)
    for value, spec in choice.specs.items():
        names = labels.format(value)
        assert (spec.train_labels, spec.val_labels) == (names.format("train"), names.format("val"))
        assert spec.num_classes == CLASSES.get(name, int(value) if name == "kinetics" else None)
    assert len({spec.name for spec in choice.specs.values()}) == len(values)  # else their results share a folder
    assert options_of(name).variant == default
    assert options_of(name, flag, values[1]).variant == values[1]


@pytest.mark.parametrize(("name", "words"), [(name, words) for name in COMMANDS for words in COMMANDS[name]])
def test_the_original_s_commands_parse_as_they_stand(name, words):
    options = parse_options("about", script(name)["DEFAULTS"], choice_of(name), words.split())
    assert (options.clip_size, options.gpus, options.lr_base) == (224, 4, 0.1)


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_flag_of_the_original_is_known_to_every_script(name):
    known = set(make_parser("about", script(name)["DEFAULTS"], choice_of(name))._option_string_actions)
    wanted = """--debug-mode --dataset --clip-length --clip-size --train-frame-interval --val-frame-interval --task-name
        --model-dir --log-file --gpus --network --pretrained-3d --fine-tune --resume-epoch --batch-size --long-cycles
        --short-cycles --lr-base --lr-steps --lr-factor --save-frequency --end-epoch --random-seed --pretrained_3d
        --train-frame-inteval --val-frame-inteval"""
    assert set(wanted.split()) <= known


def test_the_original_s_commands_run_where_there_are_no_gpus_to_a_clear_line(server, tmp_path):
    """On a machine without GPUs the command, with its dataset and labels, must end in one line, not in a traceback."""
    write_small_dataset(
        tmp_path / "DIR" / "HACS_videos", train=2, val=2, frames=2,
        files=("HACS_clips_v1.1_train.csv", "HACS_clips_v1.1_val.csv"),
    )  # fmt: skip
    process = server.start(ROOT / "train_hacs.py", *COMMANDS["hacs"][0].split(), folder=tmp_path)
    assert process.wait() == 2
    assert "--gpus 4" in process.stderr and "--device cpu" in process.stderr
    assert process.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [*DEFAULTS, "custom"])
def test_help_fits_a_terminal_and_names_the_defaults(name):
    done = subprocess.run(
        [sys.executable, str(ROOT / f"train_{name}.py"), "--help"], capture_output=True, text=True, check=True,
        env={"COLUMNS": "100", "PATH": ""}, timeout=120,
    )  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert f"(default: {script(name)['DEFAULTS'].clip_size})" in done.stdout
    assert Path(f"train_{name}.py").name in done.stdout
