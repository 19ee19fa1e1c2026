"""Fixtures that all tests share. The functions behind them are in the modules beside this one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of several processes block each other

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.numbered import encode_numbered_video, write_numbered_database
from tests.processes import Server
from tests.small_dataset import write_small_dataset

# A shell starts background jobs (`make test &`) with SIGINT ignored, and child processes inherit that. Tests that send
# SIGINT need the default.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def log_as_at_the_start() -> Iterator[None]:
    """A command that a test runs in this process takes over the log; the next tests look at it with caplog."""
    log = logging.getLogger("srtg")
    before = log.handlers, log.propagate, log.level
    yield
    log.handlers, log.propagate = before[0], before[1]
    log.setLevel(before[2])


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
    """A dataset of 32 train and 7 val videos in four classes. All tests share it, so they must not change it."""
    return write_small_dataset(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def server(_server: Server) -> Iterator[Server]:
    """Starts processes that run scripts, and kills those that still run when the test ends."""
    yield _server
    _server.end_all()
