"""On macOS, Linux's own calls are missing and worker processes are spawned. The project must work there too."""

import json

import pytest

from tests.processes import ROOT
from tests.runs import RUN, TINY, TINY_FLAGS
from tests.small_dataset import write_small_dataset

SCRIPT = TINY.with_name("train_without_linux.py")


def test_a_network_is_trained_and_evaluated(server, tmp_path):
    """Two steps and a validation with one worker process, then an evaluation of the checkpoint."""
    dataset = write_small_dataset(tmp_path / "data", train=8, val=3)
    flags = ("--dataset", dataset, *TINY_FLAGS, "--workers", 1, "--model-dir", "run")
    training = server.start(SCRIPT, *flags, "--end-epoch", 1, folder=tmp_path)
    assert training.wait() == 0, training.output()
    trained = json.loads(training.stdout.splitlines()[-1])
    assert trained["steps"] == 2
    checkpoint = tmp_path / "run" / RUN / "srtg_tiny_ep-0001.pth"
    evaluation = server.start(SCRIPT, *flags, "--evaluate", "--pretrained-3d", checkpoint, folder=tmp_path)
    assert evaluation.wait() == 0, evaluation.output()
    evaluated = json.loads(evaluation.stdout.splitlines()[-1])
    assert (evaluated["videos"], evaluated["top1"]) == (3, trained["top1"])


@pytest.mark.parametrize("call", ["sched_getaffinity", "memfd_create", "prctl", "mallopt", "fcntl", "/proc/"])
def test_only_common_asks_for_linux_s_own_calls(call):
    """Elsewhere the check that the call exists would be forgotten, and a command would fail on macOS."""
    packages = ("common", "data", "network", "evaluate", "train")
    files = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    users = {str(path.relative_to(ROOT)) for path in files if call in path.read_text(encoding="utf-8")}
    assert users <= {"common/lock.py", "common/memory.py", "common/processes.py"}
