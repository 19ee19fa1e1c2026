"""Checkpoints that are written while the run goes on: the state of their step, one at a time, whole or absent."""

import logging
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch

from common.errors import DataError, TrainingError
from network.weights.reading import read_checkpoint
from tests.devices import DEVICES
from tests.processes import ROOT
from tests.runs import assert_same
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.state import snapshot
from train.checkpoint.writer import CheckpointWriter


class SlowFolder(CheckpointFolder):
    """A folder on a disk that writes only while `gate` is open."""

    def __init__(self, folder):
        super().__init__(folder, "net", keep=0)
        self.gate = threading.Event()
        self.writing = self.most_at_once = 0

    def save(self, checkpoint, *more):
        self.writing += 1
        self.most_at_once = max(self.most_at_once, self.writing)
        assert self.gate.wait(60)
        super().save(checkpoint, *more)
        self.writing -= 1


@pytest.fixture
def slow(tmp_path):
    return SlowFolder(tmp_path)


def test_the_run_goes_on_while_a_checkpoint_is_written(slow):
    """On a slow disk every save cost all GPUs the time of the file."""
    writer = CheckpointWriter(slow)
    writer.start({"number": 1}, epoch=1, is_best=True)
    writer.check()
    assert not slow.last.exists()
    slow.gate.set()
    writer.wait()
    for path in (slow.last, slow.best, slow.epoch_file(1)):
        assert read_checkpoint(path) == {"number": 1}


def test_a_written_snapshot_is_released(slow):
    """Else the first rank's machine would hold two of them while the next one is taken."""
    slow.gate.set()
    writer = CheckpointWriter(slow)
    values = torch.zeros(1000)
    kept = weakref.ref(values)
    writer.start({"values": values})
    del values
    writer.wait()
    assert kept() is None


def test_no_two_checkpoints_are_written_at_once(slow):
    """The older one would replace the newer one, or both would write the same temporary file."""
    writer = CheckpointWriter(slow)
    writer.start({"number": 1})
    threading.Timer(0.2, slow.gate.set).start()
    writer.start({"number": 2})
    writer.wait()
    assert slow.most_at_once == 1
    assert read_checkpoint(slow.last) == {"number": 2}


@pytest.mark.parametrize("error", [None, DataError("a video"), KeyboardInterrupt()])
def test_however_the_run_ends_the_file_is_written_before(slow, error):
    """The last epoch's checkpoint would be lost, or the folder given to the next run while this one writes."""
    writer = CheckpointWriter(slow)
    raised = None
    try:
        with writer:
            writer.start({"number": 1})
            threading.Timer(0.2, slow.gate.set).start()
            if error:
                raise error
    except (DataError, KeyboardInterrupt) as found:
        raised = found
    assert raised is error
    assert read_checkpoint(slow.last) == {"number": 1}


def test_an_interrupt_while_the_run_waits_does_not_lose_the_file(tmp_path):
    """Ctrl-C at the end of a run would leave it without its last checkpoint."""
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(tmp_path / "net_last.pth") == {"number": 1}


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.writer import CheckpointWriter

folder = CheckpointFolder(Path(sys.argv[1]), "net", 3)
save = folder.save
def save_slowly(*args):
    time.sleep(1)
    save(*args)
folder.save = save_slowly
try:
    with CheckpointWriter(folder) as writer:
        writer.start({"number": 1})
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        writer.wait()
except KeyboardInterrupt:
    assert folder.last.exists()
else:
    sys.exit(3)
"""


def blocked(folder):
    """A folder whose `last` cannot be written, also by root."""
    folder.last.mkdir()
    folder.gate.set()
    return CheckpointWriter(folder)


def test_a_write_that_fails_is_told_once_with_its_reason(slow):
    """A run that trained on without checkpoints would lose days."""
    writer = blocked(slow)
    writer.start({"number": 1})
    with pytest.raises(TrainingError, match=r"net_last\.pth cannot be written: .*--resume-epoch auto"):
        writer.wait()
    writer.wait()
    writer.start({"number": 2})
    with pytest.raises(TrainingError, match="net_last"):
        for _ in range(600):
            writer.check()
            time.sleep(0.1)
    writer.start({"number": 3})
    with pytest.raises(TrainingError, match="net_last"):
        writer.start({"number": 4})
    with pytest.raises(TrainingError, match="net_last"), writer:
        writer.start({"number": 5})


def test_files_of_an_epoch_that_failed_are_written_before_the_next_checkpoint(slow):
    """After a full disk and a signal to stop, `last` would be a later state: those files would never be written."""
    writer = blocked(slow)
    writer.start({"number": 1}, 1, True)
    writer.wait_and_log()
    slow.last.rmdir()
    writer.start({"number": 2})
    writer.wait()
    assert read_checkpoint(slow.best) == read_checkpoint(slow.epoch_file(1)) == {"number": 1}
    assert read_checkpoint(slow.last) == {"number": 2}


def test_a_write_that_fails_does_not_hide_why_the_run_ends(slow, caplog):
    writer = blocked(slow)
    with caplog.at_level(logging.ERROR, "srtg"), pytest.raises(DataError, match="a video"), writer:
        writer.start({"number": 1})
        raise DataError("a video")
    assert "net_last.pth cannot be written" in caplog.text


@pytest.mark.parametrize("device", DEVICES)
def test_later_steps_do_not_change_a_snapshot(device):
    """The file would hold the weights of one step, the momentum of another and the position of a third."""
    network = torch.nn.Sequential(torch.nn.Conv3d(3, 8, 3), torch.nn.BatchNorm3d(8))
    network = network.to(device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)

    def step():
        network(torch.randn(2, 3, 4, 5, 5, device=device)).square().sum().backward()
        optimizer.step()

    step()
    state = {"weights": network.state_dict(), "optimizer": optimizer.state_dict(), "counts": [1, (2.0, "x"), None]}
    copied, again = snapshot(state), snapshot(state)
    step()
    assert_same(copied, again)
    assert {value.device.type for value in copied["weights"].values()} == {"cpu"}
    assert not torch.equal(copied["weights"]["0.weight"], state["weights"]["0.weight"].cpu())
    assert copied["weights"]["0.weight"].is_contiguous() and not state["weights"]["0.weight"].is_contiguous()
    assert copied["weights"]._metadata == state["weights"]._metadata
    assert not any(value.requires_grad for value in copied["weights"].values())
    for number, values in state["optimizer"]["state"].items():
        buffer, kept = values["momentum_buffer"], copied["optimizer"]["state"][number]["momentum_buffer"]
        assert not torch.equal(buffer.cpu(), kept) and kept.is_contiguous()
