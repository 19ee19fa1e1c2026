"""The arrays of a split: if this fails, a video has the class of another, or workers start slowly."""

import os
import pickle
import warnings
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from data.labels.video_list import FoundVideo, VideoList, pack


def make_list(number: int, jpg: str = "/d/jpg") -> VideoList:
    videos = [(i % 3, FoundVideo(f"class {i % 3}", f"-vid#é{i}", i + 1, "")) for i in range(number)]
    return pack(Path(jpg), ("a", "b", "c"), videos)


def test_each_index_gives_its_own_folder_and_label():
    videos = make_list(5)
    assert len(videos) == 5
    assert [videos.folder(i) for i in range(5)] == [Path(f"/d/jpg/class {i % 3}/-vid#é{i}") for i in range(5)]
    assert videos.labels.dtype == np.int64 and videos.labels.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("index", [-1, 5])
def test_an_index_outside_is_an_error_and_not_another_video(index):
    with pytest.raises(IndexError):
        make_list(5).folder(index)


def test_a_worker_gets_a_list_as_bytes_not_as_objects():
    """A million Python objects would take seconds to reach a spawned worker."""
    few, many = (len(pickle.dumps(make_list(number))) for number in (100, 1100))
    name = len(os.fsencode("-vid#é1000"))
    assert (many - few) / 1000 <= name + 8 + 4 + 4 + 4 + 1
    copy = pickle.loads(pickle.dumps(make_list(1100)))
    assert copy.folder(1099) == make_list(1100).folder(1099)
    assert copy.classes == ("a", "b", "c")


def test_names_that_are_not_utf8_are_found_again(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    videos = pack(tmp_path, ("a",), [(0, FoundVideo("a", name, 1, ""))])
    assert videos.folder(0) == tmp_path / "a" / name


def test_the_digest_tells_whether_videos_labels_or_their_order_differ():
    """A resumed run with other labels must not go on as if nothing had changed; the folder may have moved."""
    videos = [(0, FoundVideo("a", "ab", 1, "")), (1, FoundVideo("b", "c", 1, ""))]
    same = pack(Path("/one"), ("a", "b"), videos).digest()
    assert pack(Path("/two"), ("a", "b"), videos).digest() == same
    others = {
        "order": pack(Path("/one"), ("a", "b"), videos[::-1]),
        "labels": pack(Path("/one"), ("a", "b"), [(1 - label, video) for label, video in videos]),
        "names": pack(Path("/one"), ("a", "b"), [(0, FoundVideo("a", "a", 1, "")), (1, FoundVideo("b", "bc", 1, ""))]),
        "classes": pack(Path("/one"), ("a", "c"), videos),
        "fewer": pack(Path("/one"), ("a", "b"), videos[:1]),
    }
    for name, other in others.items():
        assert other.digest() != same, name


def test_a_hash_depends_on_the_class_and_the_name_alone():
    """Videos that a network was trained on would not be found in another list, or others taken for them."""
    names = ["ab", "ba", "a", "b", "aab", "x" * 255, "x" * 254 + "y", os.fsdecode(b"caf\xe9"), "-vid#1", "café"]
    videos = [(label, FoundVideo(f"c{label}", name, 1, "")) for label in (0, 1) for name in names]
    hashes = pack(Path("/one"), ("a", "b"), videos).hashes()
    assert hashes.dtype == np.int64 and hashes.shape == (20,) and len(set(hashes.tolist())) == 20
    swapped = [(1 - label, FoundVideo("elsewhere", video.name, 9, "")) for label, video in reversed(videos)]
    assert pack(Path("/two"), ("b", "a"), swapped).hashes().tolist() == hashes.tolist()[::-1]
    assert pack(Path("/one"), ("a",), []).hashes().tolist() == []


def test_a_hash_is_of_both_unicode_forms_of_a_name():
    """A dataset that went over a Mac would be taken for other videos, and its training videos scored without a word."""
    names = ["é1", "a", "zoë-ü", "x" * 80 + "\u0958", *(f"é{number}" for number in range(2, 9))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # sums wrap, which NumPy warned of at a start
        both = [
            pack(Path("/d"), ("été",), [(0, FoundVideo("c", normalize(form, name), 1, "")) for name in names]).hashes()
            for form in ("NFC", "NFD")
        ]
    assert both[0].tolist() == both[1].tolist() and len({*both[0].tolist()}) == len(names)


def test_the_hashes_are_those_of_every_version():
    """Checkpoints keep them: another hash would find none of the videos that they were trained on."""
    assert make_list(3).hashes().tolist() == [-5492234817537274119, 2550057063952778017, -8704354850386125617]
    many = make_list(20_000)  # more than are hashed at a time
    few = pack(Path("/d/jpg"), ("a", "b", "c"), [(i % 3, many.found(i)) for i in range(19_990, 20_000)])
    assert many.hashes()[-10:].tolist() == few.hashes().tolist()
    assert len(np.unique(many.hashes())) == 20_000
