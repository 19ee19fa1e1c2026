"""The command `python -m train.estimate`: with a real script, dataset and network, and with mistakes."""

import errno
import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from common.errors import DataError
from tests.processes import ENVIRONMENT, ROOT
from tests.small_dataset import write_small_dataset
from train.estimate import advice, disk, problems
from train.estimate.__main__ import main, show
from train.estimate.meter import Meter
from train.estimate.set_up import Run, parse, set_up
from train.estimate.validation import Videos

FLAGS = (
    "--network", "srtg_r3d_10", "--clip-length", "4", "--clip-size", "32", "--batch-size", "4", "--lr-steps", "2",
    "--end-epoch", "3", "--workers", "1", "--device", "cpu",
)  # fmt: skip


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


def estimate(capsys, *words) -> tuple[dict, str]:
    """The last line, and the text before it."""
    assert main([str(ROOT / "train_custom.py"), *map(str, words)]) == 0
    output = capsys.readouterr().out.strip().splitlines()
    return json.loads(output[-1]), "\n".join(output[:-1])


@pytest.mark.parametrize("cycles", [(), ("--long-cycles", "--short-cycles")])
def test_it_measures_every_shape_and_leaves_no_trace(small_dataset, tmp_path, monkeypatch, capsys, cycles):
    """It may run beside a run, or before there is room: nothing in its folder or dataset may change."""
    monkeypatch.chdir(tmp_path)
    before = tree(small_dataset)
    found, text = estimate(capsys, "--dataset", small_dataset, *FLAGS, "--minutes", 0.1, *cycles)
    assert tree(small_dataset) == before and not tree(tmp_path)
    parts = ("start", "training", "validation", "saving")
    assert found["total_seconds"] == pytest.approx(sum(found[f"{part}_seconds"] for part in parts), rel=1e-3)
    assert min(found[f"{part}_seconds"] for part in parts) > 0
    assert len(found["shapes"]) == (10 if cycles else 1)  # the crops 0.7 S and s are one where s is 0.7 S
    assert all(shape["read"] > 0 and shape["compute"] > shape["augment"] >= 0 for shape in found["shapes"])
    assert found["disk_bytes"] > 3 * 10**6 and found["largest_batch"] is None
    assert "limits" in text and "What would change that" in text
    assert sum(shape["steps"] for shape in found["shapes"]) == (6 if cycles else 24)
    assert len({json.dumps(shape["phases"]) for shape in found["shapes"]}) == (4 if cycles else 1)


def test_it_ends_in_its_time(small_dataset, capsys):
    """A user who waits for minutes must know how many. Steps of this run would take longer than that."""
    started = time.monotonic()
    flags = ("--network", "srtg_r3d_18", "--clip-length", 16, "--clip-size", 80, "--batch-size", 8, "--workers", 1)
    found, text = estimate(
        capsys, "--dataset", small_dataset, *flags, "--device", "cpu", "--minutes", 0.05, "--long-cycles",
        "--short-cycles",
    )  # fmt: skip
    assert time.monotonic() - started < 60
    assert {shape["how"] for shape in found["shapes"]} & {"part", "pixels"}
    assert found["is_rough"] and "more --minutes" in text
    (total,) = [line for line in text.splitlines() if line.startswith(" total")]
    assert set(total) & set("~≈*")  # else the number looks measured


def test_several_ranks_are_measured_as_one_of_them(small_dataset, capsys):
    """A rank has its share of batch and cores."""
    words = ("--dataset", small_dataset, *FLAGS, "--gpus", 2, "--minutes", 0.1)
    found, text = estimate(capsys, *words)
    assert [shape["batch"] for shape in found["shapes"]] == [2]
    assert "communication" in text and "GPU" not in text


def test_it_knows_the_variant_of_a_script_with_several_datasets(tmp_path, capsys):
    """The same flags as for the script, whichever it is."""
    folder = write_small_dataset(
        tmp_path / "data", train=8, val=2, files=("kinetics-200_train.csv", "kinetics-200_val.csv")
    )
    words = ["--dataset", str(folder), "--variant", "200", *FLAGS, "--minutes", "0.05", "--long-cycles", "False"]
    assert main([str(ROOT / "train_kinetics.py"), *words]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["total_seconds"] > 0


def test_smaller_frames_are_tried_where_frames_are_large(tmp_path, capsys):
    """Datasets of other tools have frames of 360 lines and more, which take longer to read than they must."""
    folder = write_small_dataset(tmp_path, train=8, val=2, height=360, width=480)
    _, text = estimate(capsys, "--dataset", folder, *FLAGS, "--minutes", 0.1)
    assert "--short-side 256" in text and "342x256 instead of 480x360" in text


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_a_terminal(small_dataset, monkeypatch, capsys, width):
    """A line that wraps within a table cannot be read."""
    monkeypatch.setenv("COLUMNS", str(width))
    script, options, _ = parse(
        [str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS, "--long-cycles", "--short-cycles"], ""
    )
    run = set_up(script, options)
    show(run, Meter(run, 3).measure())
    lines = capsys.readouterr().out.splitlines()
    assert Console().width == width and max(map(len, lines)) <= width
    assert [line.rstrip() for line in lines] == lines
    assert {"What a step takes", "The whole run"} <= {line.strip() for line in lines}


SCRIPT = '''"""A script."""
from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import TrainOptions
SPEC = DatasetSpec("custom", "train.csv", "val.csv")
DEFAULTS = TrainOptions()
'''
BAD_SCRIPTS = {
    "absent.py": None,
    "text.txt": "hello",
    "folder": "",
    "broken.py": "def",
    "failing.py": SCRIPT + "x = 1 / 0\n",
    "without.py": "x = 1\n",
    "two.py": SCRIPT + "OTHER = TrainOptions(clip_size=112)\n",
    "running.py": SCRIPT + "main(__doc__, SPEC, DEFAULTS)\n",
}


@pytest.mark.parametrize("name", BAD_SCRIPTS)
def test_what_is_no_training_script_is_refused(tmp_path, capsys, name):
    """In one line, and without running what it would do."""
    if name == "folder":
        (tmp_path / name).mkdir()
    elif BAD_SCRIPTS[name] is not None:
        (tmp_path / name).write_text(BAD_SCRIPTS[name])
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path / name), "--dataset", str(tmp_path)])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and name in error
    assert ("there is no script" in error) == (name == "absent.py")


def test_a_script_of_one_s_own_is_taken(tmp_path):
    """Users copy train_custom.py and give their names to what it states."""
    (tmp_path / "mine.py").write_text(SCRIPT.replace("SPEC", "MY_DATA"))
    script, options, minutes = parse([str(tmp_path / "mine.py"), "--dataset", "DIR", "--clip-size", "64"], "")
    assert (script.dataset.name, options.clip_size, minutes) == ("custom", 64, 3.0)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--minutes", "2"),
        ("--dataset", "{data}", "train_custom.py"),
        ("train_custom.py", "--evaluate", "--batch-size", "0"),
        ("train_custom.py",),
        ("train_custom.py", "--dataset", "{data}", "--batchsize", "4"),
        ("train_custom.py", "--dataset", "{data}", "--batch-size", "0"),
        ("train_custom.py", "--dataset", "{data}", "--minutes", "0"),
        ("train_custom.py", "--dataset", "{data}", "--minutes", "nan"),
        ("train_custom.py", "--dataset", "{data}", "--evaluate", "--resume-epoch", "auto"),
        ("train_custom.py", "--dataset", "{data}/absent"),
        ("train_custom.py", "--dataset", "{data}", "--gpus", "64", "--device", "cuda"),
        ("train_custom.py", "--dataset", "{data}", "--gpus", "3", "--device", "cpu"),
        ("train_custom.py", "--dataset", "{data}", "--pretrained-3d", "absent.pth"),
        ("train_kinetics.py", "--dataset", "{data}"),
        ("train_custom.py", "--dataset", "{data}", "--resume-epoch", "2"),
        ("train_custom.py", "--dataset", "{data}", "--model-dir", "{data}/labels/train.csv"),
        ("train_custom.py", "--dataset", "{data}", "--model-dir", "/proc/absent"),
        ("train_custom.py", "--dataset", "{data}", "--track", "wandb"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line_and_status_2(server, small_dataset, tmp_path, words):
    """As that of the script itself."""
    words = [str(ROOT / word) if word.endswith(".py") else word.format(data=small_dataset) for word in words]
    process = server.start("-m", "train.estimate", *words, folder=tmp_path)
    assert process.wait() == 2, process.output()
    assert process.stderr.count("\n") == 1 and not process.stdout
    if words[:1] and words[0].startswith("--"):
        assert "first" in process.stderr
    if "--evaluate" in words:
        assert "--evaluate" in process.stderr


def test_torchrun_is_refused(monkeypatch, small_dataset, capsys):
    """Several processes would measure each other."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(SystemExit) as end:
        main([str(ROOT / "train_custom.py"), "--dataset", str(small_dataset)])
    assert end.value.code == 2 and "torchrun" in capsys.readouterr().err


def with_bad_videos(folder: Path, pattern: str) -> Path:
    """A small dataset in which the databases of `pattern` are no databases."""
    dataset = write_small_dataset(folder / "data", train=16, val=4)
    for database in dataset.glob(f"jpg/*/{pattern}/frames.db"):
        database.write_bytes(b"\x93\x01" * 2000)
    return dataset


@pytest.mark.parametrize("workers", [0, 1])
def test_it_ends_if_no_video_can_be_read(tmp_path, workers):
    """It looked for another video without end."""
    words = [str(ROOT / "train_custom.py"), "--dataset", str(with_bad_videos(tmp_path, "*")), *FLAGS]
    with pytest.raises(DataError) as caught:
        main([*words, "--workers", str(workers), "--minutes", "0.05"])
    assert "frames.db" in str(caught.value)


def test_bad_videos_are_counted_once_and_told_first(tmp_path, capsys):
    """The run would stop where the estimate goes on; and a fast reader meets the same video many times."""
    dataset = with_bad_videos(tmp_path, "train_00[0-3]")
    found, text = estimate(capsys, "--dataset", dataset, *FLAGS, "--minutes", 0.1)
    (problem,) = found["problems"]
    assert "4 of the 16 training videos" in problem and "--on-bad-video skip" in problem
    assert text.splitlines()[1].startswith("warning: 4 of the 16")


@pytest.mark.parametrize(("limit", "stops"), [(5, True), (6, False)])
def test_bad_videos_that_are_skipped_may_still_be_too_many(limit, stops):
    """16 videos of which a quarter is bad: 5.3 in an epoch, as those read in their place may be bad too."""
    run = SimpleNamespace(bad_videos_allowed=limit)
    (problem,) = problems._of_videos(run, Videos(set(range(8)), {0, 1}), "training", 16)
    assert ("--bad-video-limit" in problem) == stops


def test_bad_validation_videos_are_told(tmp_path, capsys):
    """They end the run at its first validation. Also if they fill the first batch."""
    dataset = with_bad_videos(tmp_path, "val_00[0-2]")
    found, _ = estimate(capsys, "--dataset", dataset, *FLAGS, "--minutes", 0.1)
    assert "3 of the 4 validation videos" in found["problems"][0]


def test_an_earlier_run_s_folder_is_refused(small_dataset, tmp_path):
    """The run itself would not begin, after the user has planned its hours."""
    folder = tmp_path / "srtg_r3d_10_gates_False"
    folder.mkdir()
    (folder / "srtg_r3d_10_last.pth").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        main([str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS, "--model-dir", str(tmp_path)])
    assert "--resume-epoch" in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["srtg_r3d_10_last.pth"]


def test_a_run_to_resume_is_estimated(small_dataset, tmp_path, capsys):
    """With the settings of its checkpoint, as the run has them."""
    words = [sys.executable, str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS]
    words += ["--model-dir", str(tmp_path), "--batch-size", "16"]
    subprocess.run([*words, "--keep", "1"], cwd=tmp_path, env=ENVIRONMENT, check=True, capture_output=True)
    before = tree(tmp_path)
    words += ["--resume-epoch", "auto", "--minutes", "0.05"]
    kept, _ = estimate(capsys, *words[2:])
    more, _ = estimate(capsys, *words[2:], "--keep", 3)
    assert kept["disk_bytes"] / more["disk_bytes"] == pytest.approx((1 + 3) / (3 + 3), rel=0.01)
    assert tree(tmp_path) == before


def test_a_disk_without_room_is_told_first(small_dataset, tmp_path, monkeypatch, capsys):
    """Else the run stops when it saves. A file cannot be written there, so its time is another disk's."""
    monkeypatch.setattr(problems, "free_bytes", lambda _: 1000)
    monkeypatch.setattr(disk, "_written", lambda state, place: written(place))

    def written(place: Path) -> tuple[int, float]:
        if place == tmp_path:
            raise OSError(errno.ENOSPC, "no space")
        return 10**6, 1.0

    words = ("--dataset", small_dataset, *FLAGS, "--model-dir", tmp_path, "--minutes", 0.05)
    found, text = estimate(capsys, *words)
    assert [str(tmp_path) in problem for problem in found["problems"]] == [True]
    assert "another disk" in text


def test_cores_are_promised_only_to_a_run_that_uses_them(small_dataset, monkeypatch, capsys):
    """With OMP_NUM_THREADS=1 a further core is idle."""
    texts = []
    for threads in (1, 2):
        monkeypatch.setattr(advice.torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr(Run, "cores", 2.0)
        texts.append(estimate(capsys, "--dataset", small_dataset, *FLAGS, "--minutes", 0.05)[1])
    assert ["one more core" in text for text in texts] == [False, True]
    assert all("OMP_NUM_THREADS" in text for text in texts)


def test_shapes_that_look_alike_can_be_told_apart(small_dataset, capsys):
    """Clips and batches of several phases may be the same, and batch norm or the interval another."""
    words = ("--clip-length", 2, "--batch-size", 2, "--minutes", 0.05, "--long-cycles", "--short-cycles")
    found, _ = estimate(capsys, "--dataset", small_dataset, *FLAGS, *words)
    shapes = found["shapes"]
    assert len({(shape["clip"], shape["batch"]) for shape in shapes}) < len(shapes)
    names = ("clip", "batch", "sub_batches", "interval_factor")
    assert len({tuple(shape[name] for name in names) for shape in shapes}) == len(shapes)
    phases = [shape["phases"][0] for shape in shapes]
    assert phases == sorted(phases)
