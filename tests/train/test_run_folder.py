"""A run writes into its own folder only, also if a user moves or deletes that folder while it trains."""

import errno
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from common.errors import DataError, TrainingError
from common.lock import locked
from common.logs import LOG
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.start import StartingPoint
from train.run_folder import RunFolder, is_of_another_run


@pytest.fixture
def held():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def run(tmp_path, held):
    """A run that has locked its folder."""
    (tmp_path / "run").mkdir()
    folder = RunFolder(tmp_path / "run", "train.log", held)
    assert folder.lock_if_there()
    return folder


def test_another_run_in_the_place_of_a_moved_folder_is_left_alone(run, tmp_path):
    """The old run went on in the new one's folder: its states came under the other's options and scores."""
    run.check()
    run.path.rename(tmp_path / "kept")
    run.path.mkdir()
    with ExitStack() as others:
        other = RunFolder(run.path, "train.log", others)
        assert other.lock_if_there()
        for _ in range(2):
            with pytest.raises(TrainingError, match="no longer the folder of this run"):
                run.check()
        other.check()
    (run.path / "net_last.pth").touch()  # it has ended since
    with pytest.raises(TrainingError, match="no longer the folder of this run"):
        run.check()


def test_the_scores_of_a_run_whose_checkpoints_were_archived_are_kept(run, monkeypatch):
    """The next run of the same name replaced them with its first epoch, without a word."""
    monkeypatch.setattr(LOG, "handlers", [])
    rows = "epoch,step,loss\n1,2,3.0\n2,4,2.0\n"
    (run.path / "scores_val.csv").write_text(rows)
    run.begin(CheckpointFolder(run.path, "net", 0), StartingPoint(), 1, [], {"lr_base": 0.1}, "key")
    assert (run.path / "scores_val.csv.abandoned").read_text() == rows
    assert (run.path / "scores_val.csv").read_text() == "epoch,step,loss\n"
    assert "scores_val.csv.abandoned" in (run.path / "train.log").read_text()
    LOG.handlers[0].close()


@pytest.mark.parametrize(
    ("place", "key_before", "epochs_left"),
    [("run", '"this"', [1]), ("run", "null", [1]), ("run", '"other"', []), ("elsewhere", '"this"', [])],
)
def test_scores_of_another_run_are_not_kept_as_this_run_s(run, monkeypatch, tmp_path, place, key_before, epochs_left):
    """Its first epochs stayed in the files, and its later ones were dropped without a copy.

    The other run's checkpoints were deleted and one from elsewhere resumed, or another run's `last` was put there.
    """
    monkeypatch.setattr(LOG, "handlers", [])
    row = "{0},{0},3.0\n".format
    text = "epoch,step,loss\n" + row(1) + row(2) + row(3)
    (run.path / "scores_val.csv").write_text(text)
    (run.path / "options.json").write_text(f'{{"run_key": {key_before}}}')
    start = StartingPoint(tmp_path / place / "net_last.pth", {}, is_resume=True)
    own_steps = run.begin(CheckpointFolder(run.path, "net", 0), start, 2, [], {"lr_base": 0.1}, "this")
    assert own_steps == (None if epochs_left else 0)
    assert (run.path / "scores_val.csv").read_text() == "epoch,step,loss\n" + "".join(map(row, epochs_left))
    kept = run.path / "scores_val.csv.abandoned"
    assert kept.exists() != bool(epochs_left)
    assert epochs_left or kept.read_text() == text
    assert not is_of_another_run(run.path, "this")
    LOG.handlers[0].close()


@pytest.mark.parametrize(("loss", "is_other"), [("2.000000", False), ("2.5", True), (None, True)])
def test_scores_that_the_run_has_reported_are_its_own_whatever_options_json_says(tmp_path, loss, is_other):
    """All scores were put aside where options.json alone had been restored into the wrong folder."""
    (tmp_path / "options.json").write_text('{"run_key": "other"}')
    reported = [[1, 3.0, None], [2, 2.0, 1.5]]
    assert is_of_another_run(tmp_path, "this", reported)
    (tmp_path / "scores_train.csv").write_text("epoch,step,loss\n" + (f"1,2,3.0\n2,4,{loss}\n" if loss else "3,6,1\n"))
    (tmp_path / "scores_val.csv").write_text("damaged")
    assert is_of_another_run(tmp_path, "this", reported) == is_other
    assert is_of_another_run(tmp_path, "this")


@pytest.mark.parametrize("is_over", [False, True])
def test_a_best_state_that_is_a_link_is_copied_before_its_file_is_moved(run, monkeypatch, is_over):
    """`best` led to nothing after --resume-epoch. A run that has no epoch left changes nothing of a finished one."""
    monkeypatch.setattr(LOG, "handlers", [])
    checkpoints = CheckpointFolder(run.path, "net", 0)
    checkpoints.epoch_file(2).write_bytes(b"state")
    checkpoints.best.symlink_to("net_ep-0002.pth")
    moved = [] if is_over else [checkpoints.epoch_file(2)]
    run.begin(checkpoints, StartingPoint(), 1, moved, None if is_over else {"lr_base": 0.1}, "key")
    assert checkpoints.best.read_bytes() == b"state" and checkpoints.best.is_symlink() == is_over
    LOG.handlers[0].close()


@pytest.mark.parametrize("text", ["", "[1]", '{"run_key": 3}', "[" * 100_000, "\udcff"])
def test_options_that_do_not_tell_the_run_are_taken_for_its_own(tmp_path, text):
    (tmp_path / "options.json").write_bytes(text.encode(errors="surrogateescape"))
    assert not is_of_another_run(tmp_path, "this")
    assert not is_of_another_run(tmp_path / "none", "this")


def test_a_folder_that_is_gone_is_made_anew_and_locked(run, tmp_path, held):
    """A folder that was moved to a larger disk must not cost the next epochs."""
    run.path.rename(tmp_path / "kept")
    run.check()
    run.check()
    with pytest.raises(DataError, match="another run is running there"):
        RunFolder(run.path, "train.log", held).lock_if_there()


def test_a_new_folder_has_the_log_and_what_the_run_is(run, tmp_path, monkeypatch):
    """The lines that followed went into the deleted file, and nothing told the flags of the states in the new one."""
    monkeypatch.setattr(LOG, "handlers", [])
    passport = {"train": {"videos": 4}, "val": {"videos": 2}}
    begun = (CheckpointFolder(run.path, "net", 0), StartingPoint(), 1, [], {"lr_base": 0.1}, "key", passport)
    run.begin(*begun)
    LOG.warning("before")
    kept = {name: (run.path / name).read_text() for name in ("options.json", "passport.json")}
    shutil.rmtree(run.path)
    run.check()
    LOG.warning("after")
    text = (run.path / "train.log").read_text()
    assert "after" in text and "moved or deleted" in text and "before" not in text
    assert {name: (run.path / name).read_text() for name in kept} == kept
    run.path.rename(tmp_path / "kept")
    run.check()
    LOG.warning("later")
    assert "later" in (run.path / "train.log").read_text()
    assert (tmp_path / "kept" / "train.log").read_text() == text
    assert len(LOG.handlers) == 1
    LOG.handlers[0].close()


def test_a_log_elsewhere_goes_on_when_the_folder_is_gone(tmp_path, held, monkeypatch):
    """It was not in the folder."""
    monkeypatch.setattr(LOG, "handlers", [])
    folder = RunFolder(tmp_path / "run", str(tmp_path / "other.log"), held)
    folder.begin(CheckpointFolder(folder.path, "net", 0), StartingPoint(), 1, [], {"lr_base": 0.1}, "key")
    (handler,) = LOG.handlers
    shutil.rmtree(folder.path)
    folder.check()
    assert LOG.handlers == [handler] and (folder.path / "options.json").exists()
    assert not (folder.path / "train.log").exists()
    handler.close()


def test_a_new_folder_that_cannot_be_written_does_not_end_the_run(run, monkeypatch):
    """The next save says what is wrong with the disk."""
    monkeypatch.setattr(LOG, "handlers", [])
    run.begin(CheckpointFolder(run.path, "net", 0), StartingPoint(), 1, [], {"lr_base": 0.1}, "key")
    shutil.rmtree(run.path)
    lines = []
    monkeypatch.setattr(LOG, "warning", lambda text, *values: lines.append(text % values))

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("train.run_folder.json_text", fail)
    run.check()
    assert "options.json cannot be written: the disk is full" in lines[0] and "made anew" in lines[0]
    LOG.handlers[0].close()


def test_a_lock_file_that_somebody_deleted_is_made_again(run, held):
    (run.path / "net_last.pth").touch()
    (run.path / ".train.lock").unlink()
    run.check()
    with pytest.raises(DataError, match="another run is running there"):
        RunFolder(run.path, "train.log", held).lock_if_there()


def test_a_run_whose_place_was_taken_stops_before_it_writes(run):
    """Where locks are missing or a run showed no life, both runs saved in turn; the other may have ended since."""
    (run.path / "new").write_text("process 1 on elsewhere\n")
    (run.path / "new").rename(run.path / ".train.lock")
    for _ in range(2):
        with pytest.raises(TrainingError, match="no longer the folder of this run"):
            run.check()


def test_a_copy_of_the_lock_file_in_its_place_is_locked_too(run):
    """A tool that synchronises folders put the file back: the lock was on the deleted one, and a second run began."""
    lock_file = run.path / ".train.lock"
    shutil.copy2(lock_file, run.path / "copy")
    (run.path / "copy").rename(lock_file)
    run.check()
    with pytest.raises(DataError, match="another run is running"), locked(lock_file, "run"):
        pass
    run.check()


def test_a_disk_that_does_not_answer_is_not_taken_for_another_run(run, monkeypatch):
    """A network file system may fail for a moment, between two saves for example."""

    def fail(path, **_):
        raise OSError(errno.EIO, "no answer", str(path))

    monkeypatch.setattr(Path, "stat", fail)
    run.check()
    monkeypatch.undo()
    run.check()
