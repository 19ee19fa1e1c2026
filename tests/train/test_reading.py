"""When workers start and read: before the network is on the device, and what ends a run whose workers stand still."""

import signal
import sys
import time

import pytest

from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_all_whole

STARTS = TINY.with_name("train_noting_starts.py")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there a server starts the workers, which is no fork")
def test_all_workers_start_before_the_network_is_on_the_device(server, small_dataset, tmp_path):
    """Forks of a process with the threads and the memory of a GPU take longer, and the first validation waited."""
    flags = (*TINY_FLAGS, "--workers", 2, "--end-epoch", 2, "--lr-steps", 5)
    process = server.start(STARTS, "--dataset", small_dataset, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    assert (tmp_path / "starts").read_text().split() == ["fork"] * 4 + ["device", "validation", "validation"]
    (tmp_path / "starts").unlink()
    again = server.start(STARTS, "--dataset", small_dataset, *flags, "--resume-epoch", "auto", folder=tmp_path)
    assert again.wait() == 0, again.output()
    assert (tmp_path / "starts").read_text().split() == ["device"]  # nothing is left to read


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_whose_reading_stands_still_saves_after_a_signal(server, small_dataset, tmp_path, ranks):
    """The signal had no effect while the disk did not answer, and the scheduler's kill lost what was not saved."""
    flags = (*TINY_FLAGS, "--workers", 2, "--lr-steps", 500, "--end-epoch", 500, "--gpus", ranks, "--model-dir", "run")
    process = server.start(TINY, "--dataset", small_dataset, *flags, folder=tmp_path)
    process.wait_for("Batch [")
    reading = [pid for pid in process.members() if pid not in (process.pid, *process.children())]
    for pid in reading if ranks > 1 else process.children():
        process.send(signal.SIGSTOP, pid)
    time.sleep(3)  # in which the batches that were read ahead are used up
    process.send(signal.SIGTERM)
    assert process.wait(90) == 143, process.output()
    if ranks == 1:  # else the other rank may have been the one that waited
        assert "the next batch could not be read: no clips came within 5 s" in process.stdout
    assert f"saved run/{RUN}/{LAST}" in process.stdout.replace("\n", "")
    assert not process.members()
    assert_all_whole(tmp_path / "run" / RUN)
