"""Where a run starts: what the flags and the folder mean together."""

import errno
import logging
import os
import re
from pathlib import Path

import pytest
import torch

from common.errors import DataError, NetworkError
from common.logs import LOG
from common.normalisation import NORMALISATIONS, SRTG
from data.labels.content import UNREAD, Content
from network import create_network
from network.resnet3d import Recursion
from tests.network.weights.other_projects import weights_of
from tests.network.weights.test_inflating import flat_shapes
from tests.plans import make_plan
from tests.tiny_network import TinyNetwork
from train.checkpoint.checks import check_resumable
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.progress import Progress
from train.checkpoint.source import source_facts
from train.checkpoint.start import (
    StartingPoint,
    check_same_run,
    check_schedule,
    find_starting_point,
    load_pretrained,
    load_resumed,
    move_aside,
    strangers_to,
    with_saved,
)
from train.optim import OptimizerOptions, make_optimizer
from train.options import TrainOptions

CLASSES = ["clap", "jump", "run"]
OPTIONS = {
    "clip_length": 4, "clip_size": 32, "train_frame_interval": [2], "augment": "full", "batch_size": 4, "accumulate": 1,
    "long_cycles": False, "short_cycles": False, "multigrid": "paper", "lr_base": 0.1, "lr_steps": [2],
    "lr_factor": 0.1, "warmup_epochs": None, "warmup_lr": None, "clip_grad": 0.0, "end_epoch": 4, "precision": "fp32",
    "sync_bn": False, "random_seed": 1, "resume_epoch": "",
}  # fmt: skip
FACTS = {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3}


def network(num_classes=3, seed=0):
    torch.manual_seed(seed)
    net = TinyNetwork(num_classes, Recursion(False, "final"))
    torch.nn.init.normal_(net.fc.bias)
    return net


def own(epoch=3, step=0, **changes):
    """A checkpoint of this project whose next step is `step` of `epoch`."""
    return {
        "format": 1, "position": {"epoch": epoch, "step": step}, "network": FACTS, "classes": CLASSES, "run_id": "none",
        "weights": network().state_dict(), "options": OPTIONS, "num_videos": 32,
        "progress": Progress(epoch, step, 8 * epoch + step, clips=4 * step).state_dict(),
        "rng": {"cpu": torch.get_rng_state()},
        "optimizer": {}, "scaler": {}, "loaded": [],
    } | changes  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    return CheckpointFolder(tmp_path / "run", "srtg_tiny", keep=0)


@pytest.fixture(autouse=True)
def log(caplog, monkeypatch):
    monkeypatch.setattr(LOG, "propagate", True)
    monkeypatch.setattr(LOG, "handlers", [])
    caplog.set_level(logging.INFO, "srtg")


def position_of(start):
    return start.checkpoint["position"]["epoch"], start.checkpoint["position"]["step"]


def test_a_run_starts_from_nothing_by_default(folder):
    assert find_starting_point(folder, None, "") == StartingPoint()


def test_a_folder_with_checkpoints_is_not_overwritten(folder, tmp_path):
    """A forgotten --resume-epoch must not cost a week of training."""
    folder.save(own())
    torch.save(own(), tmp_path / "other.pth")
    for pretrained in (None, tmp_path / "other.pth"):
        with pytest.raises(DataError, match=r"/run .*--resume-epoch auto.*--task-name"):
            find_starting_point(folder, pretrained, "")


def test_resuming_at_an_epoch_takes_the_file_of_the_one_before(folder):
    for epoch in (1, 2, 3):
        folder.save(own(epoch + 1), epoch)
    start = find_starting_point(folder, None, "3")
    assert (start.path, start.is_resume, position_of(start)) == (folder.epoch_file(2), True, (3, 0))


def test_resuming_at_an_epoch_from_a_file_given(folder, tmp_path):
    """`--pretrained_3d FILE --resume-epoch 21`, as the original's second command has it; also into a new folder."""
    torch.save(own(21), tmp_path / "elsewhere.pth")
    start = find_starting_point(folder, tmp_path / "elsewhere.pth", "21")
    assert (start.path, start.is_resume, position_of(start)) == (tmp_path / "elsewhere.pth", True, (21, 0))


def test_a_file_from_elsewhere_does_not_overwrite_the_run_of_the_folder(folder, tmp_path):
    """Two runs would be mixed in one folder, the older one's last and best states lost."""
    torch.save(own(21), tmp_path / "elsewhere.pth")
    folder.save(own(5), 4)
    with pytest.raises(DataError, match=r"/run .*elsewhere\.pth .*--task-name"):
        find_starting_point(folder, tmp_path / "elsewhere.pth", "21")
    assert find_starting_point(folder, folder.last, "5").path == folder.last
    find_starting_point(folder, tmp_path / "elsewhere.pth", "21", evaluate=True)


@pytest.mark.parametrize("resume_epoch", ["", "auto"])
def test_a_best_file_alone_is_not_overwritten(folder, resume_epoch):
    """It may be all that was kept of a run of weeks, after the other files were deleted for their size."""
    folder.save(own(), is_best=True)
    folder.last.unlink()
    for pretrained in (None, folder.best):
        with pytest.raises(DataError, match=r"/run .*srtg_tiny_best\.pth .*--task-name"):
            find_starting_point(folder, pretrained, resume_epoch)
    assert find_starting_point(folder, folder.best, "3").is_resume


def saved(epoch, top1=-1.0, step=0, global_step=None):
    """A checkpoint whose run has this best top-1."""
    number = 8 * (epoch - 1) + step if global_step is None else global_step
    progress = Progress(epoch, step, best_top1=top1, global_step=number, clips=4 * step)
    return own(epoch, step, progress=progress.state_dict())


def resumed(folder, resume_epoch, pretrained=None):
    """The best top-1 of a resumed run and the names of the files that it moved aside."""
    start = find_starting_point(folder, pretrained, resume_epoch)
    progress = Progress.from_state_dict(start.checkpoint["progress"])
    strangers = strangers_to(start, folder, progress)
    folder.remove_leftovers()
    move_aside(start, folder, strangers)
    return progress.best_top1, {path.name for path in strangers}


def test_a_run_that_is_rewound_moves_the_files_of_later_epochs_aside(folder, caplog):
    """The best top-1 must be that of the best file, and no later resume may take the abandoned attempt for this run."""
    for epoch, top1 in ((1, 10.0), (2, 25.0), (3, 20.0), (4, 43.75)):
        folder.save(saved(epoch + 1, max(top1, 25.0) if epoch > 1 else top1), epoch, is_best=top1 != 20.0)
    names = {path.name for path in (folder.epoch_file(3), folder.epoch_file(4), folder.best, folder.last)}
    assert resumed(folder, "3") == (-1.0, names)
    assert [name in caplog.text for name in names] == [True] * 4
    assert {path.name for path in folder.folder.glob("*.abandoned")} == {f"{name}.abandoned" for name in names}
    assert position_of(find_starting_point(folder, None, "auto")) == (3, 0)  # `last` is not yet written
    with pytest.raises(DataError, match="ep-0004"):
        find_starting_point(folder, None, "5")
    folder.save(saved(4, 12.5), 3, is_best=True)
    assert resumed(folder, "auto") == (12.5, set())
    content = folder.folder / f"{folder.epoch_file(3).name}.abandoned"
    before = content.read_bytes()
    assert resumed(folder, "3")[1] == {folder.epoch_file(3).name, folder.best.name, folder.last.name}
    assert content.read_bytes() == before and content.with_name(f"{content.name}-2").exists()


def test_a_run_that_is_resumed_where_it_stopped_moves_nothing(folder):
    folder.save(saved(2, 10.0), 1, is_best=True)
    folder.save(saved(3, 10.0), 2)
    assert resumed(folder, "auto") == (10.0, set())
    assert resumed(folder, "3") == (10.0, set())
    folder.save(saved(3, 10.0, step=4))
    assert resumed(folder, "auto") == (10.0, set())
    # Killed when the files of epoch 3 were written and `last` not yet: they are written again.
    end = saved(3, 10.0, step=8, global_step=24)
    folder.save(saved(4, 30.0, global_step=24), 3, is_best=True)
    folder.save(end)
    assert resumed(folder, "auto") == (-1.0, set())


@pytest.mark.parametrize("loss", [2.5, None], ids=["validated", "not validated"])
@pytest.mark.parametrize("step", [0, 4])
def test_a_backup_that_was_copied_over_a_run_costs_no_file_of_it(folder, step, loss):
    """The file of the epoch after the backup was taken for one that a killed run writes again, and overwritten."""
    folder.save(saved(3, 10.0), 2, is_best=True)
    end = Progress(4, 0, best_top1=10.0, global_step=24, reported=[[3, 1.5, loss]])
    folder.save(own(4, progress=end.state_dict()), 3)
    assert resumed(folder, "auto") == (10.0, set())
    folder.save(saved(3, 10.0, step=step))  # `last` of the backup
    assert resumed(folder, "auto")[1] == {folder.epoch_file(3).name}
    assert not folder.epoch_file(3).exists()


def test_a_best_state_that_cannot_be_read_now_is_not_counted_anew(folder, monkeypatch):
    """A disk that gave an error once cost the best state its name, and a worse one became `best`."""
    folder.save(saved(3, 10.0), 2, is_best=True)
    opened = Path.open

    def failing(path, *args, **kwargs):
        if path == folder.best:
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *args, **kwargs)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "open", failing)
        with pytest.raises(DataError, match=r"best\.pth cannot be read: Input/output error"):
            resumed(folder, "auto")
    assert resumed(folder, "auto") == (10.0, set())


def test_a_best_top_1_without_its_file_is_counted_anew(folder, tmp_path):
    """A score of another folder's run would never be beaten, and the result named a file that did not exist."""
    torch.save(saved(21, 60.0), tmp_path / "elsewhere.pth")
    assert resumed(folder, "21", tmp_path / "elsewhere.pth") == (-1.0, set())
    folder.save(saved(22, 30.0), 21, is_best=True)
    assert resumed(folder, "auto") == (30.0, set())
    folder.save(saved(23, 40.0), 22)  # of a best file that is of another attempt
    assert resumed(folder, "auto") == (-1.0, {folder.best.name})


def test_a_best_file_that_is_resumed_with_another_validation_is_kept(folder):
    """Its top-1 counts no more, and the first state after it, however bad, took its place."""
    folder.save(saved(4, 50.0), 3, is_best=True)
    start = find_starting_point(folder, folder.best, "4")
    progress = Progress.from_state_dict(start.checkpoint["progress"])
    progress.best_top1 = -1.0  # as of other validation videos
    strangers = strangers_to(start, folder, progress)
    move_aside(start, folder, strangers)
    assert folder.best.with_name(f"{folder.best.name}.abandoned").exists() and not folder.best.exists()
    folder.save(saved(4, 50.0), 3, is_best=True)
    assert resumed(folder, "4", folder.best)[0] == 50.0 and folder.best.exists()


def test_a_best_file_of_another_score_is_not_taken(folder):
    """Runs by loss may have two best states with the same top-1, and one of them by top-1 is no best by loss."""

    def by_loss(epoch, loss):
        progress = Progress(epoch, best_top1=50.0, best_by="loss", best_score=loss, global_step=8 * (epoch - 1))
        return own(epoch, progress=progress.state_dict())

    folder.save(by_loss(3, 0.5), 2, is_best=True)
    assert resumed(folder, "auto") == (50.0, set())
    for other in (by_loss(2, 0.75), saved(2, 50.0)):
        torch.save(other, folder.best)
        assert resumed(folder, "auto") == (-1.0, {folder.best.name})


def test_the_best_of_another_run_with_the_same_top_1_is_not_taken(folder, tmp_path):
    """A best.pth that was copied from another seed's folder would be named as this run's result."""
    folder.save(saved(3, 50.0) | {"run_key": "this"}, 2, is_best=True)
    assert resumed(folder, "auto") == (50.0, set())
    torch.save(saved(3, 50.0) | {"run_key": "other"}, folder.best)
    assert resumed(folder, "auto") == (-1.0, {folder.best.name})
    torch.save(saved(3, 50.0), folder.best)  # of an older version, which saved no key
    assert resumed(folder, "auto") == (50.0, set())


def test_files_of_another_run_are_moved_aside_on_resume(folder):
    """Only those of later epochs were: the others were overwritten, or deleted by --keep, without a word."""
    for epoch in (1, 2, 3):
        folder.save(saved(epoch + 1) | {"run_key": "this"}, epoch)
    torch.save(saved(2) | {"run_key": "other"}, folder.epoch_file(1))
    torch.save(saved(5) | {"run_key": "other"}, folder.epoch_file(4))  # it has the number of the next epoch
    torch.save(saved(3), folder.epoch_file(2))  # of an older version, which saved no key
    names = {folder.epoch_file(epoch).name for epoch in (1, 4)}
    assert resumed(folder, "auto") == (-1.0, names)
    assert {path.name for path in folder.folder.glob("*.abandoned")} == {f"{name}.abandoned" for name in names}
    assert resumed(folder, "auto") == (-1.0, set())
    torch.save(saved(2) | {"run_key": "other"}, folder.last)
    assert resumed(folder, "4") == (-1.0, {folder.last.name})


def test_a_damaged_last_is_moved_aside_once(folder):
    folder.save(saved(3, 10.0), 2, is_best=True)
    folder.save(saved(3, 10.0, step=4))
    content = folder.last.read_bytes()
    folder.last.write_bytes(content[: len(content) // 2])
    assert resumed(folder, "auto") == (10.0, set())
    assert folder.last.with_name(f"{folder.last.name}.damaged").exists()
    folder.last.write_bytes(content[: len(content) // 2])
    assert resumed(folder, "3") == (10.0, {folder.last.name})  # not read before, and may be of a later state


@pytest.mark.parametrize(("epoch", "step"), [(20, 0), (22, 0), (21, 3)])
def test_an_epoch_that_does_not_fit_the_file_is_an_error(folder, tmp_path, epoch, step):
    """Weights of one epoch with the learning rate of another would be a different training."""
    torch.save(own(epoch, step), tmp_path / "x.pth")
    after = f"step 3 of epoch {epoch}" if step else f"epoch {epoch - 1}"
    with pytest.raises(DataError, match=rf"--resume-epoch 21 .*x\.pth .*after {after}$"):
        find_starting_point(folder, tmp_path / "x.pth", "21")


def test_an_epoch_that_was_not_saved_is_an_error_that_says_what_was(folder):
    folder.save(own(3), 2)
    with pytest.raises(DataError, match=r"srtg_tiny_ep-0020\.pth .*srtg_tiny_ep-0002\.pth"):
        find_starting_point(folder, None, "21")


def test_auto_takes_the_newest_also_from_the_middle_of_an_epoch(folder):
    folder.save(own(3), 2)
    folder.save(own(3, 5))
    start = find_starting_point(folder, None, "auto")
    assert (start.path, start.is_resume, position_of(start)) == (folder.last, True, (3, 5))


def test_auto_with_nothing_to_resume_starts_and_warns(folder, tmp_path, caplog):
    """A job script can then always give auto."""
    assert find_starting_point(folder, None, "auto") == StartingPoint()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and str(folder.folder) in record.getMessage()
    torch.save(own(), tmp_path / "pretrained.pth")
    start = find_starting_point(folder, tmp_path / "pretrained.pth", "auto")
    assert (start.path, start.is_resume) == (tmp_path / "pretrained.pth", False)


@pytest.mark.parametrize("resume_epoch", ["auto", "21"])
def test_a_file_of_weights_alone_cannot_be_resumed(folder, resume_epoch):
    weights = {"state_dict": network().state_dict()}
    folder.save(weights, 20)
    with pytest.raises(DataError, match=r"srtg_tiny_\S+\.pth .*--pretrained-3d"):
        find_starting_point(folder, None, resume_epoch)


def test_weights_alone_are_a_start(folder, tmp_path):
    torch.save(network().state_dict(), tmp_path / "x.pth")
    start = find_starting_point(folder, tmp_path / "x.pth", "")
    assert (start.path, start.is_resume) == (tmp_path / "x.pth", False)


def test_evaluation_takes_weights_beside_the_checkpoints_of_their_own_run(folder):
    """The most common evaluation: the best file of a run, in the folder of the same run."""
    folder.save(own(), 2, is_best=True)
    start = find_starting_point(folder, folder.best, "", evaluate=True)
    assert (start.path, start.is_resume) == (folder.best, False)
    assert find_starting_point(folder, None, "auto", evaluate=True).path == folder.last


def test_evaluation_without_weights_is_an_error(folder):
    """Scores of an untrained network look like scores."""
    with pytest.raises(DataError, match=r"/run .*--pretrained-3d FILE"):
        find_starting_point(folder, None, "auto", evaluate=True)


@pytest.mark.parametrize("resume_epoch", ["", "2"])
def test_a_restart_by_torchrun_goes_on_with_the_run(folder, tmp_path, monkeypatch, resume_epoch):
    """Nobody can give --resume-epoch then; and a value given at the start is older than the newest checkpoint."""
    for epoch in (1, 2):
        folder.save(own(epoch + 1), epoch)
    folder.save(own(3, 2, options=OPTIONS | {"resume_epoch": resume_epoch}, run_id="agent host 7 99"))
    torch.save(own(), tmp_path / "pretrained.pth")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    start = find_starting_point(folder, tmp_path / "pretrained.pth", resume_epoch, run_id="agent host 7 99")
    assert (start.path, start.is_resume, position_of(start)) == (folder.last, True, (3, 2))


def test_a_new_job_of_the_same_name_goes_on_with_the_run(folder, monkeypatch):
    """torchrun --rdzv-id JOB: a requeued job continues the same run."""
    folder.save(own(3, 2, run_id="job-17"))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert find_starting_point(folder, None, "", run_id="job-17").is_resume
    with pytest.raises(DataError, match=r"/run .*--resume-epoch auto"):
        find_starting_point(folder, None, "", run_id="job-18")


def test_a_restart_after_a_refusal_does_not_take_the_run_that_was_in_the_way(folder, monkeypatch):
    """torchrun restarts also a command that was refused: with other flags, it went on with the run in its folder."""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    for earlier in ("none", "agent host 7 98", "agent host 8 99"):
        folder.save(own(3, 2, run_id=earlier))
        with pytest.raises(DataError, match=r"/run .*--resume-epoch auto"):
            find_starting_point(folder, None, "", run_id="agent host 7 99")


def test_a_restart_before_the_first_checkpoint_starts_as_the_flags_say(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    torch.save(own(), tmp_path / "pretrained.pth")
    start = find_starting_point(folder, tmp_path / "pretrained.pth", "", run_id="agent host 7 99")
    assert (start.path, start.is_resume) == (tmp_path / "pretrained.pth", False)
    # These files are of an earlier run, which is to be resumed at epoch 2.
    folder.save(own(2), 1)
    folder.save(own(9, 4))
    assert position_of(find_starting_point(folder, None, "2")) == (2, 0)


def test_a_missing_source_and_no_run_say_which_flags_find_the_run(folder, tmp_path):
    """The network came from the file. Without it, the run that it began lies in the folder of another network."""
    with pytest.raises(DataError, match=r"gone\.pth does not exist.*/run holds no run.*--network"):
        find_starting_point(folder, tmp_path / "gone.pth", "auto")


def test_a_run_goes_on_with_its_own_network_only():
    start = StartingPoint(Path("x.pth"), own(), is_resume=True)
    check_same_run(start, dict(FACTS), CLASSES)
    for change in ({"gates": True}, {"placement": "mid"}, {"name": "tiny"}, {"num_classes": 4}):
        ((name, value),) = change.items()
        fact = rf"\({name} {FACTS[name]}, now {value}\)"  # nothing that is the same
        with pytest.raises(DataError, match=rf"x\.pth .*{fact}.*--network.*--pretrained-3d"):
            check_same_run(start, FACTS | change, CLASSES)


def test_a_run_goes_on_with_its_own_normalisation_and_eps():
    """The second half of the training would see other pixels than the first, and nothing would tell."""
    other = {"normalisation": NORMALISATIONS["imagenet"].plain(), "eps": 1e-3}
    start = StartingPoint(Path("x.pth"), own(network=FACTS | other), is_resume=True)
    target = network()
    load_resumed(target, start)
    assert (target.normalisation, target.eps) == (NORMALISATIONS["imagenet"], 1e-3)
    assert target.stem[1].eps == 1e-3
    check_same_run(start, dict(FACTS), CLASSES, NORMALISATIONS["imagenet"])
    check_same_run(start, dict(FACTS), CLASSES)
    with pytest.raises(DataError, match=r"--normalisation srtg: x\.pth was trained with imagenet"):
        check_same_run(start, dict(FACTS), CLASSES, SRTG)


@pytest.mark.parametrize(
    ("classes", "first"),
    [
        (["clap", "run", "jump"], "'jump'.*'run'"),
        (["clap", "jump", "walk"], "'run'.*'walk'"),
        (["clap", "jump"], "3.*2"),
    ],
)
def test_a_run_does_not_go_on_with_other_classes_or_another_order(classes, first):
    """The classifier's rows would silently stand for other classes."""
    with pytest.raises(DataError, match=rf"x\.pth .*{first}.*--pretrained-3d"):
        check_same_run(StartingPoint(Path("x.pth"), own(), is_resume=True), dict(FACTS), classes)


@pytest.mark.parametrize("order", [1, -1])
def test_classes_in_another_unicode_form_are_told_by_their_escapes(order):
    """The message had the same name twice, or two that had nothing to do with it."""
    saved = own() | {"classes": ["gehen", "Übung", "x"]}
    classes = ["gehen", "U\u0308bung", "x"][::order]
    with pytest.raises(DataError, match=r"Unicode form: '\\xdcbung' and 'U\\u0308bung'.*--pretrained-3d"):
        check_same_run(StartingPoint(Path("x.pth"), saved, is_resume=True), dict(FACTS), classes)


def options_of(changes):
    used = {name: tuple(value) if isinstance(value, list) else value for name, value in (OPTIONS | changes).items()}
    return TrainOptions(**used)


def plan_of(num_videos=32, **changes):
    used = OPTIONS | changes
    keys = ("clip_length", "clip_size", "batch_size", "lr_base", "lr_steps", "end_epoch", "long_cycles")
    return make_plan(num_videos=num_videos, **{key: used[key] for key in keys})


def schedule(checkpoint, num_videos=32, **changes):
    check_schedule(
        StartingPoint(None, checkpoint, is_resume=True), options_of(changes), num_videos, plan_of(num_videos, **changes)
    )


def test_the_same_schedule_gives_no_warning(caplog):
    schedule(own(3, 5))
    schedule(own(3, 0))
    assert not caplog.records


def test_a_changed_schedule_gives_a_warning(caplog):
    """A resumed run with another rate, batch or length trains differently; often that is a mistake."""
    schedule(own(3, 0), end_epoch=8, lr_steps=[2, 6], batch_size=8)
    for change in ("--batch-size 4, now 8", "--lr-steps 2, now 2 6", "--end-epoch 4, now 8"):
        assert change in caplog.text
    caplog.clear()
    schedule(own(3, 5), end_epoch=8)  # the rest of the epoch is the same
    assert "--end-epoch 4, now 8" in caplog.text


@pytest.mark.parametrize("changes", [{"batch_size": 2}, {"random_seed": 2}, {"num_videos": 33}, {"batch_size": 32}])
def test_in_the_middle_of_an_epoch_its_clips_must_stay_the_same(changes):
    """Otherwise some videos of the epoch would be read twice and others never."""
    (value,) = changes.values()
    with pytest.raises(DataError, match=rf"after step 5 of epoch 3.*\(.*now {value}\).*--resume-epoch N"):
        schedule(own(3, 5), **changes)


VIDEOS = {"train": "a", "val": "b"}


def test_other_numbers_of_ranks_are_told_if_batch_norm_changes(caplog):
    """Resumed on other GPUs, the statistics came of other numbers of clips without a word, and the scores changed."""

    def resumed_text(saved_ranks, **changes):
        caplog.clear()
        checkpoint = own(3, **saved_ranks)
        start = StartingPoint(Path("x.pth"), checkpoint, is_resume=True)
        plan = make_plan(
            num_videos=32, world_size=2, batch_size=4, clip_length=4, clip_size=32, lr_steps=[2], end_epoch=4
        )
        check_schedule(start, options_of(changes), 32, plan)
        return caplog.text

    assert "1 ranks, now 2 (batch norm over 2 clips, before 4" in resumed_text({"world_size": 1})
    assert resumed_text({"world_size": 2}) == resumed_text({}) == ""
    text = resumed_text({"world_size": 1}, batch_size=8)
    assert "--batch-size 4, now 8" in text and "ranks" not in text
    assert "ranks" not in resumed_text({"world_size": 1}, sync_bn=True)


@pytest.mark.parametrize(
    ("flags", "told"), [({"long_cycles": True}, "--long-cycles"), ({"accumulate": 2}, "--accumulate"), ({}, "")]
)
def test_other_ranks_under_sync_bn_are_told_if_sub_batches_are_of_other_clips(caplog, flags, told):
    """The losses differ from those that as many ranks would have given, which a comparison takes for a fault."""
    flags = flags | {"sync_bn": True}
    for ranks, is_told in ((2, bool(told)), (1, False)):
        caplog.clear()
        checkpoint = own(3, world_size=ranks, options=OPTIONS | flags)
        check_schedule(
            StartingPoint(Path("x.pth"), checkpoint, is_resume=True), options_of(flags), 32, plan_of(**flags)
        )
        assert ("2 ranks, now 1" in caplog.text) == is_told and (not is_told or f"with {told}" in caplog.text)


def resume_with_videos(checkpoint, digests):
    check_schedule(StartingPoint(None, checkpoint, is_resume=True), options_of({}), 32, plan_of(), digests)


def test_other_videos_or_labels_stop_a_resume_in_the_middle_of_an_epoch(caplog):
    """As many videos in another order or with other labels: some would be read twice, or learnt as another class."""
    resume_with_videos(own(3, 5, videos=VIDEOS), VIDEOS)
    assert not caplog.records
    with pytest.raises(DataError, match=r"after step 5 of epoch 3.*training videos.*--resume-epoch N"):
        resume_with_videos(own(3, 5, videos=VIDEOS), VIDEOS | {"train": "c"})
    caplog.clear()
    resume_with_videos(own(3, 0, videos=VIDEOS), VIDEOS | {"train": "c"})
    assert "training videos" in caplog.text
    caplog.clear()
    resume_with_videos(own(3, 5, videos=VIDEOS), VIDEOS | {"val": "c"})
    assert "validation videos" in caplog.text and "training videos" not in caplog.text


def contents(train="a", val="b", samples=("1", "2")):
    return {"train": Content(train, samples), "val": Content(val, samples)}


def test_other_frames_stop_a_resume_in_the_middle_of_an_epoch(caplog):
    """The videos' names say nothing of cuts and pixels: half of an epoch was of one dataset, half of another."""
    saved = {"videos": VIDEOS, "content": {split: each.plain() for split, each in contents().items()}}

    def resume(step, now):
        caplog.clear()
        start = StartingPoint(Path("x.pth"), own(3, step, **saved), is_resume=True)
        check_schedule(start, options_of({}), 32, plan_of(), VIDEOS, now)
        return caplog.text

    assert resume(5, contents()) == resume(5, contents(samples=(UNREAD, "2"))) == ""
    for now, what in (
        (contents(train="c"), "other numbers of frames in the same training videos"),
        (contents(samples=("1", "3")), r"other frames \(in 1 of 2 videos looked at\) in the same training videos"),
    ):
        with pytest.raises(DataError, match=rf"x\.pth .*after step 5 of epoch 3.*{what}.*--resume-epoch N"):
            resume(5, now)
        assert re.search(rf"WARNING.*x\.pth was trained with {what}", resume(0, now))
    text = resume(5, contents(val="c"))
    assert "other numbers of frames in the same validation videos; another validation, so the best" in text
    assert "training videos" not in text


def test_a_checkpoint_without_digests_is_resumed(caplog):
    resume_with_videos(own(3, 5), VIDEOS)
    assert not caplog.records


def test_in_the_middle_of_an_epoch_that_the_run_no_longer_has():
    with pytest.raises(DataError, match=r"--end-epoch 4, now 2.*--resume-epoch N"):
        schedule(own(3, 5), end_epoch=2)


def outputs(net):
    torch.manual_seed(7)
    with torch.no_grad():
        return net.eval()(torch.randn(2, 3, 4, 32, 32))


def test_classes_in_another_order_are_remapped():
    """The classifier's rows are in the old order: without remapping, accuracy would silently be near zero."""
    source, target = network(seed=1), network(seed=2)
    checkpoint = own(weights=source.state_dict())
    report = load_pretrained(target, StartingPoint(None, checkpoint), ["run", "clap", "jump"])
    assert report.classes_reordered
    torch.testing.assert_close(outputs(target), outputs(source)[:, [2, 0, 1]])


def test_other_classes_get_a_new_classifier_and_the_log_names_both_shapes(caplog):
    source, target = network(seed=1), network(num_classes=5, seed=2)
    new = target.fc.weight.clone()
    start = StartingPoint(None, own(weights=source.state_dict()))
    report = load_pretrained(target, start, ["a", "b", "c", "d", "e"])
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]
    assert torch.equal(target.fc.weight, new)
    assert torch.equal(target.stem[0].weight, source.stem[0].weight)
    assert re.search(r"3x8\b.*\b5x8", caplog.text)
    optimizer = make_optimizer(target, OptimizerOptions(loaded_lr_factor=0.1), report.loaded)
    new_group, loaded_group = ({id(parameter) for parameter in group["params"]} for group in optimizer.param_groups)
    assert new_group == {id(target.fc.weight), id(target.fc.bias)}
    assert len(loaded_group) == len(list(target.parameters())) - 2


def test_as_many_other_classes_get_a_new_classifier_too():
    source, target = network(seed=1), network(seed=2)
    report = load_pretrained(target, StartingPoint(None, own(weights=source.state_dict())), ["a", "b", "c"])
    assert {skipped.name for skipped in report.skipped} == {"fc.weight", "fc.bias"}


def published(source):
    """Weights as the original's code saves them: nested, from DataParallel, for frames in BGR."""
    return {"epoch": 80, "state_dict": {f"module.{name}": value for name, value in source.state_dict().items()}}


def test_a_published_checkpoint_is_loaded_for_rgb_frames(caplog):
    """Its stem has blue as the first channel: without reversing, it would silently see wrong colours."""
    source, target = network(seed=1), network(num_classes=5, seed=2)
    report = load_pretrained(target, StartingPoint(None, published(source)), list("abcde"))
    assert "BGR" in caplog.text and "srtg-original" in caplog.text
    assert target.normalisation == NORMALISATIONS["srtg-original"]
    assert not report.unexpected
    torch.testing.assert_close(target.stem[0].weight, source.stem[0].weight.flip(1))
    assert torch.equal(target.layer4[0].conv2[0][0].weight, source.layer4[0].conv2[0][0].weight)


def test_a_2d_network_is_inflated_and_its_file_is_known_again(folder, tmp_path, caplog):
    """The run's checkpoints say where its weights came from; a resume does not read the file again."""
    torch.save(weights_of(flat_shapes((1, 1, 1, 1), bottleneck=False)), tmp_path / "resnet.pth")
    start = find_starting_point(folder, None, "auto", inflate=tmp_path / "resnet.pth")
    target = create_network("r3d_10", 3)
    report = load_pretrained(target, start, CLASSES)
    assert "stem.0.weight" in report.loaded and "inflated" in caplog.text and "ImageNet's classes" in caplog.text
    assert target.normalisation == NORMALISATIONS["imagenet"]
    assert source_facts(start.path, start.checkpoint)["checksum"] is not None
    folder.save(own())
    assert find_starting_point(folder, None, "auto", inflate=tmp_path / "resnet.pth").is_resume
    with pytest.raises(NetworkError, match="--inflate"):
        load_pretrained(target, StartingPoint(None, start.checkpoint), CLASSES)


def test_a_source_with_a_time_after_2262_lets_its_run_go_on(tmp_path):
    """The checkpoints of a run that started from such a file would have been refused as damaged."""
    path = tmp_path / "x.pth"
    torch.save(own(), path)
    os.utime(path, (13_569_465_600, 13_569_465_600))
    check_resumable(path, own() | {"source": source_facts(path, own())})


def test_a_resumed_run_with_other_inflated_weights_is_refused(folder, tmp_path):
    """Its options and checkpoints would name a file that it did not start from."""
    shapes = flat_shapes((1, 1, 1, 1), bottleneck=False)
    torch.save(weights_of(shapes), tmp_path / "one.pth")
    torch.save({name: tensor + 1 for name, tensor in weights_of(shapes).items()}, tmp_path / "two.pth")
    source = find_starting_point(folder, None, "auto", inflate=tmp_path / "one.pth")
    checkpoint = own() | {"source": source_facts(source.path, source.checkpoint)}
    checkpoint["options"] = {**checkpoint["options"], "inflate": str(tmp_path / "one.pth")}
    start = StartingPoint(tmp_path / "run" / "x.pth", checkpoint, is_resume=True)
    with pytest.raises(DataError, match=r"--inflate .*two\.pth"):
        with_saved(start, TrainOptions(inflate=tmp_path / "two.pth"))
    for options in (TrainOptions(inflate=tmp_path / "one.pth"), TrainOptions()):
        found = with_saved(start, options)
        assert (found.inflate, found.pretrained_3d) == (tmp_path / "one.pth", None)


def test_a_classifier_without_class_names_is_said_to_have_the_order_of_the_labels(caplog):
    """Nothing in the file can tell whether its rows mean the same classes."""
    load_pretrained(network(), StartingPoint(Path("x.pth"), published(network(seed=1))), CLASSES)
    assert re.search(r"x\.pth .*no classes", caplog.text)
    caplog.clear()
    load_pretrained(network(), StartingPoint(Path("x.pth"), own()), CLASSES)
    assert "no classes" not in caplog.text


def test_a_path_with_brackets_is_shown_as_it_is(caplog):
    """rich would read [lr] as markup and drop it."""
    load_pretrained(network(), StartingPoint(Path("runs/[lr]/x.pth"), own()), CLASSES)
    assert "runs/[lr]/x.pth" in caplog.text


def test_a_checkpoint_of_something_else_is_an_error():
    for checkpoint in ({"state_dict": {"body.weight": torch.zeros(2)}}, {"epoch": 3}):
        with pytest.raises(NetworkError, match=r"x\.pth"):
            load_pretrained(network(), StartingPoint(Path("x.pth"), checkpoint), CLASSES)


def test_a_run_that_did_not_start_from_the_missing_file_is_not_resumed(folder, tmp_path):
    """The gates come from the file. Without it, the defaults led to the folder of another run, which went on."""
    options = TrainOptions(pretrained_3d=tmp_path / "x.pth", given=("pretrained_3d",))
    folder.save(own(3) | {"options": OPTIONS | {"pretrained_3d": None}})
    start = find_starting_point(folder, options.pretrained_3d, "auto")
    with pytest.raises(DataError, match=r"x\.pth does not exist.*did not start from it"):
        with_saved(start, options)
    folder.save(own(3) | {"options": OPTIONS | {"pretrained_3d": "elsewhere/x.pth"}})
    with_saved(find_starting_point(folder, options.pretrained_3d, "auto"), options)
    (tmp_path / "x.pth").touch()
    folder.save(own(3) | {"options": OPTIONS | {"pretrained_3d": None}})
    with_saved(find_starting_point(folder, None, "auto"), options)


@pytest.mark.parametrize("is_fine_tuning", [True, False])
def test_a_flag_given_on_resume_is_not_replaced_in_silence(folder, is_fine_tuning):
    """`--fine-tune False` was given to train all weights at the full rate, and the run went on at a tenth of it."""
    folder.save(own(3) | {"loaded": ["fc.bias"] if is_fine_tuning else []})
    start = find_starting_point(folder, None, "auto")
    flags = TrainOptions(fine_tune=not is_fine_tuning, given=("fine_tune",))
    with pytest.raises(DataError, match=r"^--fine-tune.* is of a run that (fine-tunes|does not fine-tune); leave it"):
        with_saved(start, flags)
    for options in (TrainOptions(), TrainOptions(fine_tune=is_fine_tuning, given=("fine_tune",))):
        assert with_saved(start, options).fine_tune == is_fine_tuning


def test_a_source_that_is_not_loaded_is_named(folder, tmp_path, caplog):
    """--pretrained-3d named another file than before, and the run went on from its own checkpoint without a word.

    Checkpoints of older versions have its path alone; all runs' files have the same name.
    """
    old, new = tmp_path / "old" / "x.pth", tmp_path / "new" / "x.pth"
    for path in (old, new):
        path.parent.mkdir()
        path.touch()
    folder.save(own(3) | {"options": OPTIONS | {"pretrained_3d": str(old)}})
    start = find_starting_point(folder, None, "auto")
    for given in (old, tmp_path / "new" / ".." / "old" / "x.pth", start.path):
        with_saved(start, TrainOptions(pretrained_3d=given))
    assert not caplog.records
    assert with_saved(start, TrainOptions(pretrained_3d=new)).pretrained_3d == old
    assert re.search(r"--pretrained-3d \S+new/x\.pth is not loaded.*old/x\.pth", caplog.text)
    caplog.clear()
    folder.save(own(3) | {"options": OPTIONS | {"pretrained_3d": None}})
    assert with_saved(find_starting_point(folder, None, "auto"), TrainOptions(pretrained_3d=new)).pretrained_3d is None
    assert re.search(r"new/x\.pth is not loaded.*does not say", caplog.text)


def write_source(path, seed):
    """A file of weights at `path`, of the network that `seed` draws; returns its content."""
    path.parent.mkdir(exist_ok=True)
    checkpoint = own(2) | {"weights": network(seed=seed).state_dict(), "run_key": f"source {seed}"}
    torch.save(checkpoint, path)
    return checkpoint


def resume_from_source(folder, given):
    """The options of a resumed run whose command has `--pretrained-3d given`."""
    content = torch.load(given, weights_only=True) if given.exists() else None
    options = TrainOptions(pretrained_3d=given, fine_tune=True)
    return with_saved(find_starting_point(folder, given, "auto", checkpoint=content), options, content)


def test_a_run_does_not_go_on_under_the_name_of_other_weights(folder, tmp_path, caplog):
    """Fine-tuning from a second source gave the scores of the first, as both files had the name `best`."""
    first, second = tmp_path / "1" / "best.pth", tmp_path / "2" / "best.pth"
    source = source_facts(first, write_source(first, 1))
    write_source(second, 2)
    folder.save(own(3) | {"loaded": ["fc.bias"], "source": source, "options": OPTIONS | {"pretrained_3d": str(first)}})
    with pytest.raises(
        DataError, match=r"--pretrained-3d \S+/2/best\.pth .*/1/best\.pth, .*--task-name.*--fine-tune out"
    ):
        resume_from_source(folder, second)
    with pytest.raises(DataError, match=r"/3/best\.pth does not exist"):
        resume_from_source(folder, tmp_path / "3" / "best.pth")
    # The same command serves for every later start, also if the file was moved, deleted or written again.
    assert resume_from_source(folder, first).pretrained_3d == first
    write_source(second, 1)
    assert resume_from_source(folder, second).pretrained_3d == first
    first.unlink()
    assert resume_from_source(folder, first).pretrained_3d == first
    assert with_saved(find_starting_point(folder, None, "auto"), TrainOptions()).pretrained_3d == first
    assert not caplog.records
    write_source(first, 3)
    assert resume_from_source(folder, first).pretrained_3d == first
    assert re.search(r"/1/best\.pth has other weights now", caplog.text)


def test_a_run_with_new_weights_is_not_called_pretrained(folder, tmp_path):
    """options.json and later checkpoints named the file, which had never been loaded."""
    write_source(tmp_path / "1" / "best.pth", 1)
    folder.save(own(3) | {"source": {}, "options": OPTIONS | {"pretrained_3d": None}})
    options = TrainOptions(pretrained_3d=tmp_path / "1" / "best.pth")
    start = find_starting_point(folder, None, "auto")
    with pytest.raises(DataError, match=r"/1/best\.pth .* started from new weights"):
        with_saved(start, options, torch.load(options.pretrained_3d, weights_only=True))


def test_a_checkpoint_of_the_run_itself_is_not_passed_over_in_silence(folder, caplog):
    """--pretrained-3d EPOCH_1 with --resume-epoch auto was meant to go back, and went on from `last`."""
    for epoch in (1, 2):
        weights = network(seed=epoch).state_dict()
        folder.save(own(epoch + 1) | {"run_key": "this", "source": {}, "weights": weights}, epoch)
    options = TrainOptions(pretrained_3d=folder.epoch_file(1))
    content = torch.load(folder.epoch_file(1), weights_only=True)
    with_saved(find_starting_point(folder, None, "auto"), options, content)
    assert re.search(
        r"ep-0001\.pth is a checkpoint of the run.*goes on from \S+last\.pth.*--resume-epoch N", caplog.text
    )


@pytest.mark.parametrize("source", ["x.pth", {"path": 3}, {"path": "x", "size": 1, "mtime_ns": 1, "checksum": "a"}])
def test_a_damaged_note_of_the_source_is_an_error(folder, source):
    folder.save(own(3) | {"source": source})
    with pytest.raises(DataError, match="field `source`"):
        find_starting_point(folder, None, "auto")
