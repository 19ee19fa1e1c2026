"""A full disk: every command that writes says so in one line, and what was there before stays whole.

Where root can mount one, the disk is a small tmpfs; elsewhere a limit on the size of files stands for it.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from data.store.frame_store import FrameStore
from network import create_network
from tests.numbered import encode_numbered_video
from tests.processes import ENVIRONMENT, ROOT
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, assert_same, assert_same_run

pytestmark = pytest.mark.slow
FULL = ("disk is full", "larger than")  # ENOSPC; EFBIG under the limit
Command = list[object]
Finished = subprocess.CompletedProcess[str]


def can_mount() -> bool:
    """Whether this user may mount a file system in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def run_on_small_disk(disk: Path, kib: int, command: Command, keep: Path | None = None) -> Finished:
    """Run Python with `command` while the folder `disk` holds at most `kib` KiB; its files go to `keep` afterwards."""
    disk.mkdir(exist_ok=True)
    words = [str(word) for word in (sys.executable, *command)]
    limit = None
    if can_mount():
        script = 'mount -t tmpfs -o size="$1k" none "$2" && d=$2 k=$3 && shift 3 && "$@"; s=$?; '
        script += '[ -z "$k" ] || cp -r "$d/." "$k"; exit $s'
        words = ["unshare", "-m", "sh", "-c", script, "sh", str(kib), str(disk), str(keep or ""), *words]
    else:
        limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (kib * 1024, kib * 1024))
    if keep is not None:
        keep.mkdir()
    environment = os.environ | ENVIRONMENT
    return subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit
    )


def assert_full(process: Finished) -> None:
    output = process.stdout + process.stderr
    assert process.returncode in (1, 2), output
    assert "Traceback" not in output, output
    assert any(words in output for words in FULL), output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, TINY, "--dataset", small_dataset, *TINY_FLAGS, "--workers", 0, "--model-dir", folder]
    subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=os.environ | ENVIRONMENT, check=True, capture_output=True
    )
    network = create_network("r3d_10", 4)
    facts = {"name": "r3d_10", "gates": False, "placement": "final", "num_classes": 4}
    torch.save({"network": facts, "weights": network.state_dict()}, folder / RUN / "r3d_10.pth")
    return folder / RUN


WRITERS: dict[str, Callable[[Path, Path, Path], Command]] = {
    "curves": lambda disk, run, _: ["-m", "train.plot_scores", run, "--output", disk / "x.png"],
    "schedule": lambda disk, *_: ["-m", "train.schedule", "--output", disk / "x.png"],
    "preview": lambda disk, _, dataset: ["-m", "data.preview", dataset, "--output", disk / "x.png"],
    "safetensors": lambda disk, run, _: ["-m", "train.export", run / "r3d_10.pth", disk / "x.safetensors"],
    "program": lambda disk, run, _: ["-m", "train.export", run / "r3d_10.pth", disk / "x.pt2", "--clip-size", 32],
    "videos": lambda disk, *_: ["-m", "data.prepare.synthetic", disk / "x", "--videos", 8, "--val-videos", 4],
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_command_that_writes_one_file(name: str, tmp_path: Path, trained: Path, small_dataset: Path) -> None:
    """A user whose quota is used up must read that, and not the name of a function of a library."""
    disk = tmp_path / "disk"
    assert_full(run_on_small_disk(disk, 8, WRITERS[name](disk, trained, small_dataset)))


def test_a_conversion_keeps_the_whole_videos_and_stops(tmp_path: Path) -> None:
    for number in range(6):
        encode_numbered_video(tmp_path / "videos" / "walk" / f"{number}.mp4", 40)
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    command = ["-m", "data.prepare.convert", tmp_path / "videos", disk / "out", "--workers", 1]
    assert_full(run_on_small_disk(disk, 160, command, kept))
    databases = list(kept.rglob("frames.db"))
    if can_mount():
        assert 0 < len(databases) < 6
    for database in databases:
        assert FrameStore(database.parent).check_numbering() == 40
    assert not list(kept.rglob(".*.tmp*"))
    shutil.copytree(kept / "out", tmp_path / "out", dirs_exist_ok=True) if databases else None
    again = [sys.executable, "-m", "data.prepare.convert", tmp_path / "videos", tmp_path / "out"]
    subprocess.run(list(map(str, again)), cwd=ROOT, env=os.environ | ENVIRONMENT, check=True, capture_output=True)
    assert len(list((tmp_path / "out").rglob("frames.db"))) == 6


@pytest.mark.parametrize("share", [0.02, 0.5, 1.5, 2.5])
def test_a_run_keeps_its_last_whole_checkpoint(
    share: float, tmp_path: Path, trained: Path, small_dataset: Path
) -> None:
    """The disk holds `share` of a checkpoint beside the log; whatever stands there afterwards can be read."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    kib = 40 + int(share * (trained / LAST).stat().st_size / 1024)
    flags = (*TINY_FLAGS, "--workers", 0, "--save-every-steps", 1)
    process = run_on_small_disk(disk, kib, [TINY, "--dataset", small_dataset, *flags, "--model-dir", disk], kept)
    assert_full(process)
    for path in (kept / RUN).glob("*.pth"):
        torch.load(path, weights_only=True)
    assert not list((kept / RUN).glob(".*.tmp"))


@pytest.mark.skipif(not can_mount(), reason="the limit on files stands for no disk that holds some of them")
@pytest.mark.parametrize("copies", [2.5, 3.5, 4.5])
def test_a_run_whose_disk_filled_at_an_epoch_loses_none_of_its_files(
    copies: float, tmp_path: Path, trained: Path, small_dataset: Path
) -> None:
    """The best state and that epoch's file were lost for ever by the resume that the line advises."""
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    kib = 40 + int(copies * (trained / LAST).stat().st_size / 1024)
    command = [TINY, "--dataset", small_dataset, *TINY_FLAGS, "--workers", 0, "--resume-epoch", "auto", "--model-dir"]
    assert_full(run_on_small_disk(disk, kib, [*command, disk], kept))
    words = [sys.executable, *map(str, [*command, kept])]
    subprocess.run(words, cwd=ROOT, env=os.environ | ENVIRONMENT, check=True, capture_output=True)
    assert_same_run(kept / RUN, trained)
    assert not list((kept / RUN).glob("*.abandoned"))
    for path in trained.glob("srtg*.pth"):
        there, here = (torch.load(folder / path.name, weights_only=True) for folder in (trained, kept / RUN))
        assert_same(there["weights"], here["weights"])
