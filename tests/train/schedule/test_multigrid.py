import re
import subprocess
import sys
from fractions import Fraction
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from data.clips.types import ClipShape
from tests.plans import make_plan
from train.schedule.__main__ import main
from train.schedule.table import epoch_line, plan_summary, plan_table

PAPER = {
    "clip_length": 16,
    "clip_size": 224,
    "batch_size": 32,
    "lr_base": 0.1,
    "lr_steps": (94, 154, 196),
    "end_epoch": 239,
    "num_videos": 240_000,
}
BOTH = {"long_cycles": True, "short_cycles": True}
SHAPES = [(4, 158, 8), (8, 158, 4), (8, 224, 2), (16, 224, 1)]
quick = settings(max_examples=150, deadline=None)


@st.composite
def plan_arguments(draw, **fixed):
    """Arguments of a plan that the videos fill."""
    world_size = draw(st.integers(1, 4))
    batch_size = world_size * draw(st.integers(1, 8))
    arguments = {
        "clip_length": draw(st.integers(1, 40)),
        "clip_size": draw(st.integers(16, 320)),
        "batch_size": batch_size,
        "lr_base": draw(st.floats(0.001, 1)),
        "lr_steps": sorted(draw(st.sets(st.integers(1, 90), max_size=5))),
        "end_epoch": draw(st.integers(1, 100)),
        "num_videos": draw(st.integers(4 * batch_size, 200 * batch_size)),
        "long_cycles": draw(st.booleans()),
        "short_cycles": draw(st.booleans()),
        "world_size": world_size,
    }
    arguments["per_epoch"] = arguments["long_cycles"] and draw(st.booleans())
    return arguments | fixed


def specs(plan, epoch):
    return [plan.step_spec(epoch, step) for step in range(plan.steps_in_epoch(epoch))]


def test_golden_plan_of_the_paper():
    """Steps 0/94/154/196 of 239 epochs: the published schedule, epoch by epoch."""
    plan = make_plan(**PAPER, **BOTH)
    ends = [73, 110, 142, 158, 205, 228, 248, 259, 291, 308, 322, 329, 343, 358]
    assert [phase.last_epoch for phase in plan.phases] == ends
    assert [phase.first_epoch for phase in plan.phases] == [1, *(end + 1 for end in ends[:-1])]
    assert [(p.frames, p.size, p.batch_factor) for p in plan.phases] == [*SHAPES * 3, SHAPES[3], SHAPES[3]]
    assert [phase.batch_size for phase in plan.phases[:4]] == [256, 128, 64, 32]
    assert [phase.max_interval_factor for phase in plan.phases[:4]] == [4, 2, 2, 1]
    rates = [0.8, 0.4, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01, 0.008, 0.004, 0.002, 0.001, 0.001, 0.0001]
    assert [phase.lr for phase in plan.phases] == pytest.approx(rates)
    assert epoch_line(plan) == "73, 110, 142, 158 | 205, 228, 248, 259 | 291, 308, 322, 329 | 358"
    assert plan.notes == ()


def test_short_cycle_of_each_long_shape():
    """Crops relative to the base crop, batches relative to the long cycle's own crop."""
    plan = make_plan(**PAPER, **BOTH)
    cycles = [[(step.shape.height, step.batch_size) for step in phase.short_cycle] for phase in plan.phases[:4]]
    assert cycles == [
        [(112, 512), (158, 256), (158, 256)],
        [(112, 256), (158, 128), (158, 128)],
        [(112, 256), (158, 128), (224, 64)],
        [(112, 128), (158, 64), (224, 32)],
    ]
    assert [plan.step_spec(300, step).shape for step in (0, 1, 2, 3)] == [
        ClipShape(8, 112, 112), ClipShape(8, 158, 158), ClipShape(8, 158, 158), ClipShape(8, 112, 112)
    ]  # fmt: skip
    assert {plan.step_spec(300, step).batch_factor for step in range(3)} == {4}, "the short cycle leaves it alone"


@quick
@given(plan_arguments())
def test_step_specs_are_those_of_the_steps(arguments):
    """Checks of a run use this list: a missing shape would fail in mid-run, another would refuse a run that works."""
    plan = make_plan(**arguments)
    first = {phase.first_epoch for phase in plan.phases}
    assert set(plan.step_specs) == {spec for epoch in first for spec in specs(plan, epoch)}
    assert plan.base_batch_size == arguments["batch_size"]


def test_each_cycle_alone():
    long = make_plan(**PAPER, long_cycles=True)
    assert [(p.frames, p.size, p.batch_factor) for p in long.phases] == [*SHAPES * 3, SHAPES[3], SHAPES[3]]
    assert all(len(phase.short_cycle) == 1 for phase in long.phases)
    assert long.num_epochs == 358
    short = make_plan(**PAPER, short_cycles=True)
    assert [phase.last_epoch for phase in short.phases] == [141, 231, 294, 358]
    assert {(p.frames, p.size, p.batch_factor, len(p.short_cycle)) for p in short.phases} == {(16, 224, 1, 3)}
    assert [phase.lr for phase in short.phases] == pytest.approx([0.1, 0.01, 0.001, 0.0001])


def test_without_cycles_the_rate_falls_after_the_given_epochs():
    """--lr-steps 40 60 75 --end-epoch 120 means what it means without multigrid."""
    plan = make_plan(**PAPER | {"lr_steps": (40, 60, 75), "end_epoch": 120})
    assert [phase.last_epoch for phase in plan.phases] == [40, 60, 75, 120]
    assert [plan.lr(epoch, 0) for epoch in (1, 40, 41, 60, 61, 75, 76, 120)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001]
    )
    assert {plan.step_spec(epoch, 7) for epoch in (1, 50, 120)} == {(ClipShape(16, 224, 224), 32, 1, 1)}


def test_per_epoch_variant_has_all_shapes_in_each_epoch():
    """The original authors' schedule: a quarter of the steps each, nominal epochs, their rates."""
    plan = make_plan(**PAPER, long_cycles=True, per_epoch=True)
    assert plan.num_epochs == 239
    for epoch in (1, 95, 239):
        runs = [(shape, len(list(group))) for shape, group in groupby(specs(plan, epoch))]
        assert [(s.shape.frames, s.shape.height, s.batch_factor) for s, _ in runs] == SHAPES
        assert {length for _, length in runs} == {plan.steps_in_epoch(epoch) // 4} == {500}
    rates = [plan.lr(1, quarter * 500 + step) for quarter in range(4) for step in (0, 499)]
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025, 0.0125, 0.0125])
    assert plan.lr(95, 0) == pytest.approx(0.01)


def test_per_epoch_variant_has_the_short_cycle_of_its_authors():
    """Crops are parts of the long shape's, which comes first, in batches up to 32 B: their published 1536x4x80x80."""
    plan = make_plan(**PAPER | {"batch_size": 48}, **BOTH, per_epoch=True)
    small, full = ((158, 1), (112, 2), (80, 4)), ((224, 1), (158, 2), (112, 4))
    for part, ((frames, _, factor), crops) in enumerate(zip(SHAPES, (small, small, full, full), strict=True)):
        (phase,) = (phase for phase in plan.phases if phase.first_epoch == 1 and phase.part == part)
        assert [(step.shape, step.batch_size, step.batch_factor) for step in phase.short_cycle] == [
            (ClipShape(frames, crop, crop), 48 * factor * batches, factor) for crop, batches in crops
        ]
        assert (phase.size, phase.batch_size) == (crops[0][0], 48 * factor)
    assert plan.step_spec(1, 2) == (ClipShape(4, 80, 80), 1536, 8, 4)
    assert plan.phases[0].lr == pytest.approx(0.1), "the short cycle leaves it alone"
    tiny = make_plan(**PAPER | {"clip_size": 3, "clip_length": 1}, **BOTH, per_epoch=True)
    assert all(1 <= step.shape.height <= 3 for step in tiny.step_specs)


@quick
@given(plan_arguments(long_cycles=True, per_epoch=False, num_videos=10**6))
def test_epochs_are_one_and_a_half_times_the_nominal_and_shared_as_the_paper_does(arguments):
    plan = make_plan(**arguments)
    assert plan.num_epochs == round(arguments["end_epoch"] * Fraction(3, 2))
    epochs = [epoch for phase in plan.phases for epoch in range(phase.first_epoch, phase.last_epoch + 1)]
    assert epochs == list(range(1, plan.num_epochs + 1))
    full = make_plan(**arguments | {"lr_steps": (), "end_epoch": 10_000}).phases
    means = [Fraction(sum(phase.batch_sizes), len(phase.batch_sizes)) for phase in full]
    for _, group in groupby((p for p in plan.phases if p.name != "final"), key=lambda p: p.lr_steps_passed):
        phases = list(group)
        length = sum(phase.num_epochs for phase in phases)
        for phase in phases:
            position = int(phase.name.split(".")[1]) - 1
            # The same number of steps each means epochs in proportion to the clips of a mean step.
            assert abs(phase.num_epochs - length * means[position] / sum(means)) <= 2


@quick
@given(st.lists(st.integers(20, 60), min_size=1, max_size=4), st.integers(20, 60), st.booleans())
def test_all_shapes_of_an_lr_step_have_equally_many_steps(lengths, rest, short_cycles):
    """This defines the long cycle, up to rounding to whole epochs and whole batches."""
    lr_steps = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    arguments = PAPER | {"lr_steps": lr_steps, "end_epoch": lr_steps[-1] + rest}
    plan = make_plan(**arguments, long_cycles=True, short_cycles=short_cycles)
    assert {len(list(group)) for _, group in groupby(plan.phases[:-2], key=lambda p: p.lr_steps_passed)} == {4}
    for first in range(0, len(plan.phases) - 2, 4):
        steps = [phase.num_epochs * plan.steps_per_epoch(phase) for phase in plan.phases[first : first + 4]]
        largest_epoch = plan.steps_per_epoch(plan.phases[first + 3])
        assert max(steps) - min(steps) <= 2 * largest_epoch
    # Fine-tuning saves the same share of steps as what comes before it.
    exact = sum(phase.num_epochs / (sum(p := phase.batch_sizes) / len(p)) for phase in plan.phases[:-2])
    before = exact / lr_steps[-1]
    tuning = sum(phase.num_epochs / (sum(p := phase.batch_sizes) / len(p)) for phase in plan.phases[-2:]) / rest
    assert tuning == pytest.approx(before, rel=0.25)


@quick
@given(plan_arguments())
def test_steps_to_the_unit(arguments):
    """An epoch has exactly the batches that its videos fill, counted one by one; no rank waits for another."""
    plan = make_plan(**arguments)
    num_videos = arguments["num_videos"]
    for epoch in {phase.first_epoch for phase in plan.phases}:
        phases = [phase for phase in plan.phases if phase.first_epoch <= epoch <= phase.last_epoch]

        def batches(per_part, phases=phases):
            return [
                phase.batch_sizes[(part * per_part + i) % len(phase.batch_sizes)]
                for part, phase in enumerate(phases)
                for i in range(per_part)
            ]

        per_part = 0
        while sum(batches(per_part + 1)) <= num_videos:
            per_part += 1
        assert plan.steps_in_epoch(epoch) == per_part * len(phases) > 0
        chosen = [spec.batch_size for spec in specs(plan, epoch)]
        assert chosen == batches(per_part)
        for step in {0, 1, per_part, len(chosen) // 2, len(chosen)}:
            assert plan.clips_before(epoch, step) == sum(chosen[:step])
        assert all(size % arguments["world_size"] == 0 for size in chosen)
        sub_batches = [spec.batch_size / spec.batch_factor for spec in specs(plan, epoch)]
        assert all(size % arguments["batch_size"] == 0 for size in sub_batches)
    assert plan.total_steps == sum(plan.steps_in_epoch(epoch) for epoch in range(1, plan.num_epochs + 1))


@quick
@given(plan_arguments(per_epoch=False), st.floats(0, 1))
def test_rate_is_linear_in_the_long_factor_and_continuous_through_the_warm_up(arguments, share):
    plan = make_plan(**arguments)
    warmup = share * (plan.num_epochs - 1)
    plan = make_plan(**arguments, warmup_epochs=warmup, warmup_lr=arguments["lr_base"] / 50)
    for phase in plan.phases:
        assert phase.lr == pytest.approx(arguments["lr_base"] * 0.1**phase.lr_steps_passed * phase.batch_factor)
    target = plan.phase(int(warmup) + 1).lr
    positions = [
        (epoch, step, epoch - 1 + step / plan.steps_in_epoch(epoch))
        for epoch in range(1, plan.num_epochs + 1)
        for step in {0, plan.steps_in_epoch(epoch) // 2, plan.steps_in_epoch(epoch) - 1}
    ]
    start = arguments["lr_base"] / 50
    for epoch, step, progress in positions:
        if progress < warmup:
            assert plan.lr(epoch, step) == pytest.approx(start + (target - start) * progress / warmup)
        else:
            assert plan.lr(epoch, step) == plan.phase(epoch).lr
    if warmup:
        assert plan.lr(1, 0) == pytest.approx(start)


def test_default_warm_up_is_the_published_one():
    plan = make_plan(**PAPER, **BOTH)
    assert plan.warmup_epochs == 34
    assert plan.lr(1, 0) == pytest.approx(0.01)
    assert plan.lr(18, 0) == pytest.approx((0.01 + 0.8) / 2)
    assert plan.lr(35, 0) == pytest.approx(0.8)
    assert make_plan(**PAPER, short_cycles=True).lr(1, 0) == make_plan(**PAPER).lr(1, 0) == 0.1


def test_per_epoch_warm_up_keeps_the_ratios_of_the_quarters():
    plan = make_plan(**PAPER, long_cycles=True, per_epoch=True, warmup_epochs=2, warmup_lr=0.01)
    assert plan.lr(1, 0) == pytest.approx(0.01)
    assert plan.lr(2, 0) == pytest.approx(0.055)
    assert plan.lr(2, 1000) == pytest.approx((0.01 + 0.09 * 0.75) / 4)
    assert plan.lr(3, 1000) == pytest.approx(0.025)


@pytest.mark.parametrize(
    ("clip_size", "crops"),
    [(284, (142, 201, 284)), (256, (128, 181, 256)), (225, (112, 159, 225)), (17, (8, 12, 17))],
)
def test_odd_crops_keep_the_factors(clip_size, crops):
    plan = make_plan(**PAPER | {"clip_size": clip_size}, **BOTH)
    assert [(p.frames, p.size, p.batch_factor) for p in plan.phases[:4]] == [
        (4, crops[1], 8), (8, crops[1], 4), (8, crops[2], 2), (16, crops[2], 1)
    ]  # fmt: skip
    assert [step.shape.height for step in plan.phases[3].short_cycle] == list(crops)
    assert [phase.batch_sizes for phase in plan.phases[:4]] == [
        (512, 256, 256), (256, 128, 128), (256, 128, 64), (128, 64, 32)
    ]  # fmt: skip


def test_clips_too_short_to_quarter_keep_a_frame():
    plan = make_plan(**PAPER | {"clip_length": 2}, **BOTH)
    assert [(p.frames, p.batch_factor, p.max_interval_factor) for p in plan.phases[:4]] == [
        (1, 4, 2), (1, 4, 2), (1, 2, 2), (2, 1, 1)
    ]  # fmt: skip


def test_a_small_dataset_gets_the_largest_batches_it_fills_and_a_note():
    plan = make_plan(**PAPER | {"num_videos": 400}, **BOTH)
    assert plan.phases[0].batch_sizes == (256, 256, 256)
    assert plan.phases[1].batch_sizes == (256, 128, 128)
    assert any(re.search(r"4 x 112\b.*\b256\b.*\b512\b.*\b400\b", note) for note in plan.notes)
    tiny = make_plan(**PAPER | {"num_videos": 100}, **BOTH)
    assert [(p.batch_factor, p.lr) for p in tiny.phases[:4]] == [
        (3, pytest.approx(0.3)), (3, pytest.approx(0.3)), (2, pytest.approx(0.2)), (1, pytest.approx(0.1))
    ]  # fmt: skip
    assert all(size <= 100 for phase in tiny.phases for size in phase.batch_sizes)


def test_lr_steps_too_close_for_a_shape_give_a_note():
    plan = make_plan(**PAPER | {"lr_steps": (4, 5), "end_epoch": 9}, **BOTH)
    assert plan.num_epochs == 14
    names = [phase.name for phase in plan.phases]
    missing = [note for note in plan.notes if note.startswith("phase ")]
    assert missing
    for name in (f"{step}.{shape}" for step in (1, 2) for shape in (1, 2, 3, 4)):
        assert (name in names) != any(f"phase {name} " in note for note in missing)
    assert names[-1] == "final"


@pytest.mark.parametrize("warmup_epochs", [None, 0, 1])
def test_a_rate_of_a_warm_up_that_there_is_not_gives_a_note(warmup_epochs):
    """The run began at the full rate, without a word."""
    plan = make_plan(num_videos=480, lr_steps=[2], end_epoch=4, warmup_lr=0.001, warmup_epochs=warmup_epochs)
    assert bool(plan.notes) != bool(warmup_epochs)
    assert all(note.startswith("--warmup-lr has no effect") for note in plan.notes)


def test_lr_steps_after_the_end_are_left_out_with_a_note():
    """A short trial run with --end-epoch 5 must not need --lr-steps as well."""
    plan = make_plan(**PAPER | {"end_epoch": 5}, **BOTH)
    assert plan.num_epochs == 8
    (note,) = plan.notes  # one for all of them
    assert "--lr-steps 94 154 196" in note and "5" in note
    assert plan.phases[-1].frames == 16
    assert {phase.lr_steps_passed for phase in plan.phases} == {0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_videos": 20}, r"--batch-size 32\b.*\b20 .*--batch-size 20\b"),
        ({"num_videos": 100, "per_epoch": True}, r"--batch-size 32\b.*\b100 .*\b4 .*--batch-size 25\b"),
        ({"world_size": 3}, r"--batch-size 32\b.*\b3 ranks.*\b33\b"),
        ({"per_epoch": True, "long_cycles": False}, "--multigrid per-epoch.*--long-cycles"),
        ({"lr_steps": (60, 40)}, "--lr-steps 60 40"),
        ({"lr_steps": (0, 40)}, "--lr-steps 0 40"),
        ({"lr_base": 0.0}, "--lr-base 0"),
        ({"lr_factor": -1.0}, "--lr-factor -1"),
        ({"warmup_lr": -0.1}, "--warmup-lr -0.1"),
        ({"warmup_epochs": 400}, "--warmup-epochs 400.*358"),
        ({"end_epoch": 0}, "--end-epoch 0"),
        ({"clip_length": 0}, "--clip-length 0"),
    ],
)
def test_options_that_make_no_schedule_are_refused_by_name(change, message):
    with pytest.raises(DataError, match=message):
        make_plan(**PAPER | BOTH | change)


def test_summary_counts_pixels_as_the_paper_does():
    """Multigrid computes about 3.4 times fewer pixels than the fixed shape."""
    multigrid, fixed = make_plan(**PAPER, **BOTH), make_plan(**PAPER)
    pixels = [sum(map(plan.pixels_of, plan.phases)) for plan in (multigrid, fixed)]
    assert pixels[1] == fixed.fixed_shape_pixels == 239 * 240_000 * 16 * 224**2
    brute = sum(s.batch_size * s.shape.frames * s.shape.height**2 for s in specs(multigrid, 1)) * 73
    assert multigrid.pixels_of(multigrid.phases[0]) == brute
    assert 3.2 < pixels[1] / pixels[0] < 3.6
    assert any(re.search(r"\b0\.29 times\b.* 1,792,500 steps\b", line) for line in plan_summary(multigrid))
    assert fixed.total_steps == fixed.fixed_shape_steps == multigrid.fixed_shape_steps == 239 * 7500
    assert plan_table(multigrid).row_count == 13


def test_command_prints_the_plan_and_draws_it(tmp_path):
    """The real command, from the scripts' own flags, without data."""
    picture = tmp_path / "new" / "plan.png"
    flags = "--batch-size 32 --clip-length 16 --clip-size 224 --lr-base 0.1 --lr-steps 94,154,196 --end-epoch 239"
    command = [sys.executable, "-m", "train.multigrid", *flags.split(), "--long-cycles", "--short-cycles", "True"]
    done = subprocess.run([*command, "--output", str(picture)], capture_output=True, text=True, check=True)
    assert "73, 110, 142, 158 | 205, 228, 248, 259 | 291, 308, 322, 329 | 358" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["1.1", "1", "73", "4", "112/158/158", "512/256/256", "0.8", "51,246", "9.8%"] in rows
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in picture.parent.iterdir()] == ["plan.png"]


@pytest.mark.parametrize(
    ("flags", "end_line"),
    [
        ([], "73, 110, 142, 158 | 205"),
        (["--short-cycles"], "141 | 231 | 294 | 358"),
        (["--long-cycles", "True"], "87, 130, 152, 162 | 218"),
        (["--long-cycles", "False"], "epochs 94 | 154 | 196 | 239"),
        (["--long-cycles", "--multigrid", "per-epoch"], "epochs 94 | 154 | 196 | 239"),
        (["--lr-steps", "--long-cycles", "False"], "end at epochs 239"),
        (["--lr-steps", "10", "20", "--end-epoch", "30", "--num-videos", "500"], "30"),
    ],
)
def test_command_knows_every_kind_of_schedule(tmp_path, capsys, flags, end_line):
    assert main([*flags, "--output", str(tmp_path / "plan.svg")]) == 0
    assert end_line in capsys.readouterr().out
    assert "<svg" in (tmp_path / "plan.svg").read_text()


def test_command_refuses_bad_flags_in_one_line(tmp_path, capsys):
    for flags, message in (
        (["--lr-steps", "a"], "--lr-steps.*'a'"),
        (["--lr-step", "4"], r"'--lr-step'.*--lr-steps\b"),
        (["--long-cycles", "maybe"], "--long-cycles.*'maybe'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([*flags, "--output", str(tmp_path / "plan.png")])
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert re.search(message, error) and error.count("\n") == 1
    with pytest.raises(DataError, match=r"--output .*plan\.doc\b.*\.png"):
        main(["--output", str(tmp_path / "plan.doc")])


@pytest.mark.parametrize(("batch_size", "world_size", "such_as"), [(6, 1, 8), (8, 4, 16), (2, 1, 4)])
def test_a_batch_without_whole_videos_is_refused(batch_size, world_size, such_as):
    """--repeat-clips 4: the rest of a video's clips would be of another batch, or of none."""
    with pytest.raises(DataError, match=rf"--repeat-clips 4.*such as {such_as}$"):
        make_plan(**PAPER | {"batch_size": batch_size}, repeat_clips=4, world_size=world_size)


def test_repeats_make_the_epoch_longer_and_leave_its_rates():
    """The rate falls at the same epochs, and warms up over as many."""
    options = {"batch_size": 8, "lr_steps": (4, 8), "end_epoch": 12, "warmup_epochs": 2.0, "num_videos": 100}
    once, twice = (make_plan(**PAPER | options, repeat_clips=repeats) for repeats in (1, 2))
    assert (once.steps_in_epoch(1), twice.steps_in_epoch(1), twice.num_epochs) == (12, 25, 12)
    assert twice.clips_before(1, 25) == 200
    for epoch in range(1, 13):
        assert twice.lr(epoch, 0) == pytest.approx(once.lr(epoch, 0))
    assert not any("skips" in line for line in plan_summary(twice))
    assert any("skips up to 4 of" in line for line in plan_summary(once))


def test_the_name_of_the_drawing_is_no_markup(tmp_path, capsys):
    """A path with `[/b]` was a traceback."""
    (tmp_path / "v[").mkdir()
    assert main(["--output", str(tmp_path / "v[" / "b].png")]) == 0
    assert "v[/b].png" in capsys.readouterr().out
