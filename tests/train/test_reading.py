"""When workers start and read: before the network is on the device, and an epoch while another one is validated."""

import sys

import pytest

from tests.runs import TINY, TINY_FLAGS

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
