"""Folders that hold the same recordings, as editions of a dataset do, become no classes and do not leak."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare import folder_shared, folder_twins
from data.prepare.folder_shared import MOST_PAIRS, shared_paths
from data.prepare.folder_twins import Look, Videos, find_twins
from data.prepare.worker_pool import Outcome
from tests.data.prepare.test_folder import keep_signal_handler, make, run
from tests.data.prepare.test_folder_copies import groups, plan, said
from tests.numbered import encode_numbered_video, jpeg, numbered_frame

__all__ = ["keep_signal_handler"]
LENGTHS = [5, 9, 13, 20, 31, 8, 17, 26]


def film(folder: Path, videos: Mapping[str, int], side: int = 32) -> None:
    """Make videos of these lengths, each with other pixels: files, and folders of frames where the name ends in /."""
    for name, length in videos.items():
        start = zlib.crc32(f"{name} {side}".encode()) % 500
        if name.endswith("/"):
            (folder / "videos" / name).mkdir(parents=True)
            for number in range(length):
                data = jpeg(numbered_frame(start + number, side, side))
                (folder / "videos" / name / f"{number:03d}.jpg").write_bytes(data)
        else:
            encode_numbered_video(folder / "videos" / name, length, side, side, start=start)


def eight(pattern: str, first: int = 0) -> dict[str, int]:
    """Eight videos with a number in their name; `first` shifts the lengths."""
    return {pattern.format(number): LENGTHS[(number + first) % 8] for number in range(8)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data/run/v{}.mp4", "data_small/run/v{}.mp4"),
        ("videos/v{}.mp4", "videos_320/v{}.mp4"),
        ("raw/walk/v{}.avi", "resized/walk/v{}.mkv"),
        ("full/run/v{}/", "small/run/v{}/"),
        ("front/s{}/x.avi", "side/s{}/x.avi"),  # cameras
    ],
)
def test_editions_and_views_are_no_classes(tmp_path: Path, one: str, other: str) -> None:
    """A network would learn to tell large files from small ones, at 100 %, and no line would say so."""
    film(tmp_path, {**eight(one), **eight(other)})
    with pytest.raises(
        DataError, match=r"would hold the same recordings.*If they are classes, say --class-from .*give one of them"
    ):
        plan(tmp_path, "")
    assert len(plan(tmp_path, "", "--class-from", "^([^/]+)/").classes) == 2  # the user insists


def test_all_editions_are_taken_with_the_flag_of_the_line(tmp_path: Path) -> None:
    """Each recording is there twice: one edition in train and the other in val would be a leak."""
    for folder in ("data", "data_small"):
        film(tmp_path, {**eight(folder + "/run/v{}.mp4"), **eight(folder + "/walk/v{}.mp4", 3)}, len(folder) * 8)
    with pytest.raises(DataError, match="16 paths") as error:
        plan(tmp_path, "")
    pattern = str(error.value).partition("as --class-from '")[2].partition("'")[0]
    dataset = plan(tmp_path, "", "--class-from", pattern)
    assert dataset.classes == ["run", "walk"] and len(groups(dataset)) == 16


def test_a_part_of_the_classes_in_a_second_edition_is_refused(tmp_path: Path) -> None:
    """A class run_small beside run cannot be told from it."""
    film(tmp_path, {**eight("run/v{}.mp4"), **eight("walk/v{}.mp4", 3), **eight("run_small/v{}.mkv")})
    with pytest.raises(DataError, match=r"run, run_small would hold.*move all but one of them out"):
        plan(tmp_path, "")


def test_classes_of_earlier_runs_go_on_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset that was made so, as of real and altered videos, would take no further video."""
    film(tmp_path, {**eight("real/{}.mp4"), **eight("altered/{}.mp4")})
    videos, out = tmp_path / "videos", tmp_path / "out"
    assert run(videos, out, "--class-from", "^([^/]+)/") == 0
    make(videos, "real/9.mp4", 90)
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "would hold the same recordings" in capsys.readouterr().out


@pytest.mark.parametrize(
    "videos",
    [
        {**eight("run/s{}/cam.avi"), **eight("jump/s{}/cam.avi", 3)},
        {**eight("run/{}.avi"), **eight("jump/{}.avi", 1)},
        {f"{label}/s{number}/cam.avi": 8 for label in ("run", "jump") for number in range(8)},  # all of one length
        {f"{label}/{number}/": 8 for label in ("run", "jump") for number in range(8)},
    ],
)
def test_classes_with_the_same_names_of_files_are_classes(tmp_path: Path, videos: Mapping[str, int]) -> None:
    """Names such as s1/cam.avi and 001.mp4 are in every class of many datasets."""
    film(tmp_path, videos)
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and not said(dataset, "in common") and not said(dataset, "same recordings")


def test_where_lengths_do_not_tell_names_are_told(tmp_path: Path) -> None:
    """Videos that were all cut to one length: the class folders in both are all there is to see."""
    film(tmp_path, {f"{folder}/{c}/{n}.mp4": 8 for folder in ("a", "b") for c in ("run", "jump") for n in range(4)})
    assert said(plan(tmp_path, ""), "in common").startswith("warning: the classes a, b have 8 paths in common")


def test_editions_below_the_classes_are_on_one_side(tmp_path: Path) -> None:
    """One recording would be in train and in val."""
    for folder in ("data", "data_small"):
        film(tmp_path, {**eight(f"run/{folder}/v{{}}.mp4"), **eight(f"walk/{folder}/v{{}}.mp4", 3)}, len(folder) * 8)
    dataset = plan(tmp_path, "")
    assert len(groups(dataset)) == 16 and all(len(group) == 2 for group in groups(dataset))
    assert said(dataset, "same recordings").endswith("data = data_small; kept on one side of the split")
    by_folder = plan(tmp_path, "", "--by-folder", "1")
    assert said(by_folder, "same recordings").startswith("warning: ") and said(by_folder, "two splits: 16 pairs")


def test_subjects_below_the_classes_are_no_editions(tmp_path: Path) -> None:
    """Subjects s1 and s2 have the same names of files; their recordings are others."""
    film(tmp_path, {**eight("run/s1/v{}.mp4"), **eight("run/s2/v{}.mp4", 2), **eight("walk/s1/v{}.mp4", 4)})
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and said(dataset, "--by-folder 1")


def test_files_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    """They fail later, each with its reason."""
    plan(tmp_path, " ".join(f"{label}/{number}.mp4" for label in ("run", "walk") for number in range(8)))


@pytest.mark.parametrize("names", ["{c}/subject{s}/take{t}.mp4", "{c}/subject{s}/{c}{t}.mp4"])
def test_subjects_of_timed_recordings_are_no_views(tmp_path: Path, names: str) -> None:
    """All videos of a class last as long: the subjects would be joined, and the hint that they may leak be gone."""
    lengths = {"run": 8, "walk": 13, "jump": 20, "wave": 31}
    film(tmp_path, {names.format(c=c, s=s, t=t): n for c, n in lengths.items() for s in range(3) for t in range(3)}, 40)
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and said(dataset, "--by-folder 1") and not said(dataset, "same recordings")
    assert not said(plan(tmp_path, "", "--by-folder", "1"), "same recordings")


def test_one_video_of_a_class_and_subject_can_be_divided(tmp_path: Path) -> None:
    """With nothing to compare in a class, all subjects would be one group, and the command end with status 2."""
    film(tmp_path, {f"c{c}/s{s}/clip.mp4": length for c, length in enumerate(LENGTHS) for s in range(3)})
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and said(dataset, "--by-folder 1") and not said(dataset, "same recordings")


def test_views_leave_each_class_two_groups(tmp_path: Path) -> None:
    """A class of one recording by two cameras would have no video in val."""
    cameras = ("front", "side")
    film(tmp_path, {name: n for each in cameras for name, n in eight(f"walk/{each}/v{{}}.mp4").items()})
    film(tmp_path, {f"run/{each}/v1.mp4": 40 for each in cameras}, 48)
    dataset = plan(tmp_path, "")
    assert len(groups(dataset)) == 8
    assert {named.split for named in dataset.names if named.label == "run"} == {"train", "val"}
    assert "not kept on one side of the split in 1 class, run" in said(dataset, "same recordings")


@pytest.mark.parametrize(
    "names",
    [
        [("s{s:02d}_1x.mp4", 24), ("s{s:02d}_2x.mp4", 12), ("s{s:02d}_3x.mp4", 8)],
        [("s{s}/slow.mp4", 24), ("s{s}/normal.mp4", 12), ("s{s}/fast.mp4", 8)],
        [("s{s}-slow.mp4", 24), ("s{s}-normal.mp4", 12), ("s{s}-fast.mp4", 8)],
    ],
)
def test_names_that_say_the_length_are_no_editions(tmp_path: Path, names: list[tuple[str, int]]) -> None:
    """Those of all subjects are equal: the directions `left`, `right` and `up` would be refused as one recording."""
    film(
        tmp_path,
        {f"{c}/{name.format(s=s)}": n for c in ("left", "right", "up") for s in range(4) for name, n in names},
    )
    dataset = plan(tmp_path, "")
    assert len(dataset.classes) == 3 and not said(dataset, "same recordings")  # a note at most
    assert not said(dataset, "warning: the classes")


def test_links_into_several_classes_are_no_editions(tmp_path: Path) -> None:
    """Datasets of several labels for a video link it into each class: `walking` has five videos of `person`."""
    film(tmp_path, {**eight("person/v{}.mp4"), "walking/w.mp4": 11, "car/a.mp4": 7, "car/b.mp4": 9})
    for number in range(5):
        (tmp_path / f"videos/walking/v{number}.mp4").symlink_to(f"../person/v{number}.mp4")
    dataset = plan(tmp_path, "")
    assert dataset.classes == ["car", "person", "walking"]
    assert said(dataset, "5 paths in common").startswith("warning: the classes person, walking have")


def test_the_work_on_many_folders_of_equal_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 400 classes has the same names, all of one length: each pair was compared, and each path hashed for each.

    A rerun would take minutes before a file is opened.
    """
    folders = [f"class{number // 50}" for number in range(20_000)]
    hashed, compared, kept = 0, 0, 0
    hash_of, common = folder_shared._hash, folder_shared.Shared.common

    def count(key: folder_shared.Key) -> int:
        nonlocal hashed
        hashed += 1
        return hash_of(key)

    def count_common(shared: folder_shared.Shared, pair: tuple[int, int]) -> list[tuple[int, int]]:
        nonlocal compared, kept
        compared += 1
        kept = max(kept, sum(map(len, shared.hashes)) + len(shared.pairs))
        return common(shared, pair)

    def jobs(_: object, paths: Iterable[Path], *__: object, **___: object) -> Iterator[Outcome[Path, Look]]:
        return (Outcome(path, Look(0, 5.0, "")) for path in paths)

    monkeypatch.setattr(folder_shared, "_hash", count)
    monkeypatch.setattr(folder_shared.Shared, "common", count_common)
    monkeypatch.setattr(folder_twins, "run_jobs", jobs)
    key: Callable[[int], folder_shared.Key] = lambda place: (f"{place % 50:05d}",)  # noqa: E731
    found = find_twins(Videos(folders, key, lambda place: Path(folders[place], str(place))))
    assert hashed == 20_000 and compared <= 500 and kept <= 20_000 + MOST_PAIRS
    assert found and not any(pair.is_sure for pair in found)
    assert len({pair.folders[0] for pair in found}) < 400


def test_folders_of_like_names_are_compared_first() -> None:
    """Of 600 classes with the names 000 to 049, run and run_small are an edition, which is found."""
    names = [*(f"c{number:03d}" for number in range(598)), "run", "run_small"]
    folders = [name for name in names for _ in range(50)]
    shared = shared_paths(folders, lambda place: (str(place % 50),), 1000)
    assert len(shared.pairs) == MOST_PAIRS
    assert [shared.folders[number] for number in shared.pairs[0]] == ["run", "run_small"]
