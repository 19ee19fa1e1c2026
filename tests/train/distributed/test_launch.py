"""Several ranks train what one trains, and the loss of one does not leave the others hanging."""

import json
import re
import shutil
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from common.ranks import Ranks
from network.weights.reading import read_checkpoint
from tests.processes import Process, Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_all_whole, assert_same_run, rows, state
from train.distributed.rendezvous import rendezvous

TORCHRUN = ("-m", "torch.distributed.run")
LENGTH = ("--workers", 0, "--end-epoch", 5, "--lr-steps", 2, 4)
CYCLES = (*LENGTH, "--long-cycles", "--short-cycles", "--save-every-steps", 1)


def start(server: Server, dataset: Path, folder: Path, *flags: object) -> Process:
    return server.start(TINY, "--dataset", dataset, *TINY_FLAGS, *flags, folder=folder)


def finish(process: Process) -> str:
    assert process.wait() == 0, process.output()
    return process.stdout


def ranks_of(process: Process) -> list[int]:
    """The process numbers of a launcher's ranks."""
    return process.children()


def assert_nothing_is_left(process: Process) -> None:
    """Also no reading process: one that has lost its parent looks for it every few seconds."""
    deadline = time.monotonic() + 30
    while process.members():
        assert time.monotonic() < deadline, process.members()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def peace(_server: Server, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two ranks with all cycles that nothing disturbs."""
    folder = tmp_path_factory.mktemp("peace")
    finish(start(_server, small_dataset, folder, "--model-dir", folder, "--gpus", 2, *CYCLES))
    return folder / RUN


def test_two_ranks_with_synchronised_statistics_train_what_one_trains(server, small_dataset, tmp_path):
    """The same batches, losses and updates up to the order in which numbers are added: of three updates, the losses
    agree to a hundred-thousandth, and then rounding grows from step to step, as it does in training. (Without --sync-bn
    each rank normalises by its own clips: other losses.)

    The seven validation videos, which two ranks cannot share equally, count once each.
    """
    flags = ("--batch-size", 32, "--val-batch-size", 2, "--end-epoch", 3, "--lr-base", 0.1, "--workers", 0, "--sync-bn")
    one = start(server, small_dataset, tmp_path, "--model-dir", "one", *flags)
    two = start(server, small_dataset, tmp_path, "--model-dir", "two", "--gpus", 2, *flags)
    finish(one)
    assert finish(two).count("Plan of the run") == 1
    for name in ("scores_train.csv", "scores_val.csv"):
        ours, theirs = rows(tmp_path / "two" / RUN / name), rows(tmp_path / "one" / RUN / name)
        assert [row["epoch"] for row in ours] == [row["epoch"] for row in theirs] == list("123")
        for mine, other in zip(ours, theirs, strict=True):
            assert float(mine["loss"]) == pytest.approx(float(other["loss"]), rel=1e-5)
            assert mine["top1"] == other["top1"]
            assert mine.get("clips") == other.get("clips") == ("32" if "train" in name else None)
            assert mine.get("videos") == other.get("videos") == ("7" if "val" in name else None)
    ours, theirs = state(tmp_path / "two" / RUN)["weights"], state(tmp_path / "one" / RUN)["weights"]
    for name, value in ours.items():
        assert (value - theirs[name]).abs().max() <= 1e-3 * max(1, value.abs().max()), name


def test_a_killed_rank_takes_the_run_down_which_then_goes_on_with_any_number_of_ranks(
    server, small_dataset, tmp_path, peace
):
    """A hang would hold the machine all night; and the loss of a GPU must not be the end of a run."""
    flags = ("--model-dir", "cut", *CYCLES)
    process = start(server, small_dataset, tmp_path, *flags, "--gpus", 2, "--workers", 1)
    process.wait_for("Epoch [003/")
    begin = time.monotonic()
    process.send(signal.SIGKILL, ranks_of(process)[-1])
    assert process.wait() == 1
    assert time.monotonic() - begin < 60
    assert "error: rank 1 was killed by SIGKILL; the other ranks were stopped" in process.stderr
    assert "Traceback" not in process.output()
    assert_nothing_is_left(process)
    assert_all_whole(tmp_path / "cut" / RUN)
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    again = start(server, small_dataset, tmp_path, *flags, "--gpus", 2, "--resume-epoch", "auto")
    alone = start(server, small_dataset, tmp_path, "--model-dir", "alone", *CYCLES, "--resume-epoch", "auto")
    finish(again)
    assert_same_run(tmp_path / "cut" / RUN, peace)
    finish(alone)
    assert state(tmp_path / "alone" / RUN)["position"] == state(peace)["position"]
    assert [row["clips"] for row in rows(tmp_path / "alone" / RUN / "scores_train.csv")] == [
        row["clips"] for row in rows(peace / "scores_train.csv")
    ]


def test_torchrun_starts_a_lost_rank_again_and_the_run_goes_on_by_itself(server, small_dataset, tmp_path, peace):
    """With --max-restarts: nobody is there to type --resume-epoch auto."""
    process = server.start(
        *TORCHRUN, "--standalone", "--nproc-per-node", 2, "--max-restarts", 1, TINY, "--dataset", small_dataset,
        *TINY_FLAGS, "--model-dir", "run", *CYCLES, folder=tmp_path,
    )  # fmt: skip
    process.wait_for("Epoch [002/")
    process.send(signal.SIGKILL, ranks_of(process)[0])
    output = finish(process)
    assert re.search(r"resuming run/.*_last\.pth at step \d+ of epoch \d+", output)
    assert_same_run(tmp_path / "run" / RUN, peace)
    assert json.loads(output.splitlines()[-1])["epochs"] == int(rows(peace / "scores_train.csv")[-1]["epoch"])


def test_a_signal_to_the_launcher_saves_and_ends_all_ranks_with_status_143(server, small_dataset, tmp_path):
    """And a second one, of the other kind, changes nothing."""
    flags = ("--gpus", 2, *CYCLES, "--save-every-steps", 0, "--model-dir", "run", "--end-epoch", 500)
    process = start(server, small_dataset, tmp_path, *flags)
    process.wait_for("Batch [")
    process.send(signal.SIGUSR1)
    time.sleep(0.2)
    process.send(signal.SIGTERM)
    assert process.wait(60) == 143
    assert process.stderr == ""
    assert process.stdout.count("stopped by a signal") == 1
    assert_nothing_is_left(process)
    assert read_checkpoint(tmp_path / "run" / RUN / LAST)["progress"]["global_step"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the system names no threads")
@pytest.mark.parametrize("stop", [False, True])
def test_the_group_has_no_threads_any_more_when_python_leaves(server, small_dataset, tmp_path, stop):
    """One that gives back a tensor then aborts the process now and then, and a run that is done counts as failed."""
    process = server.start(
        TINY.with_name("train_noting_threads.py"), "--dataset", small_dataset, *TINY_FLAGS, "--gpus", 2, *LENGTH,
        "--model-dir", "run", "--end-epoch", 500 if stop else 1, folder=tmp_path,
    )  # fmt: skip
    if stop:
        process.wait_for("Batch [")
        process.send(signal.SIGTERM)
    assert process.wait() == (143 if stop else 0), process.output()
    for rank in range(2):
        names = (tmp_path / f"threads_{rank}").read_text()
        assert "python" in names and "gloo" not in names


def test_ranks_whose_launcher_is_killed_save_and_end(server, small_dataset, tmp_path):
    """Orphans would train on unseen and hold their GPUs."""
    flags = ("--gpus", 2, *LENGTH, "--model-dir", "run", "--end-epoch", 500)
    process = start(server, small_dataset, tmp_path, *flags)
    process.wait_for("Batch [")
    process.send(signal.SIGKILL)
    assert_nothing_is_left(process)
    assert "stopped by a signal" in process.stdout
    assert_all_whole(tmp_path / "run" / RUN)


def test_a_mistake_is_said_once_whatever_the_number_of_ranks(server, tmp_path):
    process = start(server, Path("nowhere"), tmp_path, "--gpus", 2)
    assert process.wait() == 2
    assert process.stderr.count("\n") == 1
    assert "error: dataset folder nowhere does not exist" in process.stderr


def test_processes_that_meet_take_no_dead_ones_for_their_own():
    """After a restart the launcher's store still holds the addresses of those before: ranks would wait for the dead."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for rank in (1, 2, 3):
        store.set(f"guest/{rank}", "dead")
    names = []
    with ThreadPoolExecutor(4) as pool:
        for world_size in (4, 2, 3, 1):  # also a rank that starts long before the first one
            clients = [dist.TCPStore("localhost", store.port, is_master=False) for _ in range(world_size)]
            met = [
                pool.submit(rendezvous, client, rank, world_size) for rank, client in reversed([*enumerate(clients)])
            ]
            (name,) = {future.result(20) for future in met}
            names.append(name)
    assert len(set(names)) == 4


def test_a_world_of_one_waits_for_nobody():
    ranks = Ranks(0, 0, 1)
    assert ranks.is_first
    assert ranks.sum(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert ranks.maximum(torch.tensor(3.0)) == 3
    assert ranks.gather({"a": 1}) == [{"a": 1}]
    assert ranks.decide(True) is True
    assert ranks.decide(False) is False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [False, True])
def test_two_machines_train_lose_one_go_on_and_take_it_back(server, small_dataset, tmp_path, comes_back):
    """Two torchrun agents with a rendezvous on loopback; the one without the rendezvous is lost with its rank.

    To a machine that comes back it is the first start, to the other one the second or third. (torchrun of torch 2.13
    takes it back only with a store of its own for each start; else both wait for each other until they give up.)
    """
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1" if comes_back else "0"}
    rendezvous = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-id", "job-17")
    torchrun = (*TORCHRUN, "--nnodes", "1:2", "--nproc-per-node", 1, "--max-restarts", 3, *rendezvous)
    run = (TINY, "--dataset", small_dataset, *TINY_FLAGS, "--model-dir", "run", *CYCLES, "--end-epoch", 200)

    def join() -> Process:
        conf = ("--rdzv-conf", "last_call_timeout=8")
        return server.start(*torchrun, *conf, *run, folder=tmp_path, environment=environment)

    first = join()
    time.sleep(2)  # the first one has the rendezvous
    second = join()

    def both() -> str:
        return first.output() + second.output()

    deadline = time.monotonic() + 120
    while "Epoch [005/" not in both():
        assert time.monotonic() < deadline, both()
        time.sleep(0.1)
    assert "training on the CPU: 2 processes" in both()
    second.kill()
    first.wait_for("training on the CPU: 1 processes")
    first.wait_for("resuming run/")
    if comes_back:
        second = join()
        while both().count("training on the CPU: 2 processes") < 2:
            assert time.monotonic() < deadline, both()
            time.sleep(0.1)
        assert second.wait(300) == 0, both()
    assert first.wait(300) == 0, both()
    epochs = [int(row["epoch"]) for row in rows(tmp_path / "run" / RUN / "scores_train.csv")]
    assert epochs == list(range(1, epochs[-1] + 1))
    assert f'"epochs": {epochs[-1]},' in both()
