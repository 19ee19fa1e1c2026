"""Checkpoint files: whole or absent, of plain types, and found again."""

import errno
import os
import pickle
import random
import resource
import shutil
import time
import zipfile
from pathlib import Path

import pytest
import torch

from common.errors import DataError, TrainingError
from common.logs import LOG
from network.weights.reading import read_checkpoint, read_plainly
from tests.processes import ROOT
from train.checkpoint.attempts import is_foreign, is_of_other_attempt, is_resumable, read_plain_part
from train.checkpoint.files import CheckpointFolder

SAVER = ROOT / "tests" / "scripts" / "save_in_a_loop.py"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def number_in(path):
    return read_checkpoint(path)["number"]


@pytest.fixture
def checkpoints(tmp_path):
    return CheckpointFolder(tmp_path / "run", "net", keep=0)


def test_files_are_named_as_documented(checkpoints):
    """Resuming, fine-tuning and the original's commands find a file by its name."""
    checkpoints.save({"number": 1})
    assert names(checkpoints.folder) == ["net_last.pth"]
    checkpoints.save({"number": 2}, epoch=3, is_best=True)
    assert names(checkpoints.folder) == ["net_best.pth", "net_ep-0003.pth", "net_last.pth"]
    assert {number_in(checkpoints.folder / name) for name in names(checkpoints.folder)} == {2}
    checkpoints.save({"number": 3}, epoch=12345)
    assert number_in(checkpoints.folder / "net_ep-12345.pth") == 3
    assert number_in(checkpoints.best) == number_in(checkpoints.epoch_file(3)) == 2
    assert checkpoints.epoch_files() == [checkpoints.epoch_file(3), checkpoints.epoch_file(12345)]


def test_keep_bounds_the_epochs_but_not_best_and_last(tmp_path):
    """Hundreds of checkpoints fill a disk; the best one must be kept when its epoch's file is deleted."""
    checkpoints = CheckpointFolder(tmp_path, "net", keep=2)
    for epoch in range(1, 6):
        checkpoints.save({"number": epoch}, epoch, is_best=epoch == 2)
    assert names(tmp_path) == ["net_best.pth", "net_ep-0004.pth", "net_ep-0005.pth", "net_last.pth"]
    assert number_in(checkpoints.best) == 2


def test_a_run_resumed_at_an_earlier_epoch_keeps_what_it_writes(tmp_path):
    """After --resume-epoch 2 the old files of epochs 8 and 9 are not newer than the file just written for epoch 2."""
    checkpoints = CheckpointFolder(tmp_path, "net", keep=2)
    for epoch in (8, 9, 2, 3, 4):
        checkpoints.save({"number": epoch}, epoch)
    assert [path.name for path in checkpoints.epoch_files()] == [f"net_ep-{n:04d}.pth" for n in (3, 4, 8, 9)]


def of_run(key, number):
    return {"format": 1, "position": {"epoch": number, "step": 0}, "number": number, "run_key": key}


def test_a_file_of_another_run_is_neither_overwritten_nor_deleted(tmp_path, caplog, monkeypatch):
    """Checkpoints copied into a run's folder by hand took the names of its own: the next save or --keep lost them."""
    monkeypatch.setattr(LOG, "propagate", True)
    checkpoints = CheckpointFolder(tmp_path, "net", keep=1)
    checkpoints.save(of_run("this", 2), 2)
    for path in (checkpoints.epoch_file(1), checkpoints.epoch_file(3), checkpoints.best, checkpoints.last):
        torch.save(of_run("other", 99), path)
    torch.save(of_run(None, 98), checkpoints.epoch_file(0))  # of an older version: it may be of this run
    checkpoints.save(of_run("this", 3), 3, is_best=True)
    aside = [path for path in names(tmp_path) if path.endswith(".abandoned")]
    assert aside == [f"net_{name}.pth.abandoned" for name in ("best", "ep-0001", "ep-0003", "last")]
    assert [number_in(tmp_path / name) for name in aside] == [99] * 4
    assert names(tmp_path) == sorted([*aside, "net_best.pth", "net_ep-0003.pth", "net_last.pth"])
    assert number_in(checkpoints.epoch_file(3)) == number_in(checkpoints.best) == number_in(checkpoints.last) == 3
    assert [name in caplog.text for name in aside] == [True] * 4
    torch.save({"state_dict": {}, "number": 97}, checkpoints.epoch_file(4))  # weights of another project
    checkpoints.save(of_run("this", 4), 4)
    assert number_in(tmp_path / "net_ep-0004.pth.abandoned") == 97


def test_a_link_to_an_epoch_s_file_keeps_its_state_when_that_file_goes(tmp_path, caplog, monkeypatch):
    """Programs that save space make one of two equal files a link: --keep then deleted the only best state."""
    monkeypatch.setattr(LOG, "propagate", True)
    checkpoints = CheckpointFolder(tmp_path, "net", keep=1)
    for epoch in (1, 2):
        checkpoints.save({"number": epoch}, epoch, is_best=epoch == 1)
    checkpoints.epoch_file(1).write_bytes(checkpoints.best.read_bytes())
    for link, target in ((checkpoints.best, "net_ep-0001.pth"), (checkpoints.epoch_file(2), "net_last.pth")):
        link.unlink()
        link.symlink_to(target)
    checkpoints.save({"number": 3}, 3)
    assert names(tmp_path) == ["net_best.pth", "net_ep-0003.pth", "net_last.pth"]
    assert number_in(checkpoints.best) == 1
    assert caplog.text.count("it is now a copy") == 2 and "net_best.pth was a link to net_ep-0001.pth" in caplog.text


def test_links_do_not_follow_a_file_that_the_next_attempt_writes(tmp_path):
    """The states that were put aside at a rewind had the weights of the attempt that followed."""
    checkpoints = CheckpointFolder(tmp_path, "net", keep=0)
    checkpoints.save({"number": 3}, 3)
    for path in (checkpoints.best, checkpoints.last):
        path.unlink(missing_ok=True)
        path.symlink_to("net_ep-0003.pth")
    checkpoints.replace_links()
    moved = checkpoints.move_aside([checkpoints.epoch_file(3), checkpoints.best, checkpoints.last])
    checkpoints.save({"number": 33}, 3, is_best=True)
    assert [number_in(path) for path in moved] == [3, 3, 3]


def test_links_to_other_places_and_of_other_names_stay(tmp_path, caplog, monkeypatch):
    """Files may be on another disk, and a link of one's own may have to follow the newest state."""
    monkeypatch.setattr(LOG, "propagate", True)
    checkpoints = CheckpointFolder(tmp_path / "run", "net", keep=0)
    checkpoints.save({"number": 1}, 1)
    checkpoints.epoch_file(1).rename(tmp_path / "net_ep-0001.pth")
    targets = {"net_ep-0001.pth": "../net_ep-0001.pth", "mine.pth": "net_last.pth", "net_best.pth": "net_ep-0009.pth"}
    for name, target in targets.items():
        (checkpoints.folder / name).symlink_to(target)
    checkpoints.replace_links()
    checkpoints.save({"number": 2})
    assert {name: str((checkpoints.folder / name).readlink()) for name in targets} == targets and not caplog.text
    CheckpointFolder(tmp_path / "none", "net", keep=0).replace_links()


def test_a_folder_named_like_a_checkpoint_ends_no_run(tmp_path):
    """With --keep, each epoch ended with an error about a file that nobody had written."""
    checkpoints = CheckpointFolder(tmp_path, "net", keep=1)
    for name in ("net_ep-0000.pth", ".net_last.pth.1.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "net_ep-٠٠٠٠.pth").write_bytes(b"digits of another script")
    for epoch in (1, 2):
        checkpoints.save({"number": epoch}, epoch)
    checkpoints.remove_leftovers()
    assert checkpoints.epoch_files() == [checkpoints.epoch_file(2)]
    assert len(names(tmp_path)) == 5


def test_where_there_are_no_hard_links_files_are_copied(checkpoints, monkeypatch):
    def refuse(*_):
        raise OSError("not on this file system")

    monkeypatch.setattr(os, "link", refuse)
    checkpoints.save({"number": 1}, 1, is_best=True)
    checkpoints.save({"number": 2})
    assert [number_in(path) for path in (checkpoints.epoch_file(1), checkpoints.best, checkpoints.last)] == [1, 1, 2]


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(checkpoints):
    """Checkpoints fill disks, and torch's own message is a traceback about an inline container."""
    large = {"number": 2, "values": torch.zeros(1_000_000)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match="there is none before it"):
            checkpoints.save(large)
        checkpoints.save({"number": 1})
        problem = r"net_last\.pth cannot be written.*ulimit -f.*the checkpoint before it is intact.*--resume-epoch auto"
        with pytest.raises(TrainingError, match=problem):
            checkpoints.save(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert number_in(checkpoints.last) == 1
    assert names(checkpoints.folder) == ["net_last.pth"]


def test_newest_is_the_last_state_and_else_the_last_whole_file(checkpoints):
    """A full disk or an incomplete copy must not cost more than the epochs since the last whole file."""
    assert checkpoints.newest() is None
    for epoch in (1, 2):
        checkpoints.save({"number": epoch}, epoch)
    checkpoints.save({"number": 99})
    path, checkpoint = checkpoints.newest()
    assert (path, checkpoint["number"]) == (checkpoints.last, 99)
    truncate(checkpoints.last)
    path, checkpoint = checkpoints.newest()
    assert (path, checkpoint["number"]) == (checkpoints.epoch_file(2), 2)
    truncate(checkpoints.epoch_file(2))
    assert checkpoints.newest()[1]["number"] == 1


def test_a_damaged_file_is_named_and_kept_for_its_owner(checkpoints, caplog, monkeypatch):
    """Going on from an older epoch costs hours, which must not happen in silence; nor may the file be overwritten."""
    monkeypatch.setattr(LOG, "propagate", True)
    for epoch in (1, 2):
        checkpoints.save({"number": epoch}, epoch)
    truncate(checkpoints.last)
    content = checkpoints.last.read_bytes()
    for _ in range(2):  # a second rank
        assert checkpoints.newest()[0] == checkpoints.epoch_file(2)
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(checkpoints.last) in message and str(checkpoints.epoch_file(2)) in message
    assert checkpoints.last.exists()  # an evaluation changes nothing
    checkpoints.remove_leftovers()
    damaged = checkpoints.folder / "net_last.pth.damaged"
    assert not checkpoints.last.exists() and damaged.read_bytes() == content
    checkpoints.save({"number": 3})
    truncate(checkpoints.last)
    checkpoints.newest()
    checkpoints.remove_leftovers()
    assert damaged.read_bytes() == content
    assert (checkpoints.folder / "net_last.pth.damaged-2").exists()


def test_a_file_that_cannot_be_read_now_is_not_taken_for_damaged(checkpoints, monkeypatch):
    """It may be whole once the disk or the permission is back; the run would have gone back and overwritten it."""
    checkpoints.save({"number": 1}, 1)

    open_file = Path.open

    def fail(path, *args):
        if path == checkpoints.last:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return open_file(path, *args)

    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(DataError, match=r"net_last\.pth.*Input/output error"):
        checkpoints.newest()
    monkeypatch.undo()
    checkpoints.last.unlink()
    checkpoints.last.symlink_to(checkpoints.folder / "unmounted.pth")
    with pytest.raises(DataError, match=r"net_last\.pth.*link"):
        checkpoints.newest()


def test_a_folder_that_is_deleted_while_it_is_written_to_has_nothing_left(checkpoints, monkeypatch):
    """The message promised a checkpoint, to resume from, that was gone with the folder."""
    checkpoints.save({"number": 1})
    monkeypatch.setattr(torch, "save", lambda *_: shutil.rmtree(checkpoints.folder) or checkpoints.folder.rmdir())
    with pytest.raises(TrainingError, match="there is none before it"):
        checkpoints.save({"number": 2})


def test_a_disk_that_fills_at_the_copy_is_named(checkpoints, monkeypatch):
    """The state itself has been written, so the remedy is to go on from it."""

    def fill(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(TrainingError, match=r"net_ep-0001\.pth cannot be written: the disk is full.*net_last\.pth"):
        checkpoints.save({"number": 1}, 1)
    assert number_in(checkpoints.last) == 1 and names(checkpoints.folder) == ["net_last.pth"]


@pytest.mark.parametrize("failing", ["net_ep-0002.pth", "net_best.pth"])
def test_an_epoch_whose_files_cannot_be_written_is_not_finished(checkpoints, monkeypatch, failing):
    """`last` would be the beginning of the next epoch: the files, and the best state of the run, lost for ever."""
    checkpoints.save({"number": 1}, 1, is_best=True)
    copy = shutil.copyfile

    def fill(source, target):
        if failing in target.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    state = {"number": 2, "position": {"epoch": 3, "step": 0}, "precise_bn": {}, "precise_bn_of": 5}
    unfinished = {"position": {"epoch": 2, "step": 7}, "progress": {"epoch": 2}}
    with pytest.raises(TrainingError, match=rf"{failing} .*: the disk is full; net_last.*step 7 of epoch 2.* again"):
        checkpoints.save(state, 2, True, unfinished)
    assert read_checkpoint(checkpoints.last) == {"number": 2, **unfinished}
    assert number_in(checkpoints.best) == 1
    assert not list(checkpoints.folder.glob(".*.tmp"))


def test_a_file_written_over_by_hand_changes_no_other(checkpoints):
    """`cp ep-0001.pth last.pth` writes into the file: with hard links, epoch 2 would be lost without a word."""
    checkpoints.save({"number": 1}, 1)
    checkpoints.save({"number": 2}, 2, is_best=True)
    shutil.copyfile(checkpoints.epoch_file(1), checkpoints.last)
    assert number_in(checkpoints.last) == 1
    assert number_in(checkpoints.epoch_file(2)) == number_in(checkpoints.best) == 2


def test_leftovers_of_all_files_are_removed_and_no_other_file(checkpoints):
    """A run that is killed a hundred times would leave a hundred of them."""
    checkpoints.save({"number": 1})
    for name in (".options.json.9.tmp", ".scores_val.csv.99.tmp", ".net_last.pth.9.tmp", ".notes.2026.tmp", "a.9.tmp"):
        (checkpoints.folder / name).touch()
    checkpoints.remove_leftovers()
    assert names(checkpoints.folder) == [".notes.2026.tmp", "a.9.tmp", "net_last.pth"]


def test_if_no_file_can_be_read_that_is_an_error_not_a_fresh_start(checkpoints):
    checkpoints.save({"number": 1})
    truncate(checkpoints.last)
    with pytest.raises(DataError, match=r"/run .*net_last\.pth"):
        checkpoints.newest()


def truncate(path: Path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_a_truncated_file_is_refused_by_name(checkpoints):
    checkpoints.save({"number": 1, "values": torch.zeros(1000)})
    truncate(checkpoints.last)
    with pytest.raises(DataError, match=r"net_last\.pth"):
        read_checkpoint(checkpoints.last)


@pytest.mark.parametrize("content", [b"", b"\x80", b"PK\x03\x04", b"<html>not found</html>", bytes(range(1, 256)) * 2])
def test_anything_else_is_refused_by_name(tmp_path, content):
    """A download may give an error page under the right name."""
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.pth"):
        read_checkpoint(tmp_path / "x.pth")


class Attack:
    def __reduce__(self):
        return os.mkdir, ("owned",)


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: Path(path).write_bytes(pickle.dumps(value, protocol=2))]
)
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"weights": {"a": torch.zeros(2)}, "extra": Attack()}, tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"x\.pth.*Python objects"):
        read_checkpoint(tmp_path / "x.pth")
    assert not (tmp_path / "owned").exists()


def test_a_look_at_a_small_checkpoint_does_not_take_all_memory(tmp_path):
    """A `best` or `last` of 800 bytes took four gigabytes when a run was resumed or reported."""
    saved = {"position": {"epoch": 1, "step": 0}, "progress": {}, "run_key": "other", "format": 1}
    torch.save(saved, tmp_path / "x.pth")
    assert is_foreign(tmp_path / "x.pth", {"run_key": "mine"})
    content = pickle.dumps(saved | {"large": bytearray(9)}, protocol=2)
    with zipfile.ZipFile(tmp_path / "x.pth") as archive, zipfile.ZipFile(tmp_path / "y.pth", "w") as copy:
        for entry in archive.infolist():
            copy.writestr(entry.filename, content if entry.filename.endswith("data.pkl") else archive.read(entry))
    with pytest.raises(DataError, match=r"y\.pth.*bytearray"):
        read_plainly(tmp_path / "y.pth")
    assert read_plain_part(tmp_path / "y.pth") is None
    assert not is_foreign(tmp_path / "y.pth", {"run_key": "mine"})


def test_a_resume_reads_each_epoch_once(tmp_path, monkeypatch):
    """Of hundreds of files on a network's disk, it read the first MiB twice."""
    progress = {"reported": [[1, 0.5, None]]}
    torch.save({"run_key": "mine", "progress": progress}, tmp_path / "x.pth")
    opened: list[Path] = []
    read = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *args, **kw: (opened.append(path), read(path, *args, **kw))[1])
    assert not is_of_other_attempt(tmp_path / "x.pth", 1, {"run_key": "mine", "progress": progress})
    assert opened == [tmp_path / "x.pth"]


def test_a_file_without_a_dict_is_refused(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "x.pth")
    with pytest.raises(DataError, match=r"x\.pth.*\blist\b"):
        read_checkpoint(tmp_path / "x.pth")


def test_a_missing_file_is_named_with_what_is_there_instead(checkpoints):
    checkpoints.save({"number": 1}, epoch=20)
    with pytest.raises(DataError, match=r"net_ep-0021\.pth .*net_ep-0020\.pth, net_last\.pth"):
        read_checkpoint(checkpoints.epoch_file(21))
    with pytest.raises(DataError, match=r"nowhere/x\.pth"):
        read_checkpoint(checkpoints.folder / "nowhere" / "x.pth")


def test_own_checkpoints_are_told_from_others():
    assert is_resumable({"format": 1, "position": {"epoch": 2, "step": 0}})
    assert not is_resumable({"state_dict": {}, "epoch": 3})


def kill_while_saving(server, folder, seconds):
    process = server.start(SAVER, folder, folder=folder.parent)
    while not (folder / "net_last.pth").exists():
        assert process.poll() is None, process.output()
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()


def check_whole(folder):
    checkpoints = CheckpointFolder(folder, "net", keep=2)
    for path in folder.glob("net_*.pth"):
        checkpoint = read_checkpoint(path)
        assert (checkpoint["values"] == checkpoint["number"]).all()
    _, newest = checkpoints.newest()
    epochs = [number_in(path) for path in checkpoints.epoch_files()]
    assert newest["number"] in (epochs[-1] - 1, epochs[-1])  # an epoch's file is written first
    checkpoints.remove_leftovers()
    assert not [name for name in names(folder) if name.startswith(".")]


@pytest.mark.parametrize("kills", [4, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_while_saving_every_file_is_the_old_or_the_new_one_whole(server, tmp_path, kills):
    """If a half-written checkpoint is taken for a whole one, the run is lost."""
    folder = tmp_path / "run"
    leftovers = 0
    for _ in range(kills):
        kill_while_saving(server, folder, random.uniform(0, 0.4))
        leftovers += any(name.startswith(".") for name in names(folder))
        check_whole(folder)
        for path in folder.iterdir():
            path.unlink()
    if kills > 10:
        assert leftovers  # the kills really came while a file was being written
