"""What is frozen stays as it is to the bit, costs no activations, and learns from the very epoch that was asked for."""

import copy
import gc
import re
import weakref
from dataclasses import replace

import pytest
import torch

from common.errors import DataError
from data.labels.splits import load_splits
from network.activation_checkpointing import checkpoint_activations
from network.resnet3d import Recursion
from network.sub_batch_norm import set_num_splits, use_sub_batch_norm
from network.weights.loading import load_weights
from tests.runs import assert_same
from tests.tiny_network import TinyNetwork
from tests.train.test_step_graphs import STEPS, Setting, StandIn
from tests.train.test_step_graphs import assert_same as assert_same_setting
from tests.train.test_trainer import SPEC, Run, final, plan_of
from train.fine_tuning import learning_lines, rates_of, unused_flags
from train.freezing import (
    Freezing,
    FreezingOptions,
    check_frozen_weights,
    check_resumed,
    make_freezing,
    read_parts,
)
from train.options import TrainOptions
from train.parameter_groups import part_of

STAGES = ("layer1", "layer2", "layer3", "layer4")
BODY = ("stem", *STAGES)


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, SPEC)


def network(gates=False):
    torch.manual_seed(0)
    return TinyNetwork(4, Recursion(gates, "final"))


def moved(before, after):
    """The parts whose weights have changed, and those whose statistics have."""
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    are_statistics = ("running_mean", "running_var", "num_batches_tracked")
    statistics = {part_of(name) for name in changed if name.endswith(are_statistics)}
    return {part_of(name) for name in changed if not name.endswith(are_statistics)}, statistics


@pytest.mark.parametrize(
    ("freezing", "weights", "statistics"),
    [
        (Freezing(("stem", "layer1")), {"layer2", "layer3", "layer4", "fc"}, {"layer2", "layer3", "layer4"}),
        (Freezing(BODY), {"fc"}, set()),
        (Freezing(("layer4", "fc")), {"stem", "layer1", "layer2", "layer3"}, {"stem", "layer1", "layer2", "layer3"}),
        (Freezing(norms=True), {*BODY, "fc"}, set()),
    ],
    ids=["first parts", "all but the classifier", "last parts", "norms"],
)
def test_what_is_frozen_stays_as_it_is_to_the_bit(splits, tmp_path, freezing, weights, statistics):
    """Through all phases of the long cycle and the validations: weight decay, momentum, and the mean over sub-batches
    of equal statistics, which rounds, would each move it a little."""
    plan = plan_of(splits, long_cycles=True, short_cycles=True)
    assert {spec.sub_batches(1) for spec in plan.step_specs} >= {8, 1}
    run = Run(splits, tmp_path, plan=plan, freezing=freezing)
    for module in run.network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):  # statistics of zero and one have no rounding
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    before = copy.deepcopy(run.network.state_dict())
    run.fit()
    assert moved(before, run.network.state_dict()) == (weights, statistics)
    assert moved(before, final(tmp_path)["weights"]) == (weights, statistics)


@pytest.mark.parametrize("is_checkpointed", [False, True])
@pytest.mark.parametrize(("parts", "keeping"), [(("stem", "layer1"), "layer2"), (BODY, "fc")])
def test_no_activations_of_the_first_frozen_parts_are_kept(parts, keeping, is_checkpointed):
    """Memory for larger batches is a reason to freeze."""
    net = network()
    if is_checkpointed:
        checkpoint_activations(net)
    Freezing(parts).begin_epoch(net, 1)
    kept, names = [], []
    for name, module in net.named_children():
        module.register_forward_pre_hook(lambda *_, name=name: names.append(name))

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            kept.append((names[-1], weakref.ref(self)))

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        loss = net(torch.randn(2, 3, 4, 32, 32)).sum()
    gc.collect()
    assert next(name for name, reference in kept if reference()) == keeping
    loss.backward()


def test_gates_of_frozen_blocks_are_counted():
    net = network(gates=True)
    Freezing(("stem", "layer1")).begin_epoch(net, 1)
    net(torch.randn(2, 3, 4, 32, 32)).sum().backward()
    assert all(bool(share.isfinite()) for share in net.open_gate_fractions().values())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("cycles", [False, True])
def test_resumed_before_at_and_after_the_change_a_run_ends_as_if_it_had_not_been_stopped(
    splits, tmp_path, optimizer, cycles
):
    """Momentum from before the freeze, or another epoch of the change, would end with other weights."""
    plan = plan_of(splits, long_cycles=cycles)
    after = plan.num_epochs - 2 if cycles else 1

    def run_from(folder, start=None):
        freezing = Freezing(("stem", "layer1"), norms=True, unfreeze_after=after)
        return Run(
            splits,
            tmp_path / folder,
            plan=plan,
            start=start,
            freezing=freezing,
            optimizer=optimizer,
            save_every_steps=1,
        )

    whole, saved = run_from("whole"), {}
    save = whole.folder.save

    def keep(checkpoint, *args):
        saved[checkpoint["position"]["epoch"], checkpoint["position"]["step"]] = copy.deepcopy(checkpoint)
        save(checkpoint, *args)

    whole.folder.save = keep
    first = copy.deepcopy(whole.network.state_dict())
    whole.fit()
    at = saved[after + 1, 0]
    assert moved(first, at["weights"])[0] == {"layer2", "layer3", "layer4", "fc"}
    assert part_of(at["frozen"][0]) == "stem" and not final(tmp_path / "whole")["frozen"]
    assert moved(first, final(tmp_path / "whole")["weights"]) == ({*BODY, "fc"}, set(BODY))
    middle = [position for position in saved if position[1]]
    before = max(position for position in middle if position[0] <= after)
    for position in (before, (after + 1, 0), min(position for position in middle if position[0] > after)):
        run_from(str(position), copy.deepcopy(saved[position])).fit()
        assert_same(final(tmp_path / str(position)), final(tmp_path / "whole"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_stopped_between_the_change_and_the_next_step_a_run_can_be_resumed(splits, tmp_path, optimizer):
    """A signal before the first step of that epoch saves a state whose new momentum no update has filled."""
    freezing = Freezing(("stem",), unfreeze_after=1)
    whole = Run(splits, tmp_path / "whole", freezing=freezing, optimizer=optimizer)
    whole.fit()
    run = Run(splits, tmp_path / "cut", freezing=Freezing(("stem",), unfreeze_after=1), optimizer=optimizer)
    trainer, begin_epoch = run.trainer, run.trainer.passes.begin_epoch

    class Stopped(BaseException):
        pass

    def stop():
        if trainer.progress.epoch == 2:
            trainer.save()
            trainer.writer.wait()
            raise Stopped
        begin_epoch()

    trainer.passes.begin_epoch = stop
    with pytest.raises(Stopped):
        run.fit()
    cut = final(tmp_path / "cut")
    assert cut["position"] == {"epoch": 2, "step": 0} and not cut["frozen"]
    freezing = Freezing(("stem",), unfreeze_after=1)
    Run(splits, tmp_path / "cut", start=cut, freezing=freezing, optimizer=optimizer).fit()
    assert_same(final(tmp_path / "cut"), final(tmp_path / "whole"))


def test_a_frozen_network_recorded_as_graphs_learns_the_same_and_so_after_the_change():
    """A recording would go on without the gradients of what learns now, and with norms in evaluation mode."""
    eager, recorded = Setting(), Setting(recorder := StandIn())
    freezings = Freezing(("stem", "layer1"), True, 1), Freezing(("stem", "layer1"), True, 1)
    counts = []
    for epoch in (1, 2):
        for setting, freezing in zip((eager, recorded), freezings, strict=True):
            if freezing.begin_epoch(setting.network, epoch):
                setting.update.begin_learning()
                setting.passes.forget()
            setting.passes.begin_epoch()
        for number in range(STEPS):
            eager.step(number)
            recorded.step(number)
        counts.append(recorder.recorded)
    assert counts[1] == 2 * counts[0] > 0
    assert_same_setting(recorded, eager)


def test_splits_of_frozen_norms_are_their_statistics():
    """They are saved, and what begins to learn goes on from them."""
    net = network()
    use_sub_batch_norm(net)
    freezing = Freezing(("stem",), unfreeze_after=1)
    freezing.begin_epoch(net, 1)
    norm = net.stem[1]
    norm.running_mean.uniform_()
    before = norm.running_mean.clone()
    for splits in (8, 4, 1, 8):
        set_num_splits(net, splits)
        net.eval()
        freezing.begin_epoch(net, 1)
        assert not norm.training and net.layer1[0].conv1[1].training
    assert torch.equal(norm.running_mean, before) and torch.equal(norm.split_mean[7], before)
    freezing.begin_epoch(net, 2)
    assert norm.training and not norm.is_fixed and norm.weight.requires_grad


def test_parts_are_read_and_unknown_ones_refused_with_the_known_ones():
    assert read_parts("stem,layer1") == read_parts(["stem", "layer1,", "stem"]) == ("stem", "layer1")
    assert read_parts("none") == ()
    for words in ("", ",", "none,stem"):
        with pytest.raises(DataError, match="give parts"):
            read_parts(words)
    net = network()
    with pytest.raises(DataError, match=r"--freeze layer9: .* it has stem, layer1, layer2, layer3, layer4, fc"):
        make_freezing(net, FreezingOptions(freeze=("stem", "layer9")))
    with pytest.raises(DataError, match="nothing would learn"):
        make_freezing(net, FreezingOptions(freeze=(*BODY, "fc")))
    assert make_freezing(net, FreezingOptions(head_only=True)).parts == BODY
    assert make_freezing(net, FreezingOptions(freeze=("layer1", "stem"))).parts == ("stem", "layer1")


def test_frozen_weights_that_no_file_has_are_refused():
    """The rest would be trained on the features of random weights."""
    net = network()
    for freezing in (Freezing(("stem",)), Freezing(norms=True)):
        with pytest.raises(DataError, match="--pretrained-3d"):
            check_frozen_weights(net, freezing, None)
    check_frozen_weights(net, Freezing(), None)
    torch.manual_seed(1)
    plain = TinyNetwork(5, None).state_dict()
    report = load_weights(net, plain)
    with pytest.raises(DataError, match=r"layer1\.0\.sar\.lstm"):
        check_frozen_weights(net, Freezing(("stem", "layer1")), report)
    check_frozen_weights(net, Freezing(("stem",)), report)
    check_frozen_weights(net, Freezing(norms=True), report)
    with pytest.raises(DataError, match=r"fc\.bias"):  # of another shape
        check_frozen_weights(net, Freezing(("fc",)), report)
    less = {name: value for name, value in plain.items() if name != "layer2.0.conv1.1.running_var"}
    with pytest.raises(DataError, match=r"layer2\.0\.conv1\.1\.running_var"):
        check_frozen_weights(net, Freezing(norms=True), load_weights(net, less))


def test_the_log_says_how_fast_each_part_learns():
    net = network()
    loaded = [name for name, _ in net.named_parameters() if part_of(name) != "fc"]
    options = TrainOptions(fine_tune=True, layer_decay=0.5, decay_norms=False)
    rates = rates_of(net, options, Freezing(("stem",), unfreeze_after=4))
    found = [rates(part, True) for part in ("stem", "layer4", "fc", "and 3 more rows")]
    assert found == ["frozen until epoch 4 is done", "0.05", "1", ""]
    assert rates("layer4", False) == "0.5"
    lines = " ".join(learning_lines(net, options, loaded))
    assert re.search(r"learn at 0\.1 .* 2 others at the full rate: fc\.weight, fc\.bias", lines)
    assert "layer4 0.5, fc 1" in lines and "no weight decay" in lines
    assert not list(learning_lines(net, TrainOptions(), ()))
    (line,) = Freezing(BODY, norms=True).lines(net)
    assert "36 of" in line and "whole run" in line  # 8 x 4 + 4


@pytest.mark.parametrize(
    ("flags", "flag"),
    [
        ({"loaded_lr_factor": 0.5, "given": ("loaded_lr_factor",)}, "--loaded-lr-factor"),
        ({"decay_norms": False, "weight_decay": 0.0}, "--decay-norms"),
        ({"unfreeze_after": 2}, "--unfreeze-after has"),
        ({"unfreeze_after": 9, "freeze_bn": True}, "--unfreeze-after 9"),
        ({"head_only": True, "freeze_bn": True}, "--freeze-bn"),
        ({"freeze_bn": True, "sync_bn": True}, "--sync-bn"),
        ({"head_only": True, "checkpoint_activations": True}, "--checkpoint-activations"),
    ],
)
def test_a_flag_without_effect_is_said(flags, flag):
    (warning,) = unused_flags(TrainOptions(**flags), num_epochs=9)
    assert warning.startswith(flag) and "no effect" in warning
    assert not list(unused_flags(TrainOptions(freeze=("stem",), unfreeze_after=2, sync_bn=True), num_epochs=9))


def test_after_the_unfreezing_the_log_says_that_all_learn():
    """A resumed run whose log says `frozen` is stopped by its user, or believed."""
    freezing, net = Freezing(BODY, unfreeze_after=2), network()
    assert "frozen until epoch 2" in next(iter(freezing.lines(net, 2)))
    (line,) = freezing.lines(net, 3)
    assert "frozen" not in line and "epoch 3" in line


@pytest.mark.parametrize(("flag", "values"), [("freeze", {"freeze": ("layer4",)}), ("head_only", {"head_only": True})])
def test_other_parts_to_freeze_after_the_unfreezing_are_refused(flag, values):
    """They would learn, against the flag; the same command as before goes on."""
    options = TrainOptions(**values, unfreeze_after=1, given=(flag,))
    freezing = Freezing(("layer4",), unfreeze_after=1)
    with pytest.raises(DataError, match="unfreeze-after 1"):
        check_resumed(freezing, options, {"freeze": ["stem"], "head_only": False}, epoch=2)
    check_resumed(freezing, options, {"freeze": ["stem"], "head_only": False}, epoch=1)
    check_resumed(freezing, options, {"freeze": ["layer4"], "head_only": True}, epoch=2)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"freeze_bn": True, "precise_bn": 5}, "--precise-bn"),
        ({"head_only": True, "layer_decay": 0.5}, "--layer-decay"),
        ({"freeze": BODY, "precise_bn": 5}, "--precise-bn"),
        ({"freeze": BODY, "drop_path": 0.5}, "--drop-path"),
        ({"freeze": ("fc",), "dropout": 0.5}, "--dropout"),
    ],
)
def test_flags_without_effect_beside_frozen_parts_are_told(values, flag):
    """50 batches of statistics that no norm takes are read by nobody."""
    options = TrainOptions(**values)
    assert any(line.startswith(f"{flag} has no effect") for line in unused_flags(options, 9))
    assert not any("layer decay" in line for line in learning_lines(network(), options, ()))
    assert not any(flag in line for line in unused_flags(replace(options, unfreeze_after=3), 9))
