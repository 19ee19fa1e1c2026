"""Ctrl-C in the seconds before a command has begun."""

import os
import signal
import subprocess
import sys

import pytest

import train  # noqa: F401 - a command's package
from common.interrupt import end_quietly_until_run
from data import DataError, open_split
from tests.processes import ROOT

WORDS = [("train_custom.py",), ("-m", "data.preview"), ("-m", "train.export")]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_while_torch_is_imported_it_is_one_line(tmp_path, words):
    """People start a command, see the mistake and press Ctrl-C: a page from inside torch tells them nothing."""
    # Short naps: a signal just before a long one would wait for its end.
    naps = "for _ in range(600):\n    time.sleep(0.1)\n"
    (tmp_path / "torch.py").write_text(f"import time\nprint('importing', flush=True)\n{naps}")
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "interrupted\n")


def test_other_programs_keep_their_own_handling():
    """A notebook or a test that imports the project must still get KeyboardInterrupt."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_script_of_ones_own_in_the_projects_folder_keeps_its_handling(monkeypatch):
    """Its `except KeyboardInterrupt`, which saves the weights, would never be reached."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(ROOT / "mine.py"), raising=False)
    monkeypatch.setattr(sys, "argv", ["mine.py"])
    end_quietly_until_run("data")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_copy_of_a_script_gets_ctrl_c_once_it_opens_a_dataset(monkeypatch, tmp_path):
    """`train_mine.py` may have a training loop of its own."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(ROOT / "train_mine.py"), raising=False)
    monkeypatch.setattr(sys, "argv", ["train_mine.py"])
    end_quietly_until_run("data")
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(DataError):
        open_split(tmp_path, "train", clip_length=4, clip_size=16, interval=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
