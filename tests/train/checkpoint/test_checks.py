"""A checkpoint to resume has every field, of the type and range that a run saves; else the message names the field."""

import copy
from pathlib import Path

import pytest
import torch

from common.errors import DataError
from common.ranks import Ranks
from network import registry
from network.resnet3d import Recursion
from network.sub_batch_norm import set_num_splits, use_sub_batch_norm
from tests.tiny_network import TinyNetwork
from train.averaging import WeightAverage
from train.checkpoint.checks import check_resumable
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.progress import Progress
from train.checkpoint.start import StartingPoint, find_starting_point, load_resumed, resume_state
from train.checkpoint.state import collect_state, restore_state
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep

CPU, ALONE = torch.device("cpu"), Ranks(0, 0, 1)
FACTS = {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3}
NAN = float("nan")
HASHES = torch.arange(3)


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def new_run(sub_batches=False):
    torch.manual_seed(0)
    network = TinyNetwork(3, Recursion(False, "final"))
    if sub_batches:
        use_sub_batch_norm(network)
        set_num_splits(network, 2)
    optimizer = make_optimizer(network, OptimizerOptions())
    return network, OptimizerStep(network.parameters(), optimizer, CPU, ALONE, "fp32", 0.0)


def checkpoint_of(sub_batches=False):
    state = collect_state(*new_run(sub_batches), Progress(epoch=3, global_step=16), CPU)
    facts = {
        "format": 1, "network": FACTS, "classes": ["a", "b", "c"], "loaded": [], "num_videos": 32,
        "options": {"random_seed": 1, "resume_epoch": ""}, "versions": {"srtg": "0.1.0"}, "run_id": "none",
    }  # fmt: skip
    return copy.deepcopy(state | facts)


def restore(checkpoint, sub_batches=False):
    """What train.main does with a checkpoint to resume."""
    check_resumable(Path("x.pth"), checkpoint)
    network, optimizer_step = new_run(sub_batches)
    start = StartingPoint(Path("x.pth"), checkpoint, is_resume=True)
    load_resumed(network, start)
    return resume_state(start, network, optimizer_step, CPU, ALONE)


@pytest.mark.parametrize("sub_batches", [False, True])
def test_what_a_run_saves_is_accepted(sub_batches):
    assert restore(checkpoint_of(sub_batches), sub_batches).epoch == 3
    assert restore(checkpoint_of(sub_batches) | {"trained_videos": HASHES}, sub_batches).epoch == 3


NEEDED = "network weights optimizer scaler position progress rng classes loaded num_videos options"


@pytest.mark.parametrize("field", NEEDED.split())
def test_a_missing_field_is_named(field):
    """A KeyError after the dataset was scanned tells nobody what is wrong with which file."""
    checkpoint = checkpoint_of()
    del checkpoint[field]
    with pytest.raises(DataError, match=rf"x\.pth.*{field}"):
        restore(checkpoint)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 99), ("position", [1, 2]), ("position", {"epoch": -3, "step": 0}),
        ("position", {"epoch": 1.5, "step": 0.5}), ("position", {"epoch": 2, "step": 0}),
        ("position", {"epoch": NAN, "step": 0}), ("progress", {"epoch": 3}), ("progress.epoch", True),
        ("progress.clips", -1), ("progress.seconds", NAN), ("progress.best_top1", 101), ("progress.later", 1),
        ("progress.reported", 5), ("progress.reported", [[1, 2.0]]), ("progress.reported", [[1, NAN, None]]),
        ("progress.reported", [[3, 1.0, None]]), ("progress.scores", 5),
        ("progress.bad_videos", [[1]]), ("rng", {}), ("rng.cpu", torch.zeros(5056)),
        ("rng.cpu", torch.zeros(3, dtype=torch.uint8)), ("options", 5), ("options", {}), ("loaded", 4),
        ("loaded", ["nope"]), ("num_videos", "many"), ("num_videos", 0), ("classes", None), ("optimizer", []),
        ("weights", [1, 2]), ("weights", {}), ("weights.fc.bias", torch.zeros(4)), ("weights.more", torch.zeros(1)),
        ("weights.fc.bias", torch.tensor([0.0, NAN, 1.0])), ("weights.fc.bias", torch.zeros(3).half()),
        ("trained_videos", 5), ("trained_videos", None), ("trained_videos", torch.zeros(3)),
        ("trained_videos", HASHES[:0]), ("trained_videos", HASHES.flip(0)), ("trained_videos", HASHES[[0, 0]]),
        ("trained_videos", HASHES[:, None]), ("trained_videos", HASHES.int()), ("trained_videos", HASHES.to("meta")),
        ("trained_videos", HASHES[:1].expand(9)),
        ("frozen", 5), ("frozen", ["nope"]), ("options.freeze", 5), ("options.head_only", "yes"),
        ("options.layer_decay", 2.0), ("options.loaded_lr_factor", 0), ("options.unfreeze_after", -1),
        ("network", FACTS | {"later": 1}), ("content", 5), ("content", {"val": {"counts": 1, "samples": []}}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(path, value):
    """Of a position unlike the progress, or a later format, nothing was said and the run went on from elsewhere."""
    checkpoint = checkpoint_of()
    field, _, key = path.partition(".")
    if key:
        checkpoint[field] = dict(checkpoint[field]) | {key: value}
    else:
        checkpoint[field] = value
    words = {"rng": "rng|random", "weights": "weights|fc|more|tensor"}.get(field, key or field)
    with pytest.raises(Exception, match=rf"x\.pth.*({words})") as caught:
        restore(checkpoint)
    assert isinstance(caught.value, ValueError) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda splits: splits.popitem(),
        lambda splits: splits.update(elsewhere=torch.zeros(2, 4)),
        lambda splits: splits.update({"stem.1.split_mean": torch.zeros(3, 4)}),
        lambda splits: splits.update({"stem.1.split_mean": torch.full((2, 4), NAN)}),
        lambda splits: splits.update({"stem.1.split_var": -torch.ones(2, 4)}),
    ],
)
def test_statistics_of_other_sub_batches_are_refused(change):
    """Batch norm would broadcast or repeat them."""
    checkpoint = checkpoint_of(sub_batches=True)
    change(checkpoint["batch_norm"])
    with pytest.raises(DataError, match=r"x\.pth.*(statistic|batch_norm)"):
        restore(checkpoint, sub_batches=True)


@pytest.mark.parametrize("value", [NAN, 0.0, -1.0, None, True, "1"])
def test_a_scale_that_no_scaler_has_is_refused(value):
    """Every gradient would be scaled by it."""
    network, _ = new_run()
    step = OptimizerStep(network.parameters(), make_optimizer(network, OptimizerOptions()), CPU, ALONE, "fp16", 0.0)
    state = copy.deepcopy(step.state_dict())
    step.load_state_dict(copy.deepcopy(state))
    state["scaler"]["scale"] = value
    with pytest.raises(DataError, match="scale"):
        step.load_state_dict(state)


def test_counts_are_compared_with_the_steps_of_the_run():
    """The average and AdamW check them only if they are told the steps."""
    network, _ = new_run()
    average = WeightAverage(network, 0.9)
    step = OptimizerStep(
        network.parameters(), make_optimizer(network, OptimizerOptions("adamw")), CPU, ALONE, "fp32", 0.0
    )
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    step.optimizer.step()
    state = copy.deepcopy(collect_state(network, step, Progress(epoch=3, global_step=16), CPU, average))
    restore_state(copy.deepcopy(state), network, step, CPU, ALONE, average)
    state["ema"]["updates"].fill_(17)
    with pytest.raises(DataError, match="averages 17 updates"):
        restore_state(state, network, step, CPU, ALONE, average)
    state["ema"]["updates"].fill_(16)
    state["optimizer"]["state"][0]["step"].fill_(17)
    with pytest.raises(DataError, match="is 17, and the run has made 16 steps"):
        restore_state(state, network, step, CPU, ALONE, average)


def test_a_run_is_checked_before_it_is_resumed(tmp_path):
    """The check must stand where every resumed run passes."""
    folder = CheckpointFolder(tmp_path, "srtg_tiny", 0)
    folder.save(checkpoint_of() | {"position": {"epoch": 2, "step": 0}}, epoch=1)
    for resume_epoch in ("auto", "2"):
        with pytest.raises(DataError, match="position"):
            find_starting_point(folder, None, resume_epoch)


def scores(examples, **sums):
    return {"examples": examples, "sums": {"loss": [1.0], "top1": [0.0], "top5": [0.0]} | sums}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": scores(100, top1=[97.0])}, "100 examples, but 0 clips"),
        ({"scores": scores(0, top1=[97.0])}, "examples, but 0 clips"), ({"scores": [1.0, 2.0, 3.0, 4.0]}, "0 clips"),
        ({"clips": 8}, "8 clips after step 0"), ({"step": 3, "clips": 2}, "2 clips after step 3"),
        ({"global_step": 0}, "0 steps in all"), ({"global_step": 10**30}, "global_step"),
        ({"global_step": 1 << 20_000}, "global_step"), ({"seconds": 1 << 20_000}, "seconds"),
        ({"skipped_updates": 17}, "17 skipped"), ({"best_top1": -0.5}, "best_top1"),
        ({"best_by": "hits"}, "best_by"), ({"best_by": ["loss"]}, "best_by"), ({"best_score": NAN}, "best_score"),
        ({"best_by": "loss", "best_top1": 50.0}, "by loss the score None"),
        ({"best_top1": 50.0, "best_score": 1.0}, "by top1 the score 1"),
        ({"step": 1, "clips": 8, "scores": scores(8, top1=[1.0, 2.0])}, "top1 has 2 numbers"),
        ({"step": 1, "clips": 8, "scores": scores(8, top1=[9.0])}, "9 hits in 8"),
        ({"step": 1, "clips": 8, "scores": {"examples": 8, "sums": {"x": [1.0]}}}, "none of the metrics"),
        ({"step": 1, "clips": 8, "scores": scores(8, loss=[1 << 20_000])}, "scores"),
    ],
)  # fmt: skip
def test_progress_that_contradicts_itself_is_refused(changes, said):
    """The scores of another epoch were reported, and some values ended in a traceback."""
    checkpoint = checkpoint_of()
    checkpoint["progress"] |= changes
    checkpoint["position"] = {"epoch": 3, "step": checkpoint["progress"]["step"]}
    with pytest.raises(DataError, match=rf"x\.pth.*{said}") as caught:
        check_resumable(Path("x.pth"), checkpoint)
    assert len(str(caught.value)) < 300


def test_progress_of_the_middle_of_an_epoch_is_accepted():
    """A metric that a run no longer has, and sums of no examples, are no contradiction."""
    checkpoint = checkpoint_of()
    for changes in (
        {"step": 0, "clips": 0, "scores": scores(0.0, loss=[0.0])},
        {"step": 2, "clips": 8, "best_top1": 100, "scores": scores(7.0, top1=[6.0], top5=[7.0], before=[1.0, 2.0])},
        {"step": 2, "clips": 8, "best_top1": 0.0, "scores": [2.5, 1.0, 2.0, 4.0]},
    ):
        checkpoint["progress"] |= changes
        checkpoint["position"] = {"epoch": 3, "step": changes["step"]}
        check_resumable(Path("x.pth"), checkpoint)


def test_options_that_no_run_saves_are_refused_at_once():
    """Lists within lists of a few bytes would be shown as text without end."""
    nested = [1, 2]
    for _ in range(60):
        nested = [nested, nested]
    for name, value in (("momentum", nested), ("keep", 1 << 20_000), (5, 1), ("given", [{}]), ("given", [1] * 10**5)):
        checkpoint = checkpoint_of()
        checkpoint["options"][name] = value
        with pytest.raises(DataError, match=rf"x\.pth.*option {name}"):
            check_resumable(Path("x.pth"), checkpoint)
    checkpoint = checkpoint_of()
    checkpoint["videos"] = [nested]
    with pytest.raises(DataError, match=r"x\.pth.*videos"):
        check_resumable(Path("x.pth"), checkpoint)
