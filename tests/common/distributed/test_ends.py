"""How the ranks of `--gpus` end before they have connected, and when all fail or finish."""

import json
import signal
import time

import pytest
import torch

from network.resnet3d import Recursion
from tests.common.distributed.test_launch import assert_nothing_is_left, go, rank_of, saving_slowly, wait_until
from tests.processes import Process
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_all_whole
from tests.small_dataset import write_small_dataset
from tests.tiny_network import TinyNetwork

SAID_BY_LAUNCHER = "stopped by a signal (SIGTERM) before it began: there was nothing to save\n"
SAID = "stopped by a signal (SIGTERM) outside of the training steps: there was nothing to save\n"


@pytest.fixture
def standing(server, small_dataset, tmp_path):
    """Start a run that stands at a place, with other ranks that connect meanwhile."""

    def start(where: str, ranks: int, *flags: object, dataset=small_dataset, **environment: str) -> Process:
        script = TINY.with_name("train_standing.py")
        flags = ("--dataset", dataset, *TINY_FLAGS, "--gpus", ranks, "--workers", 0, "--model-dir", "run", *flags)
        process = server.start(script, *flags, folder=tmp_path, environment={"STAND": where} | environment)
        wait_until((tmp_path / where).exists, process.output)
        if where.startswith("rank"):
            wait_until((tmp_path / "connecting").exists, process.output)
        return process

    return start


@pytest.mark.parametrize("stands", [0, 1])
def test_a_signal_while_ranks_connect_ends_them_at_once(standing, stands):
    """A rank that waits in C++ for the others met no signal, and the run stood for ten minutes."""
    process = standing(f"rank_{stands}", 2)
    process.send(signal.SIGTERM)
    assert process.wait() == 143, process.output()
    assert process.stderr == SAID
    assert_nothing_is_left(process)


def test_ctrl_c_while_ranks_connect_ends_them_at_once(standing):
    """It took half a minute, or a second one."""
    process = standing("rank_0", 2)
    process.send(signal.SIGINT, rank_of(process, 1))
    assert process.wait() == 130, process.output()
    assert_nothing_is_left(process)


def test_a_rank_that_fails_before_it_connects_ends_those_that_wait_for_it(standing, tmp_path):
    """They were killed half a minute later."""
    process = standing("rank_0", 2)
    (tmp_path / "fail").touch()
    go(tmp_path)
    assert process.wait() == 1, process.output()
    assert_nothing_is_left(process)


@pytest.mark.parametrize("environment", [{}, {"DEFAULT_ACTION": "yes"}], ids=str)
@pytest.mark.parametrize("stands", [0, 1])
def test_a_signal_to_one_rank_before_it_connects_stops_the_others(standing, stands, environment):
    """They waited for an hour; and a rank that the system had ended by the signal was a failure of the run."""
    process = standing(f"rank_{stands}", 2, **environment)
    process.send(signal.SIGTERM, rank_of(process, stands))
    assert process.wait() == 143, process.output()
    assert process.stderr == (SAID_BY_LAUNCHER if environment else SAID)  # there was no line at all
    assert_nothing_is_left(process)


def test_ranks_whose_launcher_is_killed_before_they_connect_end(standing):
    """They would stay for ever, each with its memory, and the next run would find its GPUs occupied."""
    process = standing("rank_0", 2)
    process.send(signal.SIGKILL)
    assert_nothing_is_left(process)


@pytest.mark.parametrize("evaluates", [False, True])
def test_a_signal_while_the_first_rank_looks_at_videos_stops_all(standing, tmp_path, evaluates):
    """The others were at the first step by then, and lost it: status 1, and no job script starts such a run again."""
    weights = {"state_dict": TinyNetwork(4, Recursion(False, "final")).state_dict()}
    torch.save(weights, tmp_path / "weights.pth")
    process = standing("telling", 2, *(("--evaluate", "--pretrained-3d", "weights.pth") if evaluates else ()))
    time.sleep(2)
    process.send(signal.SIGTERM)
    assert process.wait() == 143, process.output()
    assert process.output().count("stopped by a signal (SIGTERM)") == 1
    assert "lost the connection" not in process.output()
    assert_nothing_is_left(process)


def test_a_signal_to_a_launcher_whose_ranks_have_ended_changes_nothing(standing, tmp_path):
    """A finished run had status 143, and a job script put it back into the queue."""
    process = standing("launcher_ended", 2, "--end-epoch", 1, "--lr-steps", 9)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        process.send(number)
    go(tmp_path)
    assert process.wait() == 0, process.output()
    assert process.stderr == ""


def test_ctrl_z_is_refused_and_two_ctrl_c_are_said_once(standing):
    """Ctrl-Z stopped the launcher alone. At the second Ctrl-C, it said again what the first rank had said."""
    process = standing("closing", 2, "--end-epoch", 1, "--lr-steps", 9, STAND_2="rank_ended")
    process.send(signal.SIGTSTP)
    wait_until(lambda: process.stderr == "Ctrl-Z has no effect with --gpus: all processes go on\n", process.output)
    wait_until(lambda: len(process.children()) == 1, process.children)  # the other rank has ended
    process.send(signal.SIGINT)
    wait_until((process.stderr_file.parent / "rank_ended").exists, process.output)
    process.send(signal.SIGINT)
    assert process.wait() == 130, process.output()
    assert process.stderr.splitlines()[1:] == ["interrupted"]
    assert_nothing_is_left(process)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_to_a_finished_run_changes_nothing(standing, tmp_path, ranks):
    """A run whose callbacks were closing had status 143, and a job script put it back into the queue."""
    process = standing("closing", ranks, "--end-epoch", 1, "--lr-steps", 9)
    process.send(signal.SIGTERM)
    process.send(signal.SIGUSR1)
    go(tmp_path)
    assert process.wait() == 0, process.output()
    assert json.loads(process.stdout.splitlines()[-1])["epochs"] == 1
    assert "stopped by" not in process.output()


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_reason_of_a_failure_is_said_at_once_and_stays(standing, tmp_path, ranks):
    """A signal, such as that of the launcher to the other ranks, replaced it by "there was nothing to save"."""
    dataset = write_small_dataset(tmp_path / "data", train=32, val=2, frames=4)
    next(dataset.glob("jpg/*/train_003/frames.db")).write_bytes(b"no database")
    process = standing("closing", ranks, "--end-epoch", 1, "--lr-steps", 9, dataset=dataset)
    assert "frames.db" in process.stderr
    process.send(signal.SIGTERM)
    go(tmp_path)
    assert process.wait() == 2, process.output()
    assert process.stderr.count("\n") == 1
    assert "stopped by" not in process.output()
    assert "frames.db" in (tmp_path / "run" / RUN / "train.log").read_text().splitlines()[-1]


def test_a_failure_that_all_ranks_share_is_said_at_once_and_costs_no_checkpoint(server, small_dataset, tmp_path):
    """The other ranks ended at once, and the first was killed while it wrote: neither a reason nor a file was left."""
    flags = ("--save-every-steps", 1, "--lr-base", 1e30, "--warmup-epochs", 0)
    process = saving_slowly(server, small_dataset, tmp_path, 2, *flags)
    process.wait_for("not finite")
    other = rank_of(process, 1)
    process.send(signal.SIGTERM, other)  # it, too, is to wait
    assert other in process.children()
    go(tmp_path)
    assert process.wait() == 1, process.output()
    assert process.stdout.count("is not finite") == 1
    assert_nothing_is_left(process)
    assert_all_whole(tmp_path / "run" / RUN)


def test_a_rank_that_is_lost_costs_no_checkpoint_that_is_being_written(server, small_dataset, tmp_path):
    """The first rank was killed half a minute later, whatever it did: on a slow disk an epoch was lost."""
    process = saving_slowly(server, small_dataset, tmp_path)
    first = rank_of(process, 0)
    process.send(signal.SIGKILL, rank_of(process, 1))
    time.sleep(4)  # longer than the time to end, which is a second here
    assert first in process.children()
    go(tmp_path)
    assert process.wait() == 1, process.output()
    assert "rank 1 was killed by SIGKILL" in process.stderr
    assert_nothing_is_left(process)
    assert (tmp_path / "run" / RUN / LAST).exists()
    assert_all_whole(tmp_path / "run" / RUN)
