"""The script that measures a GPU: whatever ends a section, what the others measured is kept."""

import csv
import json
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import benchmarks.gpu
from benchmarks.batches import Rate
from benchmarks.gpu import card_tests, learning, reading
from benchmarks.gpu.__main__ import SECTIONS
from benchmarks.gpu.forms import Form, FormStep, plain_formulation
from benchmarks.gpu.results import Results, markdown
from benchmarks.gpu.runner import DONE, NOT_ASKED, Section, Settings, is_good, run_sections
from benchmarks.gpu.steps import forms
from benchmarks.gpu.timing import with_smaller_batches
from common.layout import LAYOUTS
from network import registry
from network.resnet3d import Recursion
from tests.processes import ROOT
from tests.tiny_network import TinyNetwork
from train.step_graphs import REPLAYED_FROM


@pytest.fixture
def tiny_networks(monkeypatch):
    """Register a tiny network for one test only."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def planted(letter: str, function: str, share: float = 1.0, needs: tuple[str, ...] = (), at_most: float = 100.0):
    return Section(letter, function, f"tests.benchmarks.planted:{function}", share, needs, at_most)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_whatever_ends_a_section_the_others_keep_their_results(tmp_path):
    """An error, a crash, a hang and a missing package, one after the other; then the last one measures."""
    sections = [
        planted("a", "fail"),
        planted("b", "hang", at_most=12),
        planted("c", "crash"),
        planted("d", "measure", needs=("no_such_package",)),
        planted("e", "measure_nothing"),
        planted("f", "need_a_flag"),
        planted("g", "raise_at_once"),
        planted("h", "take_too_long"),
    ]
    results = Results(tmp_path)
    outcomes = run_sections(sections, Settings("cpu", False, 800), results)
    content = results.read()
    rows = content["measurements"]
    assert [row["section"] for row in rows] == ["a", "a", "b", "b", "c", "h"]
    assert outcomes["a"].startswith("failed: 1 problems, the first: the impossible: ZeroDivisionError")
    assert outcomes["b"] == "killed at its limit of 12 s; 2 measurements are kept"
    assert outcomes["c"] == "crashed: SIGSEGV; 1 measurements are kept"
    assert outcomes["d"] == "left out: no_such_package missing"
    assert outcomes["e"] == "failed: it measured nothing"
    assert outcomes["f"] == f"{NOT_ASKED}: give --videos"
    assert outcomes["g"].startswith("failed: 1 problems, the first: MemoryError: no room")
    assert outcomes["h"] == f"{DONE}; left out for want of time: the rest"
    assert [letter for letter, outcome in outcomes.items() if is_good(outcome)] == ["f", "h"]
    assert {row["torch"] for row in rows} == {torch.__version__}
    assert all(row["device"].startswith("CPU") and row["date"] for row in rows)
    assert {letter: content["sections"][letter]["status"] for letter in outcomes} == outcomes
    assert all(line in results.table_file.read_text() for line in ("| a | something |", "SIGSEGV"))
    log = results.log_file.read_text()
    assert "ZeroDivisionError" in log and "Fatal Python error: Segmentation fault" in log
    assert "in hang" in log, "where it hung"
    (pid,) = [row["values"]["pid"] for row in rows if row["what"] == "process"]
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline, "the hanging section left a process"
        time.sleep(0.1)


def test_time_that_a_section_does_not_use_goes_to_the_next(tmp_path):
    """Else a machine that is lent for minutes would be given back unused."""
    sections = [planted("a", "measure", share=0.1), planted("b", "measure", share=0.9)]
    results = Results(tmp_path)
    run_sections(sections, Settings("cpu", False, 600), results)
    limits = {letter: section["limit"] for letter, section in results.read()["sections"].items()}
    assert 59 < limits["a"] <= 60
    assert limits["b"] == 100  # the most that this one may have; by its share it would be nearly ten minutes


def test_a_section_that_runs_again_replaces_its_results_alone(tmp_path):
    """The sections may be run in two commands that write to one folder."""
    results = Results(tmp_path)
    run_sections([planted("a", "fail"), planted("b", "measure")], Settings("cpu", False, 100), results)
    run_sections([planted("a", "measure")], Settings("cpu", False, 100), results)
    content = results.read()
    assert [row["section"] for row in content["measurements"]] == ["b", "a"]
    assert content["sections"]["a"]["status"] == content["sections"]["b"]["status"] == DONE
    assert "problems" not in content["sections"]["a"]


def test_a_damaged_file_of_results_does_not_stop_the_run(tmp_path):
    results = Results(tmp_path)
    results.json_file.write_text("{")
    results.begin("a", "tests")
    results.add({"section": "a", "what": "x|y", "shape": "", "dtype": ""}, {"ms": 12345.678, "share": 0.1})
    assert json.loads(results.json_file.read_text())["measurements"][0]["values"]["ms"] == 12345.678
    assert "x\\|y" in markdown(results.read()) and "ms 12346, share 0.1" in markdown(results.read())


BY_MODULE = {section.entry.partition(":")[0]: section for section in SECTIONS}


@pytest.mark.slow
@pytest.mark.parametrize("section", BY_MODULE.values(), ids=lambda section: section.letter)
def test_a_section_imports_no_more_than_it_says_it_needs(section):
    """A package that is missing must cost only the sections that cannot do without it."""
    every = {name for each in SECTIONS for name in each.needs} | {"torchvision", "onnx", "matplotlib", "av", "yt_dlp"}
    absent = every - set(section.needs)
    module = section.entry.partition(":")[0]
    script = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({sorted(absent)}))\n"
        f"import benchmarks.gpu.runner, benchmarks.gpu.child, {module}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_itself_needs_no_package():
    """It has to say which one is missing."""
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'numpy', 'rich', 'cv2', 'av', 'simplejpeg', 'filelock']))\n"
        "import benchmarks.gpu.__main__\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_forms_of_section_c_are_all_there():
    """Both layouts and precisions, gates, fused operations, graphs; the twin comes before each, save the original."""
    found = forms("srtg_r3d_34", ("bf16", "fp16"), graphs=True)
    assert len(found) == len(set(found)) == 14
    assert sum(form.original for form in found) == 1 and sum(not form.fused for form in found) == 2
    assert {form.graphs for form in found[:3]} == {True} and {form.layout for form in found} == set(LAYOUTS)
    assert {form.precision for form in found if form.graphs} == {"bf16", "fp16"}
    for form in found:
        assert form.original or (form.twin in found and found.index(form.twin) <= found.index(form))


@pytest.mark.parametrize("original", [False, True])
def test_a_form_trains(original, tiny_networks):
    """The original's form computes the same gradients in another way."""
    step = FormStep(Form("srtg_tiny", "fp32", original=original), (4, 32, 32), 2, torch.device("cpu"))
    before = [parameter.detach().clone() for parameter in step.network.parameters()]
    step()
    sums = moved(step, before)
    assert sum(sums) > 0
    other = FormStep(Form("srtg_tiny", "fp32", original=not original), (4, 32, 32), 2, torch.device("cpu"))
    other()
    assert sums == pytest.approx(moved(other, before), rel=0.05, abs=1e-6)


def test_the_original_form_differs_in_rounding_alone(tiny_networks):
    """In half precision its recursion, too, is in half precision; a mistake in that form would flatter the others."""
    losses = []
    for original in (False, True):
        step = FormStep(Form("srtg_tiny", "bf16", original=original), (8, 32, 32), 4, torch.device("cpu"))
        with plain_formulation() if original else nullcontext():
            losses.append(float(step.loss().detach()))
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def moved(step, before):
    """How far a step has moved each of the parameters."""
    after = [parameter.detach() for parameter in step.network.parameters()]
    return [float((new - old).abs().sum()) for new, old in zip(after, before, strict=True)]


def test_a_batch_that_does_not_fit_is_halved():
    tried = []

    def measure(batch: int) -> str:
        tried.append(batch)
        if batch > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "fits"

    assert with_smaller_batches(32, measure, lambda: None) == (8, "fits")
    assert tried == [32, 16, 8]
    with pytest.raises(torch.OutOfMemoryError):
        with_smaller_batches(2, lambda batch: measure(100), lambda: None)


def test_a_gpu_s_tests_are_all_run_and_long_commands_beside_the_others():
    """At the limit of the section, the tests after those of whole commands had never been run."""
    chosen = card_tests.files()
    assert card_tests.PROGRAMS not in chosen and (ROOT / card_tests.PROGRAMS).exists()
    folders = [name.split("/")[1] for name in chosen]
    assert list(dict.fromkeys(folders)) == ["network", "gpu", "data", "train", "benchmarks"]
    assert "tests/gpu/test_training.py" in chosen


def test_steps_in_which_passes_are_recorded_are_not_counted():
    """They take some times as long as those that are replayed. The Trainer reports at multiples of the first."""
    assert reading.NOT_COUNTED > REPLAYED_FROM
    assert all(counted and counted % reading.NOT_COUNTED == 0 for counted in reading.COUNTED.values())


def test_a_row_that_waits_tells_the_cores_that_it_needs():
    """A share of waiting alone does not tell a user what to book."""
    found = reading.reading_needed(Rate(clips=4000.0, core=0.004, main=0.2), clips_per_s=4000.0, waits=0.5)
    assert found["needed_clips_per_s"] == pytest.approx(8000) and found["cores_needed"] == pytest.approx(32)


def test_runs_are_made_in_the_order_of_their_worth():
    """The time never sufficed for all: fixed runs of every seed compare the networks, one seed of each does not."""
    runs = learning.planned()
    assert len(set(runs)) == len(runs) == 18
    assert [run.schedule for run in runs] == ["fixed"] * 9 + ["multigrid"] * 9
    assert [runs[number].name for number in (0, 9)] == ["srtg_r3d_18, fixed, seed 1", "srtg_r3d_18, multigrid, seed 1"]
    assert [run.is_alone for run in runs] == [number in (0, 9) for number in range(18)]
    assert {run.seed for run in runs if run.schedule == "fixed"} == set(learning.SEEDS)


def test_seeds_are_summed_up(monkeypatch, tmp_path):
    """A score without the number of its runs is no result. The checkpoints of a run that is over are gone."""
    rows = {}
    job = SimpleNamespace(
        is_tiny=True, folder=tmp_path, fast_folder=None, device=torch.device("cpu"), half=("fp32",), left_out=[],
        left=lambda: 100.0, add=lambda what, shape, dtype, **values: rows.update({what: values}),
    )  # fmt: skip
    scores = iter([50.0, 70.0])

    def run(*_, **__):
        folder = tmp_path / "run"
        folder.mkdir()
        result = json.dumps({"top1": next(scores), "last": str(folder / "last.pth")})
        return subprocess.CompletedProcess((), 0, stdout=f"text\n{result}\n")

    monkeypatch.setattr(learning.subprocess, "run", run)
    learner = learning.Learner(job, tmp_path)
    for seed in (1, 2):
        learner.learn(learning.Run("r3d_18", False, "fixed", seed), 2)
    assert rows["r3d_18, fixed, all seeds"] == {"seeds": 2, "mean_top1": 60.0, "lowest": 50.0, "highest": 70.0}
    assert set(rows) == {"r3d_18, fixed, seed 1", "r3d_18, fixed, seed 2", "r3d_18, fixed, all seeds"}
    assert not job.left_out and not (tmp_path / "run").exists()


def command(*flags: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "benchmarks.gpu", *map(str, flags)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600)


def test_a_section_from_end_to_end(tmp_path):
    """The command, the files that it writes, and its status."""
    done = command("--device", "cpu", "--minutes", 1, "--output", tmp_path, "--sections", "b,g")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "matrix product" in done.stdout and "b: limits of the card: done" in done.stdout
    assert "g: learning: not run: give --videos or --dataset" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.txt", "results.json", "results.md"]
    rows = json.loads((tmp_path / "results.json").read_text())["measurements"]
    assert all(row[name] for row in rows for name in ("what", "shape", "dtype", "device", "torch", "date"))


@pytest.mark.parametrize(
    ("flags", "named"),
    [(("--sections", "x"), "a, b, h, c"), (("--minutes", "0"), "--minutes 0"), (("--videos", "no/such"), "no/such")],
)
def test_mistakes_are_named(tmp_path, flags, named):
    done = command("--output", tmp_path, *flags)
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr


def test_the_docstring_names_every_section():
    """It is the help."""
    assert benchmarks.gpu.__doc__
    assert all(f"\n    {section.letter}  " in benchmarks.gpu.__doc__ for section in SECTIONS)


@pytest.mark.slow
def test_the_whole_script_on_the_cpu(tmp_path):
    """All sections with small networks: none may fail for a reason that has nothing to do with a GPU."""
    from data.prepare import synthetic

    synthetic.main([str(tmp_path / "made"), "--videos", "32", "--val-videos", "8", "--size", "64x64"])
    videos = tmp_path / "videos"
    (tmp_path / "made" / "videos").rename(videos)
    for name, labels in (("train.txt", "train.csv"), ("test.txt", "val.csv")):
        with (tmp_path / "made" / "labels" / labels).open(newline="") as file:
            (tmp_path / name).write_text("".join(f"{row['label']}/{row['id']}.mp4\n" for row in csv.DictReader(file)))
    out = tmp_path / "out"
    done = command("--device", "cpu", "--minutes", 9, "--output", out, "--videos", tmp_path)
    assert done.returncode == 0, done.stdout + (out / "log.txt").read_text()
    content = json.loads((out / "results.json").read_text())
    assert {row["section"] for row in content["measurements"]} == {section.letter for section in SECTIONS}
