"""Which videos the lists in a run's folder may name: the page with their frames is sent to others."""

import pytest

from common.errors import DataError
from train.report.video_places import VideoPlaces


@pytest.fixture
def disk(tmp_path):
    """A dataset of both kinds, and private files beside it."""
    for place in ("data/jpg/run/a", "private/jpg/run/a", "private/films/a", "linked/jpg/run", "linked/jpg/class"):
        (tmp_path / place).mkdir(parents=True)
        if place.endswith("/a"):
            (tmp_path / place / "frames.db").touch()
    (tmp_path / "data/videos/run").mkdir(parents=True)
    for name in ("data/videos/run/b.mp4", "data/run.txt", "data/videos/run/c.txt", "private/a.mp4", "data/a.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "data/jpg/run/out").symlink_to("../../../private/films/a")
    (tmp_path / "data/videos/run/out.mp4").symlink_to("../../../private/a.mp4")
    (tmp_path / "data/jpg/linked").symlink_to("../../private/films")
    (tmp_path / "data/jpg/run/empty").mkdir()
    (tmp_path / "data/jpg/run/empty/frames.db").symlink_to("../../../../private/films/a/frames.db")
    return tmp_path


@pytest.mark.parametrize(
    ("video", "path", "found"),
    [
        ("run/a", "", "jpg/run/a"),
        ("run/a", "/moved/data/jpg/run/a", "jpg/run/a"),
        ("run/a", "DATA/jpg/run/a", "jpg/run/a"),
        ("run/b", "DATA/videos/run/b.mp4", "videos/run/b.mp4"),
        ("run/b", "/moved/videos/run/b.mp4", "videos/run/b.mp4"),
    ],
)
def test_videos_of_the_run_s_dataset_are_found(disk, video, path, found):
    """Also after the dataset was moved: the page would lack what tells most about a mistake."""
    for dataset in (disk / "data", disk / "data" / found.partition("/")[0]):
        places = VideoPlaces([str(dataset), None])
        assert places.of(video, path.replace("DATA", str(disk / "data"))).relative_to(disk / "data").as_posix() == found
        assert list(places.used) == [str(disk / "data" / found.partition("/")[0])]


@pytest.mark.parametrize(
    ("video", "path"),
    [
        ("run/a", "DISK/private/films/a"), ("x/a", "DISK/private/films/a"), ("x/a", "DISK/private/a.mp4"),
        ("../../private/films/a", ""), ("../../../private/films/a", "DISK/data/jpg/../../private/films/a"),
        ("DISK/private/films/a", ""), ("run/../../../private/films/a", ""), ("x/a", "DISK/data/a.mp4"),
        ("run/out", ""), ("run/out", "DISK/data/videos/run/out.mp4"), ("linked/a", ""), ("run/empty", ""),
        ("run/c", "DISK/data/videos/run/c.txt"), ("run/gone", "DISK/data/jpg/run/gone"), ("", ""), ("run", ""),
    ],
)  # fmt: skip
def test_no_other_place_is_read(disk, video, path):
    """The folder of a run that someone sent put pictures of any file of the disk into the page."""
    video, path = (each.replace("DISK", str(disk)) for each in (video, path))
    places = VideoPlaces([str(disk / "data"), str(disk / "run"), 5])
    try:
        assert places.of(video, path) == disk / "data/jpg/run/a" and video == "run/a"
    except DataError as error:
        assert "--dataset" in str(error) and not places.used


def test_links_are_followed_in_the_dataset_that_the_user_names(disk):
    """A dataset may keep a class on another disk."""
    places = VideoPlaces([str(disk / "private")], disk / "data")
    assert places.of("linked/a", "") == disk / "data/jpg/linked/a"
    assert list(places.used) == [str(disk / "data/jpg")]


def test_a_part_of_a_longer_video_is_not_shown_as_the_video(disk):
    with pytest.raises(DataError, match="other frames too"):
        VideoPlaces([str(disk / "data")]).of("run/a_000010_000020", str(disk / "data/jpg/run/a"))
