"""Fixtures that every part's tests share; the functions behind them are in tests/numbered.py."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.numbered import encode_numbered_video, write_numbered_database


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
