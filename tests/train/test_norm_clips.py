"""Batch norm: a step that would leave it a single value is refused before training, and nothing else is.

Otherwise a multigrid run trains for days at the small shapes and ends in a traceback at the base shape.
"""

import re
import warnings
from dataclasses import replace

import pytest
import torch

from common.errors import DataError
from network import create_network
from network.sub_batch_norm import set_num_splits, use_sub_batch_norm
from train.norm_clips import accumulation_warnings, check_norm_clips
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions

LONG = {"long_cycles": True, "lr_steps": (2,), "end_epoch": 8}
SHORT = {"short_cycles": True}


def schedule(frames, size, batch_size, **more):
    return ScheduleOptions(clip_length=frames, clip_size=size, batch_size=batch_size, **{"lr_steps": ()} | more)


def trains(network, plan, accumulate):
    """Whether a forward pass of every step's parts succeeds, as the Trainer makes them on one of the ranks."""
    made = create_network(network, 2).train()
    use_sub_batch_norm(made)
    for spec in plan.step_specs:
        set_num_splits(made, spec.sub_batches(accumulate))
        part = spec.batch_size // (plan.world_size * accumulate)
        try:
            made(torch.randn(part, 3, *spec.shape))
        except ValueError as error:
            assert "more than 1 value per channel" in str(error)
            return False
    return True


CASES = {
    # network, options, accumulate, ranks, the remedies that the message must name (none: it trains)
    "one clip": ("r3d_10", schedule(4, 32, 1), 1, 1, ["--batch-size 2"]),
    "one clip of two positions": ("r3d_10", schedule(17, 32, 1), 1, 1, []),
    "one wider clip": ("r3d_10", schedule(4, 33, 1), 1, 1, []),
    "two clips": ("srtg_r3d_10", schedule(4, 32, 2), 1, 1, []),
    "parts of one clip": ("srtg_r3d_10", schedule(4, 32, 2), 2, 1, ["--accumulate 1", "--batch-size 4"]),
    "fewer parts": ("r2plus1d_10", schedule(4, 32, 4), 4, 1, ["--accumulate 2", "--batch-size 8"]),
    "ranks of one clip": ("r3d_10", schedule(4, 32, 2), 1, 2, ["--batch-size 4", "--sync-bn"]),
    "csn keeps more frames": ("ip_csn_26", schedule(9, 32, 1), 1, 1, []),
    "csn": ("ir_csn_26", schedule(8, 32, 1), 1, 1, ["--batch-size 2"]),
    "torchvision has no max-pool": ("tv_r3d_18", schedule(8, 17, 1), 1, 1, []),
    "torchvision": ("tv_r2plus1d_18", schedule(8, 16, 1), 1, 1, ["--batch-size 2"]),
    "sub-batches of one clip": ("r3d_10", schedule(16, 32, 1, **LONG), 1, 1, ["--batch-size 2"]),
    # 8 sub-batches in 2 parts stay whole; the base shape's only sub-batch does not.
    "parts of sub-batches": ("r3d_10", schedule(16, 32, 2, **LONG), 2, 1, ["--accumulate 1", "--batch-size 4"]),
    # The long shapes have one position, the base shape four: parts of their sub-batches are whole, so all trains.
    "small shapes in whole sub-batches": ("r3d_10", schedule(8, 40, 2, **LONG), 2, 1, []),
    "the short cycle's own crop": ("r3d_10", schedule(4, 32, 1, **SHORT), 1, 1, ["--batch-size 2"]),
}


@pytest.mark.parametrize(("network", "options", "accumulate", "ranks", "remedies"), CASES.values(), ids=CASES)
def test_what_would_fail_is_refused_and_what_works_is_not(network, options, accumulate, ranks, remedies):
    """Each decision is compared with real steps, and each remedy is tried."""
    plan = make_plan(options, 64, ranks)
    assert trains(network, plan, accumulate) == (not remedies)
    if not remedies:
        check_norm_clips(plan, options, accumulate, False, network)
        return
    with pytest.raises(DataError) as refused:
        check_norm_clips(plan, options, accumulate, False, network)
    message = str(refused.value)
    assert f"--batch-size {options.batch_size}" in message and re.search(r"\b\d+x\d+x\d+\b", message)
    given, _, advice = message.partition("; give ")
    assert ("--accumulate" in given, "GPUs" in given) == (accumulate > 1, ranks > 1)
    assert advice.split(" or ") == remedies
    for remedy in remedies:
        flag, _, number = remedy.partition(" ")
        if flag == "--batch-size":
            larger = replace(options, batch_size=int(number))
            assert trains(network, make_plan(larger, 64, ranks), accumulate)
        elif flag == "--accumulate":
            assert trains(network, plan, int(number))
        else:
            check_norm_clips(plan, options, accumulate, True, network)  # tests/network/test_sub_batch_norm.py runs it


def test_a_shape_that_no_epoch_reaches_is_not_refused():
    """A short cycle's third step does not occur in epochs of two."""
    options = schedule(4, 32, 1, **SHORT)
    for videos, is_refused in ((6, False), (7, True)):  # batches of 4, 2, 1
        plan = make_plan(options, videos)
        assert trains("r3d_10", plan, 1) != is_refused
        if is_refused:
            with pytest.raises(DataError, match="4x32x32"):
                check_norm_clips(plan, options, 1, False, "r3d_10")
        else:
            check_norm_clips(plan, options, 1, False, "r3d_10")


def test_the_check_of_a_network_with_srtg_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options = schedule(4, 32, 1)
        with pytest.raises(DataError, match="srtg_r3d_10"):
            check_norm_clips(make_plan(options, 8), options, 1, False, "srtg_r3d_10")


def test_the_warning_names_the_shapes_whose_statistics_change():
    """The documents promise unchanged statistics only where the parts divide the batch factor: 8, 4, 2, 1."""
    options = schedule(16, 224, 24, **LONG)
    plan = make_plan(options, 10_000, 2)
    assert accumulation_warnings(plan, 1, False) == []
    (line,) = accumulation_warnings(plan, 2, False)
    assert re.findall(r"\d+x\d+x\d+", line) == ["16x224x224"]
    assert re.search(r"--accumulate 2\b.*\b6 clips on each GPU instead of 12\b", line)
    lines = accumulation_warnings(plan, 4, False)
    assert [re.findall(r"\d+x\d+x\d+", line) for line in lines] == [["8x224x224"], ["16x224x224"]]
    assert re.search(r"\b6 clips on each GPU instead of 12\b.*8x224", lines[0])
    (line,) = accumulation_warnings(plan, 3, False)
    assert re.search(r"\b4 clips on each GPU instead of 12\b", line) and len(re.findall(r"\d+x\d+x\d+", line)) == 4
    (line,) = accumulation_warnings(plan, 2, True)
    assert re.search(r"\b12 clips instead of 24\b", line)


@pytest.mark.parametrize(
    "options", [schedule(16, 224, 24), schedule(16, 224, 24, **SHORT), schedule(16, 224, 24, **LONG)]
)
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 12])
def test_the_warning_names_exactly_the_shapes_whose_factor_the_parts_do_not_divide(options, parts):
    """At 4 parts of a batch factor of 1, gradients differ several-fold; a false warning would be ignored next time."""
    plan = make_plan(options, 10_000, 2)
    text = " ".join(accumulation_warnings(plan, parts, False))
    named = set(re.findall(r"\d+x\d+x\d+", text))
    assert named == {"x".join(map(str, spec.shape)) for spec in plan.step_specs if spec.batch_factor % parts}


def test_as_many_clips_are_normalised_together_as_the_warning_says():
    """The numbers are those that batch norm sees: the clips of each part divided by its sub-batches."""
    plan = make_plan(schedule(16, 224, 24, **LONG), 10_000, 2)
    for parts in (1, 2, 3, 4, 6, 12):
        for spec in plan.step_specs:
            part = spec.batch_size // (2 * parts)
            assert part % spec.sub_batches(parts) == 0
            assert spec.norm_clips(2, parts) == part // spec.sub_batches(parts)
            assert (spec.norm_clips(2, parts) == 12) == (spec.batch_factor % parts == 0)
