"""Odd trees, lists and label files end in a table or in one line, and no video gets a label that its path denies."""

import os
import random
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.folder import _parse, _plan
from data.prepare.folder_plan import Dataset

NAMES = (
    "wave", "jump", "train", "val", "test", "Validation", "s1", "s2", "a", "b", "1", "2", "10", ".h", "thumbs",
    "frames", "é", "e\u0301", "playing_guitar", "playing guitar", "\udcff", "jpg", "labels", "@eaDir", "CON", "-dash",
    "a.b", "001", "-", " x", "x ", "n\nl", "long" * 50,
)  # fmt: skip
SUFFIXES = [".mp4"] * 6 + [".MP4", ".avi", "", ".txt", ".jpg", ".png", ".csv"]
HEADER = ("label", "id", "start", "end", "split", "path", "class", "video", "n")


def grow(draw: random.Random, videos: Path) -> list[str]:
    """Make a random tree of files that are no videos, links and pipes; return their paths."""
    paths = []
    classes, splits = draw.sample(NAMES, 4), draw.random() < 0.3
    for number in range(draw.choice((0, 1, 8, 20, 40))):
        parts = [draw.choice(("train", "val", "test"))] * splits + [draw.choice(classes)]
        parts += draw.choices(NAMES, k=draw.choice((0, 0, 0, 1, 2)))
        path = videos.joinpath(*parts, draw.choice(NAMES) + draw.choice(SUFFIXES))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if (kind := draw.random()) < 0.05:
                path.symlink_to(draw.choice((videos, path, "/nonexistent", "/dev/null")))
            elif kind < 0.08:
                os.mkfifo(path)
            elif not path.exists():
                path.write_bytes(draw.choice((b"", b"same", b"%d" % number)))
        except OSError:  # such as a folder below a file
            continue
        paths.append(str(path.relative_to(videos)))
    return paths


def scribble(draw: random.Random, path: Path, paths: list[str]) -> str:
    """Write a label file or list of random fields, perhaps damaged."""
    separator = draw.choice(",;\t ")
    fields = [*paths, *NAMES, "1", "0", "00:01", "1.5", '"', ""]
    lines = [separator.join(draw.choices(fields, k=draw.choice((1, 2, 3, 5)))) for _ in range(draw.choice((0, 1, 20)))]
    if draw.random() < 0.6:
        lines.insert(0, separator.join(draw.sample(HEADER, draw.randint(1, 5))))
    elif paths:
        lines = [f"{draw.choice(paths)} {draw.choice(('1', '2', '', '3 4', 'x'))}" for _ in range(10)]
    text = "\n".join(lines).encode(draw.choice(("utf-8", "utf-16", "utf-8-sig")), errors="replace")
    if draw.random() < 0.1:
        text = text[: len(text) // 2] + draw.randbytes(5) + text[len(text) // 2 :]
    path.write_bytes(text)
    return str(path)


def flags_for(draw: random.Random, folder: Path, paths: list[str]) -> list[str]:
    flags = []
    if (kind := draw.random()) < 0.25:
        flags += ["--labels", scribble(draw, folder / "labels.csv", paths)]
    elif kind < 0.35:
        flags += ["--train", scribble(draw, folder / "train.csv", paths)]
        flags += ["--val", scribble(draw, folder / "val.csv", paths)]
    elif kind < 0.5:
        flags += ["--class-from", draw.choice(("([a-z]+)", "(?P<class>.)", "^([^/]*)/", "(x*)", "(.*)"))]
    if draw.random() < 0.3:
        flags += draw.choice((["--by-folder", "1"], ["--by-folder", "2"], ["--group-from", "(s.)"]))
    if draw.random() < 0.15:
        flags += ["--classes", scribble(draw, folder / "classes.txt", paths)]
    return flags


def check(dataset: Dataset, videos: Path, has_folders: bool) -> None:
    """No two videos have one folder; class folders tell the classes; no group is divided."""
    pairs = [(named.label, named.video_id) for named in dataset.names]
    assert len(set(pairs)) == len(pairs) > 1
    assert {named.label for named in dataset.names} <= set(dataset.classes)
    assert {"train", "val"} <= {named.split for named in dataset.names}
    for video, named in zip(dataset.videos, dataset.names, strict=True):
        assert named.video_id == named.video_id.strip() != "" and len(named.video_id.encode()) < 256
        parts = video.path.relative_to(videos).parts
        assert not has_folders or named.label == parts[0 if parts[1:2] == video.above else len(video.above)]
    if dataset.split["from"] == "random":
        sides = {(named.group, named.split) for named in dataset.names}
        assert len(sides) == len({group for group, _ in sides})


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_odd_inputs_are_understood_or_refused(tmp_path: Path, block: int) -> None:
    """A wrong label costs weeks; a traceback tells a user nothing."""
    done = 0
    for seed in range(100 * block, 100 * block + 100):
        draw = random.Random(seed)
        folder = tmp_path / str(seed)
        (folder / "videos").mkdir(parents=True)
        flags = flags_for(draw, folder, grow(draw, folder / "videos"))
        options = _parse([str(folder / "videos"), str(folder / "out"), *flags])
        try:
            dataset = _plan(options).dataset
        except DataError as error:
            assert len(str(error)) < 1000
            continue
        done += 1
        check(dataset, folder / "videos", not {"--labels", "--train", "--class-from"} & set(flags))
    assert done > 5
