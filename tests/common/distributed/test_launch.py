"""Several ranks train the same as one, and when a rank is lost the others do not hang."""

import json
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from network.resnet3d import Recursion
from network.weights.reading import read_checkpoint
from tests.processes import Process, Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_all_whole, assert_same_run, rows, state
from tests.small_dataset import write_small_dataset
from tests.tiny_network import TinyNetwork

TORCHRUN = ("-m", "torch.distributed.run")
LENGTH = ("--workers", 0, "--end-epoch", 5, "--lr-steps", 2, 4)
CYCLES = (*LENGTH, "--long-cycles", "--short-cycles", "--save-every-steps", 1)


def start(server: Server, dataset: Path, folder: Path, *flags: object) -> Process:
    return server.start(TINY, "--dataset", dataset, *TINY_FLAGS, *flags, folder=folder)


def finish(process: Process) -> str:
    assert process.wait() == 0, process.output()
    return process.stdout


def wait_until(condition: Callable[[], bool], describe: Callable[[], object]) -> None:
    """Fail with a description if the condition does not hold within a time that is long even on a busy machine."""
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.1)


def assert_nothing_is_left(process: Process) -> None:
    """Wait until all processes of the run have ended, also the workers that read clips."""
    wait_until(lambda: not process.members(), process.members)


@pytest.fixture(scope="module")
def undisturbed(_server: Server, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks with all cycles, from begin to end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(_server, small_dataset, folder, "--model-dir", folder, "--gpus", 2, *CYCLES))
    return folder / RUN


def test_two_ranks_with_synchronised_statistics_train_what_one_trains(server, small_dataset, tmp_path):
    """The same batches, losses and updates, up to the order of additions.

    The rounding differences grow with each update, so there are only three. Without --sync-bn each rank would normalise
    with the statistics of its own clips. The seven validation videos do not divide evenly over two ranks and must count
    once each.
    """
    flags = ("--batch-size", 32, "--val-batch-size", 2, "--end-epoch", 3, "--lr-base", 0.1, "--workers", 0, "--sync-bn")
    one = start(server, small_dataset, tmp_path, "--model-dir", "one", *flags)
    two = start(server, small_dataset, tmp_path, "--model-dir", "two", "--gpus", 2, *flags)
    finish(one)
    assert finish(two).count("Plan of the run") == 1, "each rank logs"
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


def test_a_killed_rank_ends_the_run_which_then_resumes_with_any_number_of_ranks(
    server, small_dataset, tmp_path, undisturbed
):
    """A run that hangs would occupy the machine all night, and a run must survive the loss of a GPU."""
    flags = ("--model-dir", "cut", *CYCLES)
    process = start(server, small_dataset, tmp_path, *flags, "--gpus", 2, "--workers", 1)
    process.wait_for("Epoch [003/")
    process.send(signal.SIGKILL, process.children()[-1])
    assert process.wait() == 1
    assert re.search(r"error: .*rank 1\b.*SIGKILL", process.stderr)
    assert "Traceback" not in process.output()
    assert_nothing_is_left(process)
    assert_all_whole(tmp_path / "cut" / RUN)
    shutil.copytree(tmp_path / "cut", tmp_path / "alone")
    again = start(server, small_dataset, tmp_path, *flags, "--gpus", 2, "--resume-epoch", "auto")
    alone = start(server, small_dataset, tmp_path, "--model-dir", "alone", *CYCLES, "--resume-epoch", "auto")
    finish(again)
    assert_same_run(tmp_path / "cut" / RUN, undisturbed)
    finish(alone)
    assert state(tmp_path / "alone" / RUN)["position"] == state(undisturbed)["position"]
    assert [row["clips"] for row in rows(tmp_path / "alone" / RUN / "scores_train.csv")] == [
        row["clips"] for row in rows(undisturbed / "scores_train.csv")
    ]


@pytest.mark.slow
def test_three_ranks_that_resume_train_what_undisturbed_ones_train(server, small_dataset, tmp_path):
    """Bit for bit, also where a part begins to learn. Of two ranks, no order of a sum makes a difference."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "source", "--end-epoch", 1, "--lr-steps", 3))
    flags = ("--gpus", 3, "--batch-size", 12, "--workers", 0, "--lr-steps", 3, "--accumulate", 2, "--freeze", "stem")
    flags = (*flags, "--pretrained-3d", tmp_path / "source" / RUN / LAST, "--resume-epoch", "auto")
    flags = (*flags, "--unfreeze-after", 1)
    one = start(server, small_dataset, tmp_path, *flags, "--model-dir", "one", "--end-epoch", 3)
    for epochs in (2, 3):
        finish(start(server, small_dataset, tmp_path, *flags, "--model-dir", "two", "--end-epoch", epochs))
    finish(one)
    assert_same_run(tmp_path / "one" / RUN, tmp_path / "two" / RUN)


def test_torchrun_restarts_a_lost_rank_and_the_run_resumes_by_itself(server, small_dataset, tmp_path, undisturbed):
    """With --max-restarts, nobody should have to type --resume-epoch auto."""
    process = server.start(
        *TORCHRUN, "--standalone", "--nproc-per-node", 2, "--max-restarts", 1, TINY, "--dataset", small_dataset,
        *TINY_FLAGS, "--model-dir", "run", *CYCLES, folder=tmp_path,
    )  # fmt: skip
    process.wait_for("Epoch [002/")
    process.send(signal.SIGKILL, process.children()[0])
    output = finish(process)
    assert re.search(r"resuming run/.*_last\.pth at (step \d+|the validation) of epoch \d+", output)
    assert_same_run(tmp_path / "run" / RUN, undisturbed)
    assert json.loads(output.splitlines()[-1])["epochs"] == int(rows(undisturbed / "scores_train.csv")[-1]["epoch"])


def test_a_signal_to_the_launcher_saves_and_ends_all_ranks_with_status_143(server, small_dataset, tmp_path):
    """A second signal, of the other kind, changes nothing."""
    flags = ("--gpus", 2, *CYCLES, "--save-every-steps", 0, "--model-dir", "run", "--end-epoch", 500)
    process = start(server, small_dataset, tmp_path, *flags, "--workers", 1)
    process.wait_for("Batch [")
    process.send(signal.SIGUSR1)
    time.sleep(0.2)
    process.send(signal.SIGTERM)
    assert process.wait() == 143
    assert process.stderr == ""
    assert process.stdout.count("stopped by a signal") == 1
    assert_nothing_is_left(process)
    assert read_checkpoint(tmp_path / "run" / RUN / LAST)["progress"]["global_step"] > 0


def saving_slowly(
    server: Server, dataset: Path, folder: Path, ranks: int = 2, *more: object, **environment: str
) -> Process:
    """A run that stands in a checkpoint, after its first epoch or that of LAST, until the file `go` is there."""
    flags = (*TINY_FLAGS, "--gpus", ranks, *LENGTH, "--model-dir", "run", *more)
    # torch's launcher, which `--gpus` used, would kill its ranks after this time.
    environment = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1"} | environment
    script = TINY.with_name("train_saving_slowly.py")
    process = server.start(script, "--dataset", dataset, *flags, folder=folder, environment=environment)
    wait_until((folder / "saving").exists, process.output)
    return process


def go(folder: Path) -> None:
    (folder / "go").touch()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 129)])
def test_after_a_signal_the_ranks_have_long_to_save(server, small_dataset, tmp_path, number, status):
    """On a slow disk they were killed after 30 seconds: nothing was saved, and the status said that it was."""
    process = saving_slowly(server, small_dataset, tmp_path)
    process.send(number)
    time.sleep(3)
    assert process.poll() is None
    go(tmp_path)
    assert process.wait() == status, process.output()
    assert process.stdout.count(f"stopped by a signal ({signal.Signals(number).name}); saved") == 1
    assert_nothing_is_left(process)
    assert_all_whole(tmp_path / "run" / RUN)


def test_ranks_that_do_not_save_in_time_are_killed_and_the_run_has_failed(server, small_dataset, tmp_path):
    """Status 143 says that a checkpoint was saved, and a scheduler would start the run again for nothing."""
    process = saving_slowly(server, small_dataset, tmp_path, LIMIT="1")
    process.send(signal.SIGTERM)
    assert process.wait() == 1, process.output()
    assert re.fullmatch(r"error: rank 0 did not end within 1 s of SIGTERM and was killed: .*\n", process.stderr)
    assert_nothing_is_left(process)


def test_a_rank_that_stands_still_keeps_no_run_that_has_lost_its_first_rank(server, small_dataset, tmp_path):
    """Once a signal had come, the launcher gave it an hour to save, which only the first rank does."""
    process = saving_slowly(server, small_dataset, tmp_path)
    first, other = rank_of(process, 0), rank_of(process, 1)
    process.send(signal.SIGSTOP, other)
    process.send(signal.SIGTERM)
    time.sleep(1)
    process.send(signal.SIGKILL, first)
    assert process.wait(60) == 1, process.output()
    assert process.stderr == "error: rank 0 was killed by SIGKILL; the other ranks were stopped\n"
    assert_nothing_is_left(process)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_whose_checkpoint_cannot_be_saved_after_a_signal_has_failed(server, small_dataset, tmp_path, ranks):
    """On a full disk two ranks had status 143, "a checkpoint was saved", and one had 1."""
    process = saving_slowly(server, small_dataset, tmp_path, ranks, SAVING="fails")
    process.send(signal.SIGTERM)
    go(tmp_path)
    assert process.wait() == 1, process.output()
    assert "No space left" in process.output()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_signal_in_the_last_checkpoint_of_a_run_does_not_undo_its_end(server, small_dataset, tmp_path, ranks):
    """Two ranks had status 143, and a job script put a finished run back into the queue."""
    process = saving_slowly(server, small_dataset, tmp_path, ranks, LAST="5")
    process.send(signal.SIGTERM)
    time.sleep(1)
    go(tmp_path)
    assert process.wait() == 0, process.output()
    assert json.loads(process.stdout.splitlines()[-1])["epochs"] == 5


def test_ctrl_c_of_one_rank_is_named_and_a_second_one_kills_ranks_that_stand_still(server, small_dataset, tmp_path):
    """The other rank said that the connection was lost and that the log of the first gives the reason: it had none."""
    flags = ("--gpus", 2, *LENGTH, "--model-dir", "run", "--end-epoch", 500)
    process = start(server, small_dataset, tmp_path, *flags)
    process.wait_for("Batch [")
    process.send(signal.SIGINT, rank_of(process, 1))
    assert process.wait() == 130, process.output()
    assert "error: rank 1 was interrupted (SIGINT)" in process.stderr
    again = start(server, small_dataset, tmp_path, *flags, "--resume-epoch", "auto")
    again.wait_for("Batch [")
    for rank in range(2):
        again.send(signal.SIGSTOP, rank_of(again, rank))
    for _ in range(2):
        again.send(signal.SIGINT)
        time.sleep(0.5)  # two signals of a kind that come at once are one
    assert again.wait() == 130, again.output()
    assert again.stderr == "interrupted\n"
    assert_nothing_is_left(again)


def rank_of(process: Process, rank: int) -> int:
    """The process id of a rank of `--gpus`."""
    wanted = f"RANK={rank}".encode()
    return next(
        child for child in process.children() if wanted in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the names of threads from /proc")
@pytest.mark.parametrize("stop", [False, True])
def test_no_thread_of_the_group_is_left_when_python_exits(server, small_dataset, tmp_path, stop):
    """Such a thread sometimes aborts the process, and a finished run looks failed."""
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
    """Otherwise they would train on unnoticed and occupy their GPUs."""
    flags = ("--gpus", 2, *LENGTH, "--model-dir", "run", "--end-epoch", 500)
    process = start(server, small_dataset, tmp_path, *flags)
    process.wait_for("Batch [")
    process.send(signal.SIGKILL)
    assert_nothing_is_left(process)
    assert "stopped by a signal" in process.stdout
    assert_all_whole(tmp_path / "run" / RUN)


def test_a_mistake_is_reported_once_whatever_the_number_of_ranks(server, tmp_path):
    """The same line from each of eight ranks would hide the others."""
    process = start(server, Path("nowhere"), tmp_path, "--gpus", 2)
    assert process.wait() == 2
    assert process.stderr.count("\n") == 1
    assert "nowhere" in process.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("comes_back", [False, True])
def test_two_machines_lose_one_and_take_it_back(server, small_dataset, tmp_path, comes_back):
    """Two torchrun agents on loopback, of which the one that does not host the rendezvous is killed with its rank.

    torchrun of torch 2.13 takes it back only if it shares no store with the ranks (TORCH_DISABLE_SHARE_RDZV_TCP_STORE).
    Then the restart counts of the two machines differ.
    """
    environment = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1" if comes_back else "0"}
    rendezvous = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-id", "job-17")
    torchrun = (*TORCHRUN, "--nnodes", "1:2", "--nproc-per-node", 1, "--max-restarts", 3, *rendezvous)
    run = (TINY, "--dataset", small_dataset, *TINY_FLAGS, "--model-dir", "run", *CYCLES, "--end-epoch", 200)

    def join(is_host: int) -> Process:
        conf = ("--rdzv-conf", f"is_host={is_host},last_call_timeout=8")
        return server.start(*torchrun, *conf, *run, folder=tmp_path, environment=environment)

    first, second = join(is_host=1), join(is_host=0)

    def both() -> str:
        return first.output() + second.output()

    wait_until(lambda: "training on the CPU: 2 processes" in both() and "Epoch [005/" in both(), both)
    second.kill()
    first.wait_for("training on the CPU: 1 processes")
    first.wait_for("resuming run/")
    if comes_back:
        second = join(is_host=0)
        wait_until(lambda: both().count("training on the CPU: 2 processes") >= 2, both)
        assert second.wait(600) == 0, both()
    assert first.wait(600) == 0, both()
    epochs = [int(row["epoch"]) for row in rows(tmp_path / "run" / RUN / "scores_train.csv")]
    assert epochs == list(range(1, epochs[-1] + 1))
    assert f'"epochs": {epochs[-1]},' in both()


@pytest.mark.parametrize("differing", ["flags", "classes", "frames", "videos to evaluate", "weights to evaluate"])
def test_machines_that_would_train_different_things_do_not_start(server, small_dataset, tmp_path, differing):
    """Each machine has its own command and copy of the dataset.

    They trained one network with two orders of the classes, or at two rates, and ended with status 0. Each scored its
    share of the videos with a network of its own, if only their classifiers were the same.
    """
    other = write_small_dataset(tmp_path / "other", classes=("clap", "jump", "run", "Walk fast"))
    start = (*TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", "job")
    start = (*start, "--rdzv-endpoint", f"localhost:{free_port()}")
    run = (TINY, *TINY_FLAGS, "--model-dir", "run", "--end-epoch", 1)
    if differing == "flags":
        each = (small_dataset, ()), (small_dataset, ("--random-seed", 7, "--lr-base", 0.5))
        fact = "differs from rank 0 in (--random-seed|.*--lr-base)"
    elif differing == "weights to evaluate":
        network = TinyNetwork(4, Recursion(False, "final"))
        for name in ("one", "two"):
            torch.save({"state_dict": network.state_dict()}, tmp_path / f"{name}.pth")
            torch.nn.init.zeros_(network.stem[0].weight)
        each = tuple((small_dataset, ("--evaluate", "--pretrained-3d", f"{name}.pth")) for name in ("one", "two"))
        fact = "the weights"
    elif differing == "classes":
        each, fact = ((small_dataset, ()), (other, ())), "the train videos or labels"
    elif differing == "frames":
        longer = write_small_dataset(tmp_path / "longer", frames=9)
        each, fact = ((small_dataset, ()), (longer, ())), "rank 0 in the frames of the train videos"
    else:
        finish(server.start(*run, "--dataset", small_dataset, folder=tmp_path))
        weights = ("--evaluate", "--pretrained-3d", tmp_path / "run" / RUN / LAST)
        fewer = write_small_dataset(tmp_path / "fewer", val=3)
        each, fact = ((small_dataset, weights), (fewer, weights)), "the videos or labels"
    agents = [
        server.start(
            *start, "--rdzv-conf", f"is_host={1 - number}", *run, "--dataset", dataset, *flags, folder=tmp_path
        )
        for number, (dataset, flags) in enumerate(each)
    ]
    assert [agent.wait() != 0 for agent in agents] == [True, True]
    said = "".join(agent.output() for agent in agents)
    assert re.search(fact, said), said
    assert said.count("differs from rank 0") == 1
    assert "evaluate" in differing or not list((tmp_path / "run").rglob("*.pth"))


@pytest.mark.parametrize("policy", [("stop",), ("skip", "--bad-video-limit", 1)])
def test_a_bad_video_of_one_rank_saves_the_steps_of_all(server, tmp_path, policy):
    """The other rank was killed in its step, and all since the last checkpoint was lost."""
    dataset = write_small_dataset(tmp_path / "data", train=32, val=2, frames=4)
    for number in (3, 9, 20):
        next(dataset.glob(f"jpg/*/train_{number:03d}/frames.db")).write_bytes(b"no database")
    flags = ("--gpus", 2, "--workers", 0, "--end-epoch", 2, "--model-dir", "run", "--on-bad-video", *policy)
    process = start(server, dataset, tmp_path, *flags, "--lr-steps", 9)
    assert process.wait() == 2, process.output()
    assert process.stderr.count("\n") == 1 and "frames.db" in process.stderr, process.stderr
    last = read_checkpoint(tmp_path / "run" / RUN / LAST)
    assert last["position"]["epoch"] == 1
    assert last["position"]["step"] == process.stdout.count("Batch [")
    assert last["progress"]["clips"] == 4 * last["position"]["step"]
    assert "frames.db" in (tmp_path / "run" / RUN / "train.log").read_text().splitlines()[-1]
