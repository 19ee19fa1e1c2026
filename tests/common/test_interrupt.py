"""Ctrl-C in the seconds before a command has begun."""

import os
import signal
import subprocess
import sys

import pytest

import train  # noqa: F401 - a command's package
from common.cli import run_command
from common.interrupt import end_quietly_until_run
from data import DataError, open_split
from tests.processes import ROOT

WORDS = [("train_custom.py",), ("-m", "data.preview"), ("-m", "train.export")]


def end_at_import(tmp_path, words, number, **environment):
    """The exit status and standard error of a command that gets a signal while it imports torch."""
    # Short naps: a signal just before a long one would wait for its end.
    naps = "for _ in range(600):\n    time.sleep(0.1)\n"
    (tmp_path / "torch.py").write_text(f"import time\nprint('importing', flush=True)\n{naps}")
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"PYTHONPATH": paths} | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    return process.returncode, error


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_while_torch_is_imported_it_is_one_line(tmp_path, words):
    """People start a command, see the mistake and press Ctrl-C: a page from inside torch tells them nothing."""
    assert end_at_import(tmp_path, words, signal.SIGINT) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGUSR1, 143), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_run_that_is_stopped_at_its_imports_has_the_status_of_a_stopped_run(tmp_path, number, status):
    """After SIGUSR1 it was 138, and a job script that asks for 143 did not put the job back into the queue."""
    line = f"stopped by a signal ({number.name}) outside of the training steps: there was nothing to save\n"
    assert end_at_import(tmp_path, WORDS[0], number) == (status, line)
    assert end_at_import(tmp_path, WORDS[0], number, RANK="1") == (status, ""), "the first rank says it"


def test_under_nohup_the_end_of_the_terminal_stops_no_import(tmp_path):
    """`nohup` has the process ignore SIGHUP, and it must stay so."""
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        (tmp_path / "torch.py").write_text(
            "import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\nprint('alive')\nos._exit(7)\n"
        )
        done = subprocess.run(
            [sys.executable, *WORDS[0]], cwd=ROOT, check=False, capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))},
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGHUP, handler)
    assert (done.returncode, done.stdout) == (7, "alive\n")


TIDYING = """
import signal
from common import interrupt
from common.cli import run_command

class Held:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def main():
    held = Held()
    raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt._end)  # as in a command
run_command(main)
"""


def test_a_second_ctrl_c_shows_no_traceback_of_what_is_tidied_up():
    """Impatient users press it twice, and took the traceback for a fault."""
    done = subprocess.run([sys.executable, "-c", TIDYING], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_notebook_goes_on_after_ctrl_c_in_a_command_that_it_has_called():
    """A later Ctrl-C would end its kernel, with all that is in its memory."""

    def interrupted():
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        run_command(interrupted)
    assert signal.getsignal(signal.SIGINT) is before


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
    assert signal.getsignal(signal.SIGUSR1) is not signal.SIG_DFL
    with pytest.raises(DataError):
        open_split(tmp_path, "train", clip_length=4, clip_size=16, interval=1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
