"""--track: what trackers get of a run, and that they can neither end nor slow it."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote

import pytest

from common.errors import DataError
from tests.processes import ENVIRONMENT
from tests.runs import LAST, RUN, TINY_FLAGS, rows
from tests.train.monitor.test_callbacks import LOGGED, epoch_report
from train.monitor.trackers import tracker
from train.monitor.trackers.choice import NEEDED, check_tracker
from train.monitor.trackers.mlflow_run import _uri_of
from train.monitor.trackers.run_file import NAME, save_id, saved_id
from train.monitor.trackers.tracker import Tracker


class Recorder:
    """A tracked run that fails while `fails`, and waits for `answers` in each method."""

    name = "recorder"

    def __init__(self):
        self.fails, self.starts, self.records, self.ends = False, 0, [], []
        self.answers = threading.Event()
        self.answers.set()

    def start(self):
        self.answers.wait()
        if self.fails:
            raise ConnectionError("no route")
        self.starts += 1
        return "somewhere"

    def send(self, record):
        self.answers.wait()
        if self.fails:
            raise ConnectionError("no route")
        self.records.append(record)

    def finish(self, is_complete):
        self.ends.append(is_complete)


def test_a_tracker_gets_what_tensorboard_gets_and_the_best(monkeypatch):
    run = Recorder()
    callback = Tracker(run)
    callback.on_log(replace(LOGGED, open_gates={"layer1.0": 0.5}))
    callback.on_epoch(epoch_report(1, is_best=True))
    callback.on_epoch(epoch_report(2, val=False))
    callback.on_epoch(epoch_report(9))
    callback.close()
    assert [record.step for record in run.records] == [720, 10, 90]
    first, second, third = run.records
    expected = {"train/loss": 1.725, "schedule/lr": 0.1, "speed/read": 153_000, "open_gates/layer1.0": 0.5}
    assert expected.items() <= first.scalars.items()
    assert second.scalars == {"val/loss": 1.25, "val/top1": 50.0, "val/top5": 100.0} == third.scalars
    assert second.best == {"best/loss": 1.25, "best/top1": 50.0, "best/top5": 100.0, "best/epoch": 1}
    assert (first.best, third.best, run.starts, run.ends) == ({}, {}, 1, [True])


def test_a_run_that_is_stopped_is_not_complete():
    run = Recorder()
    callback = Tracker(run)
    callback.on_epoch(epoch_report(8))
    callback.close()
    callback.close()
    assert run.ends == [False]


def test_a_run_without_reports_begins_nothing():
    """A resumed run of which all epochs are done would be tracked as one that runs."""
    run = Recorder()
    Tracker(run).close()
    assert (run.starts, run.ends) == (0, [])


def test_reports_that_a_tracker_does_not_take_are_sent_later(monkeypatch, caplog):
    """The network was gone for an hour: the curves have no hole, and the log has one line."""
    monkeypatch.setattr(tracker, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(tracker.LOG, "propagate", True)
    run = Recorder()
    run.fails = True
    callback = Tracker(run)
    for step in range(5):
        callback.on_log(replace(LOGGED, global_step=step))
    while not callback.queue.empty() or not callback.failures:
        time.sleep(0.01)
    run.fails = False
    callback.on_log(replace(LOGGED, global_step=5))
    callback.close()
    assert [record.step for record in run.records] == [0, 1, 2, 3, 4, 5]
    assert caplog.text.count("no route") == 1


def test_a_tracker_that_does_not_answer_delays_neither_a_step_nor_the_end(monkeypatch):
    """A server that takes connections and never answers stopped the run for minutes in each report."""
    monkeypatch.setattr(tracker, "STOP_SECONDS", 0.2)
    run = Recorder()
    run.answers.clear()
    callback = Tracker(run)
    for _ in range(100):
        callback.on_log(LOGGED)
    callback.on_epoch(epoch_report(1))
    assert run.records == []
    callback.close()
    assert run.records == [] and run.ends == []
    run.answers.set()


def test_a_run_is_continued_in_its_own_folder_alone(tmp_path):
    """A folder that is used for another run, and a file that is damaged, begin a new tracked run."""
    save_id(tmp_path, "wandb", "key", "one")
    save_id(tmp_path, "mlflow", "key", "two")
    assert (saved_id(tmp_path, "wandb", "key"), saved_id(tmp_path, "mlflow", "key")) == ("one", "two")
    assert saved_id(tmp_path, "wandb", "other") == saved_id(tmp_path / "new", "wandb", "key") == ""
    for content in ('{"wandb": 5}', '{"wandb": {"id": 5, "run_key": "key"}}', "[1]", "no json", "\0\xff", ""):
        (tmp_path / NAME).write_text(content, encoding="latin-1")
        assert saved_id(tmp_path, "wandb", "key") == ""
    save_id(tmp_path, "wandb", "key", "three")
    assert saved_id(tmp_path, "wandb", "key") == "three"


@pytest.mark.parametrize("content", ["", "raise ModuleNotFoundError('x')", "raise ImportError('GLIBC')", "1 / 0"])
@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_package_that_cannot_be_used_is_named_with_its_command(tmp_path, monkeypatch, name, content):
    """Also if a folder of that name, such as the wandb/ of earlier runs, takes its place."""
    for module in [each for each in sys.modules if each.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    (tmp_path / f"{name}.py").write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=rf"--track {name}: .*pip install (--upgrade )?{name}"):
        check_tracker(name)
    monkeypatch.delitem(sys.modules, name, raising=False)


FAKE = """
import json, os
class Any:
    def __init__(self, path): self.path = path
    def __contains__(self, name): return True
    def __getattr__(self, name): return Any(f"{self.path}.{name}")
    def __call__(self, *args, **kwargs):
        with open("calls.jsonl", "a") as file:
            print(json.dumps([os.getpid(), self.path, args, kwargs], default=str), file=file)
        return Any(self.path)
"""
WANDB = FAKE + "init, login, Settings, teardown = (Any(name) for name in ('init', 'login', 'Settings', 'teardown'))\n"
SCRIPT = """
from tests.scripts.train_tiny import DEFAULTS, SPEC, main, register_tiny_networks
if __name__ == "__main__":
    register_tiny_networks()
    main("", SPEC, DEFAULTS)
"""


@pytest.fixture
def tracked(server, small_dataset, tmp_path):
    """Run the tiny script in the test's folder, with the modules that lie there."""
    (tmp_path / "train_tracked.py").write_text(SCRIPT)

    def run(*flags):
        flags = ("--dataset", small_dataset, *TINY_FLAGS, "--workers", 0, "--lr-steps", 9, *flags)
        environment = {"WANDB_MODE": "offline"}
        process = server.start(tmp_path / "train_tracked.py", *flags, folder=tmp_path, environment=environment)
        process.wait()
        return process

    return run


def calls(folder, name):
    lines = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    return [(arguments, named) for _, path, arguments, named in lines if path == name]


def test_a_resumed_run_is_one_run_of_the_tracker(tracked, tmp_path):
    """A preempted run would be as many curves as it had jobs. The config has the options, the summary the best."""
    (tmp_path / "wandb.py").write_text(WANDB)
    process = tracked("--track", "wandb", "--end-epoch", 1)
    assert process.wait() == 0 and process.stderr == "", process.output()
    process = tracked("--track", "wandb", "--end-epoch", 2, "--resume-epoch", "auto")
    assert process.wait() == 0, process.output()
    run = tmp_path / "results" / "custom" / RUN
    found = [named for _, named in calls(tmp_path, "init")]
    assert len(found) == 2 and found[0]["id"] == found[1]["id"] == json.loads((run / NAME).read_text())["wandb"]["id"]
    assert {(each["name"], Path(each["dir"]).name) for each in found} == {(f"custom/{RUN}", RUN)}
    (first,), (second,) = (arguments for arguments, _ in calls(tmp_path, "init.config.update"))
    assert (first["end_epoch"], second["end_epoch"], first["network"]) == (1, 2, "srtg_tiny")
    logged = [arguments[0] for arguments, _ in calls(tmp_path, "init.log")]
    assert [each["global_step"] for each in logged] == [*range(1, 9), 8, *range(9, 17), 16]
    val = rows(run / "scores_val.csv")
    assert [each["val/top1"] for each in logged if "val/top1" in each] == pytest.approx(
        [float(row["top1"]) for row in val], abs=1e-3
    )
    assert [named for _, named in calls(tmp_path, "init.finish")] == [{"exit_code": 0}] * 2
    assert calls(tmp_path, "init.summary.update")[0][0][0]["best/epoch"] == 1
    # Without the file, as on another machine, a new run begins, and the log says so.
    (run / NAME).unlink()
    process = tracked("--track", "wandb", "--end-epoch", 3, "--resume-epoch", "auto")
    assert NAME in process.stdout and len({named["id"] for _, named in calls(tmp_path, "init")}) == 2


def test_a_tracker_that_fails_does_not_end_the_run(tracked, tmp_path):
    """It is said once."""
    (tmp_path / "wandb.py").write_text(WANDB + "def init(**_): raise RuntimeError('no server')\n")
    process = tracked("--track", "wandb", "--end-epoch", 1)
    assert process.wait() == 0 and process.stderr == "", process.output()
    assert process.stdout.count("no server") == 1
    assert json.loads(process.stdout.splitlines()[-1])["epochs"] == 1


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_done(tracked, tmp_path):
    """After an hour of training it would be too late."""
    (tmp_path / "wandb.py").write_text("")
    process = tracked("--track", "wandb")
    assert process.wait() == 2
    assert process.stderr.count("\n") == 1 and "pip install wandb" in process.stderr
    assert not (tmp_path / "results").exists()
    assert tracked("--track", "tensors").wait() == 2


def run_real(name, tmp_path, small_dataset, *flags):
    """The tiny script in a process of its own, with the packages that are installed."""
    (tmp_path / "train_tracked.py").write_text(SCRIPT)
    script = [
        sys.executable,
        str(tmp_path / "train_tracked.py"),
        "--dataset",
        str(small_dataset),
        *map(str, TINY_FLAGS),
    ]
    environment = os.environ | {
        "PYTHONPATH": ENVIRONMENT["PYTHONPATH"],
        "WANDB_MODE": "offline",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [*script, "--workers", "0", "--lr-steps", "9", "--track", name, *map(str, flags)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return tmp_path / "results" / "custom" / RUN


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("wandb"), reason="wandb is not installed")
def test_wandb_writes_one_run_offline(tmp_path, small_dataset):
    """The real package takes what the fake one takes, and leaves nothing in the current folder."""
    for epochs in (1, 2):
        run = run_real("wandb", tmp_path, small_dataset, "--end-epoch", epochs, "--resume-epoch", "auto")
    files = list(run.glob("wandb/offline-run-*/*.wandb"))
    run_id = json.loads((run / NAME).read_text())["wandb"]["id"]
    assert len(files) == 2 and {path.stem for path in files} == {f"run-{run_id}"}
    content = files[0].read_bytes()
    assert b"val/mean_class" in content and b"schedule/lr" in content and b"label_smoothing" in content
    assert {path.name for path in tmp_path.iterdir()} == {"train_tracked.py", "results"} and (run / LAST).exists()


def sqlalchemy_of(monkeypatch, read):
    """A package whose URLs have what is before a `?` as the path of the database, as `read` decodes it."""
    engine = ModuleType("sqlalchemy.engine")
    engine.make_url = lambda url: SimpleNamespace(database=read(url.removeprefix("sqlite:///").partition("?")[0]))
    monkeypatch.setitem(sys.modules, "sqlalchemy", ModuleType("sqlalchemy"))
    monkeypatch.setitem(sys.modules, "sqlalchemy.engine", engine)


@pytest.mark.parametrize(
    ("read", "folder", "uri"),
    [
        (str, "/a b/ü", "/a b/ü"), (unquote, "/a b/ü", "/a b/ü"), (str, "/a%41", "/a%41"),
        (unquote, "/a%41", "/a%2541"), (unquote, "/a?b", "/a%3Fb"), (str, "/a?b", None),
    ],
)  # fmt: skip
def test_the_database_of_mlflow_is_the_file_beside_the_run(monkeypatch, read, folder, uri):
    """With --model-dir "what?" it became a file `what` beside that folder, and with `%41` another one."""
    sqlalchemy_of(monkeypatch, read)
    if uri:
        assert _uri_of(Path(folder, "mlflow.db")) == f"sqlite:///{uri}/mlflow.db"
    else:
        with pytest.raises(DataError, match=r"MLFLOW_TRACKING_URI"):
            _uri_of(Path(folder, "mlflow.db"))


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mlflow"), reason="mlflow is not installed")
def test_mlflow_has_one_run_with_all_scores(tmp_path, small_dataset):
    """Its own client reads back what was sent; the database lies beside the run and not in the current folder."""
    from mlflow.tracking import MlflowClient

    for epochs in (1, 2):
        run = run_real("mlflow", tmp_path, small_dataset, "--end-epoch", epochs, "--resume-epoch", "auto")
    client = MlflowClient(f"sqlite:///{run.parent / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("srtg").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", f"custom/{RUN}")
    assert found.data.params["end_epoch"] == "1" and found.data.tags["resumed.end_epoch"] == "2"
    history = client.get_metric_history(found.info.run_id, "val/top1")
    assert [point.value for point in history] == pytest.approx(
        [float(row["top1"]) for row in rows(run / "scores_val.csv")], abs=1e-3
    )
    assert {path.name for path in tmp_path.iterdir()} == {"train_tracked.py", "results"} and (run / LAST).exists()
