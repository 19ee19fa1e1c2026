"""Fixtures that every part's tests share; the functions behind them are in the modules beside this one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads of busy processes wait for each other for long

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.numbered import encode_numbered_video, write_numbered_database
from tests.processes import Server
from tests.small_dataset import write_small_dataset


@pytest.fixture
def numbered_database(tmp_path: Path) -> Callable[..., Path]:
    """Write <tmp>/<name>/frames.db of numbered frames: numbered_database("walk/a", count=20, ...) -> video folder."""

    def write(name: str, count: int, **layout: object) -> Path:
        return write_numbered_database(tmp_path / name, count, **layout)  # type: ignore[arg-type]

    return write


@pytest.fixture
def numbered_video(tmp_path: Path) -> Callable[..., Path]:
    """Encode <tmp>/<name> of numbered frames: numbered_video("videos/walk/a.mp4", count=20, ...) -> path."""

    def write(name: str, count: int, **encoding: object) -> Path:
        return encode_numbered_video(tmp_path / name, count, **encoding)  # type: ignore[arg-type]

    return write


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 32 train and 7 val videos in four classes, for all tests: not to be changed."""
    return write_small_dataset(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """Starts processes that run scripts; what still runs when the test ends is killed."""
    yield _server
    _server.end_all()
