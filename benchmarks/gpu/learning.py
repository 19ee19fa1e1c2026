"""Section g, real learning: top-1 and minutes of train_custom.py on a small dataset of videos.

With as few videos as EgoGestAR's 242, multigrid's large batches make few updates: at the fixed run's 40 nominal epochs
151 in place of 600, and it hardly learns. So it gets 100 here: 385 updates, whose clips have 0.6 times the pixels of
the fixed run's. That compares results of about the same time, and not of equally many epochs.
"""

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from benchmarks.gpu.job import Job, NotAsked
from benchmarks.gpu.runner import ROOT, missing
from benchmarks.gpu.training import text_of
from common.errors import DataError
from common.processes import available_cpus
from data.clips.types import ClipShape

SHORT_SIDE = 128
NETWORKS = (("srtg_r3d_18", False), ("r3d_18", False), ("srtg_r3d_18", True))
SCHEDULES = {
    "fixed": ("--warmup-epochs", "3"),
    "multigrid": (
        "--long-cycles", "--short-cycles", "--end-epoch", "100", "--lr-steps", "60", "85", "--val-frequency", "15",
    ),
}  # fmt: skip
SEEDS = (1, 2, 3)
SIZE, LENGTH, BATCH = 112, 16, 16
# The clips span the whole videos and are not mirrored: in EgoGestAR the way of a fingertip is the class.
FLAGS = (
    "--train-frame-interval", "14", "--val-frame-interval", "14", "--augment", "none", "--lr-base", "0.05",
    "--lr-steps", "24", "34", "--end-epoch", "40", "--val-frequency", "5", "--save-frequency", "1000", "--keep", "1",
)  # fmt: skip
TINY_FLAGS = ("--lr-steps", "1", "--end-epoch", "2", "--val-frequency", "1", "--warmup-epochs", "0")
ESTIMATE_SECONDS = 20  # in which train.estimate measures, before the first run
AT_ONCE = 8  # runs after the first network's of the first seed, whose minutes are those of a GPU of its own


class Run(NamedTuple):
    """A run of train_custom.py."""

    network: str
    gates: bool
    schedule: str
    seed: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.kind}, seed {self.seed}"

    @property
    def kind(self) -> str:
        """Network and schedule, whatever the seed."""
        return f"{self.network}{' --gates' * self.gates}, {self.schedule}"

    @property
    def is_alone(self) -> bool:
        """Whether it has the GPU for itself, so that its minutes are a run's."""
        return self.seed == SEEDS[0] and (self.network, self.gates) == NETWORKS[0]


def run(job: Job) -> None:
    """As many runs as the time allows, in the order of their worth."""
    dataset = dataset_of(job)
    runs = planned()
    if job.is_tiny:
        runs = [Run("srtg_r3d_10", True, "fixed", 1), Run("r3d_10", False, "multigrid", 2)]
    learner = Learner(job, dataset)
    job.attempt(
        f"the estimate of {runs[0].name}", lambda: learner.estimate(runs[0]), 3 * ESTIMATE_SECONDS * job.is_cuda
    )
    for schedule in SCHEDULES:
        chosen = [each for each in runs if each.schedule == schedule]
        for each in chosen:
            if each.is_alone:
                learner.learn(each, 1)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: learner.learn(each, AT_ONCE), [each for each in chosen if not each.is_alone]))


def planned() -> list[Run]:
    """The runs: the fixed ones of all seeds first, whose differences tell most; of each schedule, that alone first."""
    return [Run(*network, schedule, seed) for schedule in SCHEDULES for seed in SEEDS for network in NETWORKS]


def dataset_of(job: Job) -> Path:
    """The folder to train on; converted from the videos, if these were given."""
    if job.dataset:
        return job.dataset
    if not job.videos:
        raise NotAsked("give --videos or --dataset")
    if absent := missing(["av"]):
        raise DataError(f"{', '.join(absent)} missing: give --dataset a folder that was converted before")
    folder = job.folder / "dataset"
    convert = ("-m", "data.prepare.convert", str(job.videos / "videos"), str(folder), "--short-side", str(SHORT_SIDE))
    subprocess.run([sys.executable, *convert], cwd=ROOT, check=True, timeout=max(1, job.left()))
    (folder / "labels").mkdir()
    for source, target in (("train.txt", "train.csv"), ("test.txt", "val.csv")):
        lines = (job.videos / source).read_text(encoding="utf-8").split("\n")
        rows = [line.strip().rpartition(".")[0].replace("/", ",", 1) for line in lines if line.strip()]
        (folder / "labels" / target).write_text("\n".join(["label,id", *rows, ""]), encoding="utf-8")
    return folder


class Learner:
    """Starts the runs, and knows how long they take."""

    def __init__(self, job: Job, dataset: Path) -> None:
        self.job, self.dataset = job, dataset
        self.size = 64 if job.is_tiny else SIZE
        self.longest = 0.0  # seconds of a run so far
        self.estimated: dict[Run, float] = {}  # minutes
        self.scores: dict[str, list[float]] = {}  # top-1 of each seed, by network and schedule
        self.lock = threading.Lock()

    def estimate(self, run: Run) -> None:
        """The minutes that train.estimate predicts for a run, to be compared with it."""
        program, *command = self._command(run)
        minutes = str((ESTIMATE_SECONDS / 4 if self.job.is_tiny else ESTIMATE_SECONDS) / 60)
        command = [program, "-m", "train.estimate", *command, "--minutes", minutes]
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=max(1, self.job.left()), check=True
        )
        print(done.stdout, flush=True)
        self.estimated[run] = json.loads(done.stdout.strip().splitlines()[-1])["total_seconds"] / 60

    def learn(self, run: Run, at_once: int) -> None:
        """One run; left out if it would probably not end in time."""
        left, needed = self.job.left(), 1.1 * self.longest
        if left < max(needed, 1.0):
            with self.lock:
                self.job.left_out.append(run.name)
            return
        started = time.monotonic()
        try:
            command = self._command(run)
            if at_once > 1:
                command += ["--workers", str(max(1, available_cpus() // at_once))]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=left)
        except subprocess.TimeoutExpired:
            with self.lock:
                self.job.left_out.append(f"{run.name} (not finished in {left:.0f} s)")
            return
        seconds = time.monotonic() - started
        self.longest = max(self.longest, seconds)
        print(done.stdout, flush=True)
        with self.lock:
            if done.returncode:
                self.job.fail(f"{run.name}: exit status {done.returncode}, see log.txt")
                return
            result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
            shape = text_of(BATCH, ClipShape(LENGTH, self.size, self.size))
            values = {name: result.get(name) for name in ("top1", "best_top1", "epochs", "steps")}
            if run in self.estimated:
                values |= {"estimated_minutes": self.estimated[run]}
            self.job.add(run.name, shape, self.job.half[0], **values, minutes=seconds / 60, runs_at_once=at_once)
            found = self.scores.setdefault(run.kind, [])
            found.append(result["top1"])
            self.job.add(
                f"{run.kind}, all seeds", shape, self.job.half[0], seeds=len(found), mean_top1=mean(found),
                lowest=min(found), highest=max(found),
            )  # fmt: skip
            shutil.rmtree(Path(result["last"]).parent)  # the checkpoints of all runs would fill the memory

    def _command(self, run: Run) -> list[str]:
        job = self.job
        runs = (job.fast_folder or job.folder) / "runs"  # else the time to write checkpoints would be that of a disk
        command = [
            sys.executable, "train_custom.py", "--dataset", str(self.dataset), "--model-dir", str(runs), "--task-name",
            f"{run.schedule}_{run.seed}", "--network", run.network, "--gates", str(run.gates), "--device",
            job.device.type, "--clip-length", str(LENGTH), "--clip-size", str(self.size), "--batch-size", str(BATCH),
            "--random-seed", str(run.seed), *FLAGS, *SCHEDULES[run.schedule],
        ]  # fmt: skip
        return command + list(TINY_FLAGS) * job.is_tiny
