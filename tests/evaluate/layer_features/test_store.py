"""The folder of features: only what this command wrote is taken, and nothing in it is waited for."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from evaluate.layer_features.clips import Video
from evaluate.layer_features.layers import Pooled
from evaluate.layer_features.store import FeatureFolder, Listed, state_of
from evaluate.layer_features.videos import FoundVideo

SETTINGS = {"weights": "0a"}


@pytest.fixture
def videos(tmp_path) -> list[FoundVideo]:
    found = []
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text(name)
        found.append(FoundVideo(tmp_path / name, name))
    return found


@pytest.fixture
def folder(tmp_path, videos) -> FeatureFolder:
    folder = opened(tmp_path)
    for number, video in enumerate(videos):
        rows = np.full((2, 3), number, np.float32)
        folder.write(video, state_of(video), Video(12, 30.0), Pooled(rows, np.array([[0, 5], [6, 11]])))
    return folder


def opened(tmp_path: Path) -> FeatureFolder:
    folder = FeatureFolder(tmp_path / "f", SETTINGS)
    folder.open()
    return folder


def make_later(path: Path) -> None:
    """As any program does that writes a file after its row."""
    os.utime(path, ns=(2 * 10**18, 2 * 10**18))


def rows_file(folder: FeatureFolder, name: str) -> Path:
    return folder.folder / "rows" / f"{name}.json"


def test_rows_have_the_times_of_their_frames_or_those_of_older_versions(folder, videos, tmp_path):
    """A late picture or a varying rate; rows that are there already stay."""
    times = (2.0, *range(3, 14))
    found = Video(12, 30.0, (*times, 14.5))
    rows = Pooled(np.zeros((2, 3), np.float32), np.array([[0, 5], [6, 11]]))
    folder.write(videos[0], state_of(videos[0]), found, rows)
    path = rows_file(folder, videos[1].name)
    about = json.loads(path.read_text())
    del about["times"]
    path.write_text(json.dumps(about))
    folder.write_index([Listed(video, "", None, "") for video in videos])
    lines = (folder.folder / "index.csv").read_text().splitlines()[1:]
    assert [line.split(",")[3:5] for line in lines] == [
        ["2.000", "8.000"], ["8.000", "14.500"], ["0.000", "0.200"], ["0.200", "0.400"],
    ]  # fmt: skip


@pytest.mark.parametrize("times", [None, [], [[0, 1]], [[0, 1], [1]], [[0, 1], "ab"], [[0, 1], [1, "2"]], 7])
def test_damaged_times_are_computed_again(folder, videos, times):
    path = rows_file(folder, videos[0].name)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"times": times}))
    assert folder.about(videos[0]) is None


def test_what_was_written_is_there(folder, videos, tmp_path):
    for each in (folder, opened(tmp_path)):
        assert each.about(videos[1])["rate"] == 30 and (each.load(videos[1]) == 1).all()


@pytest.mark.parametrize("values", [np.full((2, 3), np.nan, np.float32), np.full((2, 3), 7, np.float32)])
def test_features_that_were_changed_are_not_taken(folder, videos, tmp_path, values):
    """With --knn they would change scores without a word."""
    np.save(folder.file(videos[0]), values)
    make_later(folder.file(videos[0]))
    later = opened(tmp_path)
    assert later.about(videos[0]) is None and later.load(videos[0]) is None and later.changed == {"a.mp4"}
    assert later.about(videos[1]) is not None
    found = Pooled(np.zeros((2, 3), np.float32), np.array([[0, 5], [6, 11]]))
    later.write(videos[0], state_of(videos[0]), Video(12, 30.0), found)
    assert later.about(videos[0]) is not None and not later.changed


def test_a_header_that_is_no_python_is_as_if_it_were_not_there(folder, videos, tmp_path):
    """NumPy raises an error of Python's tokenizer, which ended the command with a traceback."""
    header = b"{'descr': ("
    folder.file(videos[0]).write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert opened(tmp_path).about(videos[0]) is None


def test_files_of_two_videos_that_were_exchanged_are_not_taken(folder, videos, tmp_path):
    """Renaming keeps their times."""
    one, two = map(folder.file, videos)
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    later = opened(tmp_path)
    assert later.load(videos[0]) is None and later.changed == {"a.mp4"}
    with pytest.raises(DataError, match=r"1 of the videos.*a\.mp4.*same command again"):
        later.check_unchanged()
    again = opened(tmp_path)
    assert again.about(videos[0]) is None  # it is computed again
    assert again.about(videos[1]) is not None
    again.check_unchanged()


def test_a_copy_is_whole(folder, videos, tmp_path):
    """All its files are written anew, in any order."""
    for video in videos:
        make_later(folder.file(video))
    later = opened(tmp_path)
    assert all(later.about(video) is not None and later.load(video) is not None for video in videos)
    assert not later.changed


def test_a_copy_is_compared_once(folder, videos, tmp_path, monkeypatch):
    """Each command on a copied folder read all of its features, which may be terabytes."""
    for video in videos:
        make_later(folder.file(video))
    assert all(opened(tmp_path).about(video) for video in videos)
    read: list[str] = []
    monkeypatch.setattr(FeatureFolder, "_read", lambda self, video, about: read.append(video.name))
    again = opened(tmp_path)
    assert all(again.about(video) for video in videos) and not read
    monkeypatch.undo()
    np.save(folder.file(videos[0]), np.full((2, 3), 7, np.float32))
    os.utime(folder.file(videos[0]), ns=(2 * 10**18 + 1, 2 * 10**18 + 1))
    assert opened(tmp_path).about(videos[0]) is None  # changed after the comparison


def test_a_copy_that_cannot_be_marked_is_whole(folder, videos, tmp_path, monkeypatch):
    """Such as one of another user."""
    make_later(folder.file(videos[0]))

    def refuse(*_args: object, **_values: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    later = opened(tmp_path)
    assert later.about(videos[0]) is not None and later.load(videos[0]) is not None


def test_features_of_an_older_version_must_be_finite(folder, videos, tmp_path):
    """They have no checksum."""
    for video in videos:
        about = json.loads(rows_file(folder, video.name).read_text())
        about.pop("crc32")
        rows_file(folder, video.name).write_text(json.dumps(about))
    np.save(folder.file(videos[0]), np.full((2, 3), np.inf, np.float32))
    later = opened(tmp_path)
    assert later.load(videos[0]) is None and later.changed == {"a.mp4"}
    assert later.load(videos[1]) is not None


@pytest.mark.parametrize(
    "odd",
    [
        {"rate": 0}, {"rate": "30"}, {"rate": True}, {"rate": -1.0}, {"rate": float("nan")}, {"rate": float("inf")},
        {"rows": ["ab", "cd"]}, {"rows": [[0, 1]]}, {"rows": {"0": 1, "1": 2}}, {"rows": [[0, 1.5], [2, 3]]},
        {"rows": [[0, 10**400], [2, 3]]}, {"rows": [[0, -1], [2, 3]]}, {"shape": [2, "3"]}, {"shape": 6},
        {"size": None}, {"crc32": "x"}, {"rows": [[0, True], [2, 3]]}, {"rows": [[0, 1], "ab"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_in_rows_with_odd_values_is_as_if_it_were_not_there(folder, videos, odd):
    """A traceback in place of the index; and of hours of work, nothing could be used until the file is found."""
    path = rows_file(folder, "a.mp4")
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    listed = [Listed(video, "", None, "") for video in videos]
    assert folder.load(videos[0]) is None
    assert folder.write_index(listed) == 1 + ("crc32" in odd)


def test_nothing_is_waited_for(folder, videos, tmp_path):
    """A pipe has no end: the command would stand still without a line."""
    for path in (folder.file(videos[0]), rows_file(folder, "b.mp4"), folder.folder / "settings.json"):
        path.unlink()
        os.mkfifo(path)
    assert folder.load(videos[0]) is None and folder.load(videos[1]) is None
    with pytest.raises(DataError, match=r"settings\.json is damaged"):
        opened(tmp_path)


@pytest.mark.parametrize("name", ["features", "rows", "features/run"])
def test_nothing_is_written_through_a_link_in_a_given_folder(folder, videos, tmp_path, name):
    """Features of the same names elsewhere would be replaced without a word."""
    elsewhere, link = tmp_path / "elsewhere", folder.folder / name
    if link.exists():
        link.rename(elsewhere)
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    before = sorted(path.read_bytes() for path in elsewhere.iterdir())
    video = FoundVideo(videos[0].path, "run/a.mp4")
    with pytest.raises(DataError, match=f"{link} is a link to {elsewhere}"):
        folder = opened(tmp_path)
        folder.write(video, state_of(video), Video(12, 30.0), Pooled(np.ones((1, 3), np.float32), np.array([[0, 5]])))
    assert sorted(path.read_bytes() for path in elsewhere.iterdir()) == before
