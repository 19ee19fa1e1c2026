"""Windows to segments, and what is found in a folder."""

import pytest
import torch

from common.errors import DataError
from evaluate.prediction.panel import fitting
from evaluate.prediction.results import Best, best_of, segments_of, shares
from evaluate.prediction.tables import clock
from evaluate.prediction.videos import find_videos


def windows(labels: str, score: float = 0.9) -> list[Best]:
    """Windows of two seconds each second, with these best classes."""
    return [Best(float(start), start + 2.0, (int(label),), (score,)) for start, label in enumerate(labels)]


def test_segments_are_runs_of_one_class_and_leave_no_gap():
    """Who cuts the video at them would lose seconds, or have them twice."""
    found = segments_of(windows("0011120"), 1.0, 0.0)
    assert [(each.label, each.start, each.end, each.windows) for each in found] == [
        (0, 0.0, 2.5, 2), (1, 2.5, 5.5, 3), (2, 5.5, 6.5, 1), (0, 6.5, 8.0, 1),
    ]  # fmt: skip


def test_a_window_below_the_threshold_ends_a_segment():
    """Seconds of which the network is not sure would count as found."""
    row = windows("000")
    row[1] = row[1]._replace(scores=(0.4,))
    assert [(each.start, each.end) for each in segments_of(row, 1.0, 0.5)] == [(0.0, 1.5), (2.5, 4.0)]
    assert len(segments_of(row, 1.0, 0.4)) == 1


def test_windows_apart_stand_for_themselves():
    """What lies between was not looked at."""
    row = [each._replace(start=3 * each.start, end=3 * each.start + 2) for each in windows("01")]
    assert shares(row, 3.0) == [(0.0, 2.0), (3.0, 5.0)]
    assert shares([], 1.0) == []


def test_the_best_classes_are_in_order_and_ties_in_the_order_of_classes():
    """Else two runs could name two labels."""
    best = best_of(torch.tensor([0.1, 0.4, 0.4, 0.1]).log(), 3, 0.0, 1.0)
    assert best.classes == (1, 2, 0) and best.scores[0] == pytest.approx(0.4)


def test_a_folder_is_searched_through_links_but_not_in_circles(tmp_path):
    """Datasets are often linked together; a circle would never end."""
    videos = tmp_path / "videos"
    (videos / "b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in (videos / "B.MP4", videos / "b" / "c.webm", tmp_path / "elsewhere" / "d.avi", videos / ".hidden.mp4"):
        path.touch()
    (videos / "link").symlink_to(tmp_path / "elsewhere")
    (videos / "circle").symlink_to(videos)
    (videos / "list.csv").touch()
    found = find_videos(videos)
    assert list(found.videos) == ["B.MP4", "b/c.webm", "link/d.avi"]
    assert any("1 other file" in line for line in found.left_out)
    with pytest.raises(DataError):
        find_videos(tmp_path / "videos" / "list.csv" / "x")


def test_a_frames_db_stands_for_its_folder(tmp_path):
    """Both names are what a user may give."""
    (tmp_path / "frames.db").touch()
    for place in (tmp_path, tmp_path / "frames.db"):
        assert list(find_videos(place).videos.values()) == [tmp_path]


class Font:
    """Ten pixels a character."""

    @staticmethod
    def getlength(text: str) -> int:
        return 10 * len(text)


def test_long_names_keep_their_beginning_and_end():
    """Classes of one dataset often differ in one of the two."""
    assert fitting("short", Font, 50) == "short"
    assert fitting("abcdefghij", Font, 70) == "abc…hij"
    assert clock(65.25) == "1:05.2" and clock(3605.5) == "1:00:05.5"
