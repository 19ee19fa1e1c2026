"""The command line: every documented flag exists, and a mistake gives one line."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from common.errors import DataError
from data.labels.dataset_spec import DatasetSpec
from train.options import DatasetChoice, TrainOptions, make_parser, parse_options, resolve_auto

DEFAULTS = TrainOptions(train_frame_interval=(1, 2), lr_steps=(40, 60), batch_size=48, long_cycles=True)
VARIANTS = ("200", "400", "600", "700")
FIRST = "--network srtg_r3d_34 --dataset DIR/HACS_videos/ --clip-size 224 --gpus 4 --lr-base 0.1 --batch-size 48"
KINETICS = DatasetChoice("--variant", {name: DatasetSpec(name, "t", "v") for name in VARIANTS}, "700", "which Kinetics")


def parse(*words, choice=None):
    return parse_options("about", DEFAULTS, choice, ["--dataset", "DIR", *words])


def mistake(capsys, *words, choice=None):
    with pytest.raises(SystemExit) as stop:
        parse_options("about", DEFAULTS, choice, list(words))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    assert "error: " in captured.err
    return captured.err


def test_only_the_dataset_is_required():
    options = parse()
    assert options.dataset == Path("DIR")
    assert options.network == "srtg_r3d_34"
    assert (options.train_frame_interval, options.lr_steps, options.batch_size) == ((1, 2), (40, 60), 48)
    assert options.variant == ""
    assert (options.device, options.precision, options.gpus) == ("auto", "auto", 0)


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        parse().batch_size = 3


def test_the_commands_of_the_original_parse_as_they_stand():
    """Users have these three lines in their scripts."""
    first = parse_options("about", DEFAULTS, None, FIRST.split())
    assert (first.network, first.dataset) == ("srtg_r3d_34", Path("DIR/HACS_videos"))
    assert (first.clip_size, first.gpus) == (224, 4)
    assert (first.lr_base, first.batch_size) == (0.1, 48)
    checkpoint = "results/HACS/srtg_r3d_50_gates_False/srtg_r3d_50_ep-0020.pth"
    second = parse("--network", "srtg_r3d_50", "--pretrained_3d", checkpoint, "--resume-epoch", "21")
    assert (second.pretrained_3d, second.resume_epoch, second.fine_tune) == (Path(checkpoint), "21", False)
    third = parse("--variant", "400", "--pretrained_3d", checkpoint, "--fine-tune", "True", choice=KINETICS)
    assert (third.variant, third.fine_tune) == ("400", True)


def test_every_flag_of_the_original_is_there():
    parser = make_parser("about", DEFAULTS, KINETICS)
    flags = set(parser._option_string_actions)
    wanted = """--debug-mode --dataset --clip-length --clip-size --train-frame-interval --val-frame-interval --task-name
        --model-dir --log-file --gpus --network --pretrained-3d --fine-tune --resume-epoch --batch-size --long-cycles
        --short-cycles --lr-base --lr-steps --lr-factor --save-frequency --end-epoch --random-seed --variant
        --pretrained_3d --train-frame-inteval --val-frame-inteval"""
    assert set(wanted.split()) <= flags


def test_the_original_s_spellings_mean_the_same():
    options = parse("--train-frame-inteval", "3", "4", "--val-frame-inteval", "5", "--pretrained_3d", "x.pth")
    assert (options.train_frame_interval, options.val_frame_interval) == ((3, 4), 5)
    assert options.pretrained_3d == Path("x.pth")


@pytest.mark.parametrize("words", [["40", "60", "75"], ["40,60,75"], ["40,", "60", ",75"]])
def test_lists_are_taken_in_both_forms(words):
    assert parse("--lr-steps", *words).lr_steps == (40, 60, 75)
    assert parse("--train-frame-interval", "1,2").train_frame_interval == (1, 2)


@pytest.mark.parametrize(
    ("words", "expected"), [([], True), (["True"], True), (["false"], False), (["0"], False), (["1"], True)]
)
def test_booleans_take_a_word_or_none(words, expected):
    """In the original `--fine-tune False` is true, like every non-empty text."""
    assert parse("--gates", *words).gates is expected
    assert parse("--long-cycles", *words).long_cycles is expected


def test_only_scripts_with_several_datasets_have_a_flag_for_them(capsys):
    assert parse(choice=KINETICS).variant == "700"
    assert parse("--variant", "200", choice=KINETICS).variant == "200"
    assert parse("--split", "2", choice=KINETICS._replace(flag="--split", specs={"1": 0, "2": 0})).variant == "2"
    assert "--variant" in mistake(capsys, "--dataset", "DIR", "--variant", "400")
    assert "500" in mistake(capsys, "--dataset", "DIR", "--variant", "500", choice=KINETICS)


def test_every_option_has_a_line_of_help(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_options("about", DEFAULTS, KINETICS, ["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for field in fields(TrainOptions):
        assert field.name == "given" or f"--{field.name.replace('_', '-')}" in text
    for action in make_parser("about", DEFAULTS, KINETICS)._actions:
        assert action.help, action.option_strings
    for name in ("r2plus1d_34", "srtg_", "(default: 1 2)"):
        assert name in " ".join(text.split())
    assert "None" not in text


def test_the_metavar_of_a_flag_is_short(capsys):
    """argparse repeats the name of the flag, which makes the help twice as wide."""
    with pytest.raises(SystemExit):
        parse_options("about", DEFAULTS, KINETICS, ["--help"])
    text = capsys.readouterr().out
    for line in ("--save-every-minutes X", "--batch-size N", "--dataset DIR", "--resume-epoch N|auto"):
        assert f"  {line}" in text


MISTAKES = {
    "no dataset": ([], "--dataset"),
    "unknown flag": (["--batchsize", "3"], r"'--batchsize'.*--batch-size\b"),
    "unknown flag with a value": (["--learning-rate=3"], "--learning-rate=3"),
    "abbreviation": (["--batch", "3"], r"'--batch'.*--batch-size\b"),
    "unknown network": (["--network", "srtg_r3d_35"], r"--network.*'srtg_r3d_35'.*srtg_r3d_(?!35)"),
    "unknown placement": (["--placement", "last"], "'last'"),
    "no number": (["--clip-size", "big"], "'big'"),
    "no list of numbers": (["--lr-steps", "40;60"], "'40;60'"),
    "an empty variable of the shell": (["--lr-steps", "--gates"], "--lr-steps"),
    "neither true nor false": (["--gates", "maybe"], "--gates.*'maybe'"),
    "no frames": (["--clip-length", "0"], "--clip-length 0: .*1 or more"),
    "negative": (["--keep", "-1"], "--keep -1: .*0 or more"),
    "no rate": (["--lr-base", "0"], r"--lr-base 0\.0: .*above 0"),
    "a rate whose multiples overflow": (["--lr-base", "1e308"], r"--lr-base 1e\+308"),
    "a log in a checkpoint": (["--log-file", "r3d_10_best.pth"], "--log-file 'r3d_10_best.pth'"),
    "rate not a number": (["--lr-base", "nan"], "--lr-base: 'nan'"),
    "clip-grad not a number": (["--clip-grad", "nan"], "--clip-grad: 'nan'"),
    "minutes not a number": (["--save-every-minutes", "nan"], "--save-every-minutes: 'nan'"),
    "three intervals": (["--train-frame-interval", "1", "2", "3"], "--train-frame-interval 1 2 3"),
    "interval 0": (["--train-frame-interval", "0", "2"], "--train-frame-interval 0 2"),
    "intervals the wrong way": (["--train-frame-interval", "3", "1"], "--train-frame-interval 3 1"),
    "no interval": (["--train-frame-interval", ","], "--train-frame-interval"),
    "resume at the first epoch": (["--resume-epoch", "1"], r"--resume-epoch 1\b.*\b2\b.*auto"),
    "resume at a word": (["--resume-epoch", "last"], "--resume-epoch last"),
    "two starts": (["--inflate", "a.pth", "--pretrained-3d", "b.pth"], "--inflate.*--pretrained-3d"),
    "inflate and resume": (["--inflate", "a.pth", "--resume-epoch", "3"], "--inflate.*--resume-epoch 3"),
    "inflate and evaluate": (["--inflate", "a.pth", "--evaluate"], "--inflate.*--pretrained-3d FILE"),
    "fine-tune nothing": (["--fine-tune"], "--fine-tune.*--pretrained-3d FILE"),
    "fine-tune and resume": (
        ["--fine-tune", "--resume-epoch", "3", "--pretrained-3d", "x.pth"],
        "--fine-tune.*--resume-epoch 3",
    ),
    "evaluate nothing": (["--evaluate"], "--evaluate.*--pretrained-3d FILE.*--resume-epoch auto"),
    "evaluate two files": (["--evaluate", "--pretrained-3d", "x.pth", "--resume-epoch", "auto"], "name two files"),
    "probe without evaluation": (["--time-probe"], "--time-probe.*--evaluate"),
    "infinite rate": (["--loaded-lr-factor", "inf"], "--loaded-lr-factor: 'inf'"),
    "endless epochs": (["--end-epoch", "9" * 20], "--end-epoch: '9{20}'"),
    "more than can be stored": (["--val-batch-size", str(2**31)], f"--val-batch-size {2**31}: .*{2**31 - 1}"),
    "huge interval": (["--train-frame-interval", "9" * 23], "--train-frame-interval: '9{23}'"),
    "digits without end": (["--lr-steps", "9" * 5000], "--lr-steps: '9{20,90}[^9]"),
    "superscript epoch": (["--resume-epoch", "²"], "--resume-epoch ²"),
    "huge epoch": (["--resume-epoch", "9" * 26], "--resume-epoch 9"),
    "fewer workers than none": (["--workers", "-5"], "--workers -5"),
    "an empty name": (["--task-name", ""], "--task-name: .*empty"),
    "an empty path": (["--labels", ""], "--labels: .*empty"),
    "a name of spaces": (["--task-name", "  "], "--task-name '  '"),
    "a name of two folders": (["--task-name", "a/b"], "--task-name 'a/b'"),
    "a name above": (["--task-name", ".."], "--task-name '..'"),
    "a name that ends early": (["--task-name", "a\0b"], r"--task-name 'a\\x00b'"),
    "a long name": (["--task-name", "n" * 300], "--task-name 'n{20,90}[^n]"),
    "huge seed": (["--random-seed", str(2**64)], f"--random-seed: '{2**64}'"),
    "first seed that is too large": (["--random-seed", str(2**63)], f"--random-seed: '{2**63}'"),
    "negative seed": (["--random-seed", "-3"], "--random-seed -3"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_it(capsys, name):
    words, expected = MISTAKES[name]
    dataset = [] if name == "no dataset" else ["--dataset", "DIR"]
    message = mistake(capsys, *dataset, *words)
    assert re.search(expected, message)
    assert len(message) < 500


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_cpu_trains_in_single_precision_alone(monkeypatch, device):
    """In bf16, torch wrote beyond the memory of the first convolution's gradient; fp16 was taken with --device auto."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    options = parse("--device", device)
    assert resolve_auto(options).precision == "fp32"
    for precision in ("fp16", "bf16"):
        with pytest.raises(DataError, match=f"--precision {precision} needs a GPU: .*fp32"):
            resolve_auto(replace(options, precision=precision))
    evaluation = replace(options, precision="bf16", evaluate=True)
    assert resolve_auto(evaluation).precision == "bf16"
    with pytest.raises(DataError, match="use fp32 or bf16"):
        resolve_auto(replace(evaluation, precision="fp16"))
