"""The ids of videos: different for each, valid names of folders, and the same when videos are added."""

import random
from pathlib import Path

from data.prepare.folder_layout import Video
from data.prepare.folder_names import ids_of, key_of
from data.store.video_file import Span

VIDEOS = Path("videos")


def video(path: str, label: str = "wave", span: tuple[float, float] | None = None) -> Video:
    place = VIDEOS / label / path
    name = place.stem
    if span:
        name += f"_{int(span[0]):06d}_{int(span[1]):06d}"
    return Video(place, label, name, tuple(path.split("/")[:-1]), span=Span(*span) if span else None)


def ids(videos: list[Video], known: dict | None = None) -> dict[str, str]:
    keys = [key_of(each, VIDEOS) for each in videos]
    named = ids_of(videos, keys, known or {})
    assert len({(each.label, name) for each, name in zip(videos, named, strict=True)}) == len(videos)
    return dict(zip(("/".join(key[1:]).rstrip("/") for key in keys), named, strict=True))


def test_names_that_would_collide_get_folders_or_suffixes() -> None:
    """Else one of the videos is lost, or takes the other's label."""
    assert ids([video("a.mp4"), video("b.mp4"), video("s1/b.mp4"), video("s2/b.avi"), video("a.mp4", "jump")]) == {
        "wave/a.mp4": "a", "wave/b.mp4": "b", "wave/s1/b.mp4": "s1_b", "wave/s2/b.avi": "s2_b", "jump/a.mp4": "a",
    }  # fmt: skip
    assert ids([video("a.mp4"), video("a.avi")]) == {"wave/a.mp4": "a_mp4", "wave/a.avi": "a_avi"}
    found = ids([video("s/t/a.mp4"), video("s_t/a.mp4"), video("s_t_a.mp4"), video("s/t/a_mp4.mp4")])
    assert all(len(name) < 30 for name in found.values())


def test_a_folder_of_frames_has_no_suffix() -> None:
    """The id take.0_0 would be a name that the user never gave, and that hides which recording it is."""
    frames = video("take.0")._replace(name="take.0")
    assert ids([frames, video("take.0.mp4")]) == {"wave/take.0": "take.0", "wave/take.0.mp4": "take.0_mp4"}
    older = {key_of(frames, VIDEOS): "take.0_0"}
    assert ids([frames, video("take.0.mp4")], older) == {"wave/take.0": "take.0_0", "wave/take.0.mp4": "take.0_mp4"}


def test_a_video_keeps_its_name_when_others_come() -> None:
    """Else it would be converted again, and its row would name another video."""
    first = [video("s1/a.mp4")]
    known = {key_of(each, VIDEOS): name for each, name in zip(first, ids(first).values(), strict=True)}
    assert ids([video("s0/a.mp4"), *first, video("a.mp4")], known) == {
        "wave/s0/a.mp4": "s0_a", "wave/s1/a.mp4": "a", "wave/a.mp4": "a_mp4",
    }  # fmt: skip


def test_a_new_video_has_the_name_that_it_has_in_a_new_dataset() -> None:
    """Else ids would depend on the order of the runs, and a folder `000` would hide whose video it holds."""
    old = [video(f"{subject}/day1/000.mp4") for subject in ("anna", "ben")]
    known = {key_of(each, VIDEOS): name for each, name in zip(old, ids(old).values(), strict=True)}
    new = video("dora/day1/000.mp4")
    assert ids([*old, new], known)["wave/dora/day1/000.mp4"] == "dora_day1_000"
    assert ids([*old, new], known) == ids([*old, new])


def test_parts_of_a_recording_within_a_second_differ() -> None:
    found = ids([video("a.mp4", span=(1.0, 1.5)), video("a.mp4", span=(1.5, 1.9)), video("a.mp4", span=(2.0, 3.0))])
    assert sorted(found.values()) == ["a_000001.000_000001.500", "a_000001.500_000001.900", "a_000002_000003"]
    found = ids([video("s1/a.mp4", span=(1.0, 1.5)), video("s2/a.mp4", span=(1.0, 1.5))])
    assert list(found.values()) == ["s1_a_000001.000_000001.500", "s2_a_000001.000_000001.500"]


def test_every_name_is_that_of_a_folder_that_a_label_file_can_name() -> None:
    """Spaces at the ends are lost in label files, and a name of 256 bytes has no folder."""
    draw = random.Random(0)
    letters = [" ", ".", "\n", "\udcff", "é", "a", "\\", "\t", "%", "_", "\u2028", "\x1b", "日"]
    paths = {"".join(draw.choices(letters, k=draw.choice((1, 2, 3, 200)))) for _ in range(300)}
    found = ids([video(f"{path}.mp4") for path in sorted(paths) if path not in (".", "..")])
    for name in found.values():
        assert name == name.strip() and name.isprintable() and not name.startswith(".") and "/" not in name
        assert 0 < len(name.encode()) <= 255


def test_no_id_ends_in_a_suffix_of_videos() -> None:
    """The row clip.mp4 of a label file is that of the id clip: both would be one video, of one split or of two."""
    assert ids([video("clip.mp4"), video("clip.mp4.mp4"), video("a.MOV.avi"), video("clip.mp4.avi")]) == {
        "wave/clip.mp4": "clip", "wave/clip.mp4.mp4": "clip.mp4_mp4", "wave/a.MOV.avi": "a_MOV",
        "wave/clip.mp4.avi": "clip.mp4_avi",
    }  # fmt: skip
    known = {key_of(video("clip.mp4.mp4"), VIDEOS): "clip.mp4"}  # by an older version
    assert ids([video("clip.mp4.mp4"), video("clip.avi")], known) == {
        "wave/clip.mp4.mp4": "clip.mp4", "wave/clip.avi": "clip_avi",
    }  # fmt: skip
