"""Fine-tuning as a user runs it: what is frozen stays so over resumes and ranks, until it is to learn."""

import copy
import re

import pytest
import torch

from network.weights.reading import read_checkpoint
from tests.runs import LAST, RUN, SCHEDULES, state
from tests.train.checkpoint.test_resume import finish, kill_and_resume, start
from train.parameter_groups import part_of

FIRST = ("--end-epoch", 1, "--lr-steps", 9)


@pytest.fixture(scope="module")
def source(_server, small_dataset, tmp_path_factory):
    """A checkpoint to start from."""
    folder = tmp_path_factory.mktemp("source")
    finish(start(_server, small_dataset, folder, "--model-dir", folder, *FIRST))
    return folder / RUN / LAST


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("gpus", [1, 2])
def test_killed_at_any_moment_a_fine_tuning_ends_as_if_it_had_not_been(
    server, small_dataset, source, tmp_path, gpus, kills
):
    """With two ranks, gradients of what begins to learn must be averaged, or the ranks part."""
    flags = ("--pretrained-3d", source, "--fine-tune", "--freeze", "stem,layer1", "--freeze-bn", "--unfreeze-after", 3,
             "--layer-decay", 0.75, "--decay-norms", False, "--gpus", gpus)  # fmt: skip
    kill_and_resume(server, small_dataset, tmp_path, kills, *SCHEDULES["long"], *flags)
    run = tmp_path / "peace" / RUN
    before, after = read_checkpoint(source)["weights"], state(run)["weights"]
    assert not any(torch.equal(before[name], value) for name, value in after.items() if name.endswith("weight"))


def test_two_ranks_learn_the_same_when_all_begins_to_learn(server, small_dataset, source, tmp_path):
    """With statistics that are fixed, two ranks compute what one does: a gradient that is not averaged would show."""
    flags = ("--pretrained-3d", source, "--head-only", "--unfreeze-after", 1, "--batch-size", 32, "--end-epoch", 3)
    flags = (*flags, "--sync-bn", "--lr-base", 0.1)
    finish(start(server, small_dataset, tmp_path, "--model-dir", "one", *flags))
    finish(start(server, small_dataset, tmp_path, "--model-dir", "two", *flags, "--gpus", 2))
    before = read_checkpoint(source)["weights"]
    ours, theirs = (state(tmp_path / folder / RUN)["weights"] for folder in ("two", "one"))
    assert not torch.equal(theirs["stem.0.weight"], before["stem.0.weight"])
    for name, value in ours.items():
        assert (value - theirs[name]).abs().max() <= 1e-3 * max(1, value.abs().max()), name


def test_flags_of_fine_tuning_stay_on_resume_unless_others_are_given(server, small_dataset, source, tmp_path):
    """Without its flag, a run that only trains the classifier would go on to train everything."""
    flags = ("--pretrained-3d", source, "--lr-steps", 9, "--model-dir", "one")
    head_only = start(server, small_dataset, tmp_path, *flags, "--end-epoch", 1, "--head-only", "--optimizer", "adamw")
    output = finish(head_only)
    assert re.search(r"loaded +layer4\S+ \.\.\. .* frozen", output) and re.search(r"loaded +fc\.weight .* 1\b", output)
    resume = (*flags, "--resume-epoch", "auto", "--optimizer", "adamw")
    output = finish(start(server, small_dataset, tmp_path, *resume, "--end-epoch", 2))
    assert "--head-only True, which still holds" in output
    run = tmp_path / "one" / RUN
    before = read_checkpoint(source)["weights"]
    assert {part_of(name) for name, value in state(run)["weights"].items() if not torch.equal(value, before[name])} == {
        "fc"
    }
    output = finish(start(server, small_dataset, tmp_path, *resume, "--end-epoch", 3, "--freeze", "stem"))
    assert re.search(r"--freeze none, now stem; --head-only True, now False", output), output
    changed = {name for name, value in state(run)["weights"].items() if not torch.equal(value, before[name])}
    assert {part_of(name) for name in changed} == {"layer1", "layer2", "layer3", "layer4", "fc"}


def test_a_run_that_freezes_new_weights_is_refused(server, small_dataset, tmp_path):
    process = start(server, small_dataset, tmp_path, "--head-only", *FIRST)
    assert process.wait() == 2
    assert process.stderr.count("\n") == 1 and "--pretrained-3d" in process.stderr


def test_a_fine_tuning_of_an_older_version_goes_on_with_its_rates(server, small_dataset, source, tmp_path):
    """It had two groups without names, and a loaded classifier learned at the lower rate."""
    flags = ("--pretrained-3d", source, "--fine-tune", "--lr-steps", 9, "--model-dir", "one", "--end-epoch", 2)
    finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 1))
    last = tmp_path / "one" / RUN / LAST
    checkpoint = read_checkpoint(last)
    old = copy.deepcopy(checkpoint)
    new, loaded = old["optimizer"]["param_groups"]
    numbers = {
        name: number for group in (new, loaded) for name, number in zip(group["names"], group["params"], strict=True)
    }
    names = list(dict.fromkeys(name for name in old["weights"] if name in numbers))
    old["optimizer"]["state"] = {
        number: checkpoint["optimizer"]["state"][numbers[name]] for number, name in enumerate(names)
    }
    group = {name: value for name, value in loaded.items() if name != "names"}
    old["optimizer"]["param_groups"] = [{**group, "params": list(range(len(names)))}]
    old["loaded"] = list(old["weights"])
    for name in ("layer_decay", "decay_norms", "freeze", "head_only", "freeze_bn", "unfreeze_after"):
        del old["options"][name]
    del old["frozen"]
    torch.save(old, last)
    output = finish(start(server, small_dataset, tmp_path, *flags, "--resume-epoch", "auto"))
    assert "resuming" in output
    resumed = read_checkpoint(last)
    (group,) = resumed["optimizer"]["param_groups"]
    assert group["lr_share"] == 0.1 and group["names"] == names
    moved = (resumed["weights"]["fc.weight"] - checkpoint["weights"]["fc.weight"]).abs().max()
    assert moved > 0
