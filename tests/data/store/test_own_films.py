"""Films that evaluate.predict and evaluate.explain wrote beside the videos that they show."""

import os
from pathlib import Path

import av
import pytest

from common.files import open_plain
from data.prepare.sources import find_sources
from data.store.keyframe_index import index_video
from data.store.own_films import EXPLAIN, PREDICT, films_among
from data.store.video_container import VideoError
from data.store.video_file import VideoReader
from tests.numbered import encode_numbered_video


def tagged(path: Path, comment: str, head_first: bool) -> Path:
    """A video of 12 frames with a tag `comment`."""
    plain = encode_numbered_video(path.with_name("plain.mp4"), 12)
    options = {"movflags": "faststart"} if head_first else {}
    with av.open(str(plain)) as source, av.open(str(path), "w", format="mp4", options=options) as film:
        film.metadata["comment"] = comment
        stream = film.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                film.mux(packet)
    plain.unlink()
    return path


@pytest.mark.parametrize("comment", [PREDICT, EXPLAIN])
def test_a_film_is_no_video(tmp_path: Path, comment: str) -> None:
    """It shows names of classes, and perhaps a validation video: a network would be trained on both."""
    film = tagged(tmp_path / "a.mp4", comment, comment == PREDICT)
    for read in (index_video, lambda path: list(VideoReader(path, 64))):
        with pytest.raises(VideoError, match=rf"is a film of {comment.removeprefix('srtg.')}"):
            read(film)


@pytest.mark.parametrize("head_first", [True, False])
def test_films_beside_their_videos_are_found_by_a_few_bytes(
    tmp_path: Path, head_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening all files of a large dataset would take hours."""
    tagged(tmp_path / "a_film.mp4", PREDICT, head_first)
    tagged(tmp_path / "b-heat.mp4", EXPLAIN, head_first)
    tagged(tmp_path / "a_2.mp4", "srtg", head_first)
    for name in ("a.avi", "a1.mp4", "a_left.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"\0\0\0\x10ftyp" * 40 if name == "a_left.mp4" else b"")
    names = [path.name for path in sorted(tmp_path.iterdir())]
    found = films_among(tmp_path, names, ["b"])
    assert found == {"a_film.mp4": "evaluate.predict", "b-heat.mp4": "evaluate.explain"}
    opened = []

    def seen(path, *arguments, **options):
        opened.append(path.name)
        return open_plain(path, *arguments, **options)

    monkeypatch.setattr("data.store.own_films.open_plain", seen)
    films_among(tmp_path, names)
    assert sorted(opened) == ["a_2.mp4", "a_film.mp4", "a_left.mp4"]


def test_a_film_beside_its_video_is_left_out_with_a_line(tmp_path: Path) -> None:
    """Else its class would have one more video, perhaps on the other side of the split."""
    (tmp_path / "run").mkdir()
    encode_numbered_video(tmp_path / "run" / "a.mp4", 12)
    tagged(tmp_path / "run" / "a_film.mp4", PREDICT, True)
    found = find_sources(tmp_path, tmp_path / "out")
    assert [video.video_id for video in found.videos] == ["a"]
    assert [(each.kind, each.item) for each in found.problems] == [("warning", "run/a_film")]
    assert "a film of evaluate.predict" in found.problems[0].reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a kind of file that the system does not have")
def test_a_pipe_with_the_name_of_a_film_is_not_waited_for(tmp_path: Path) -> None:
    """convert, folder, resize, predict and features stood still: nobody writes into it."""
    os.mkfifo(tmp_path / "a_film.mp4")
    assert films_among(tmp_path, ["a.mp4", "a_film.mp4"]) == {}
