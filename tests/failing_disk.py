"""A disk that gives no bytes of a file from some byte on, as FFmpeg and Python meet it."""

import errno
import io
import os
from pathlib import Path

import av
import pytest


class _Failing(io.FileIO):
    """A file that cannot be read from a byte on: a read that reaches it is shorter, and the next one fails."""

    def __init__(self, path: Path, end: int) -> None:
        super().__init__(path)
        self._end = end

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self.tell() >= self._end:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().readinto(memoryview(buffer)[: self._end - self.tell()])

    def read(self, size: int | None = -1, /) -> bytes:
        data = bytearray(size if size is not None and size >= 0 else self._end)
        return bytes(data[: self.readinto(data)])


def fail_from(monkeypatch: pytest.MonkeyPatch, path: Path, end: int, times: int | None = None) -> None:
    """Let the file be unreadable from a byte on.

    FFmpeg makes of it what it makes of a file that ends there, as of an EIO in most formats. With `times`, it does so
    when it opens the file so many times, and Python reads it all: an error that has passed.
    """
    cut = path.with_name(f"{path.name}.cut")
    cut.write_bytes(path.read_bytes()[:end])
    open_video, open_file, opened = av.open, Path.open, 0

    def by_ffmpeg(file: str, *arguments: object, **options: object) -> object:
        nonlocal opened
        if Path(file) == path:
            opened += 1
            file = str(cut) if times is None or opened <= times else file
        return open_video(file, *arguments, **options)  # type: ignore[call-overload]

    def by_python(self: Path, mode: str = "r", buffering: int = -1, **options: object) -> object:
        if self != path or times is not None:
            return open_file(self, mode, buffering, **options)  # type: ignore[call-overload]
        return _Failing(path, end) if buffering == 0 else io.BufferedReader(_Failing(path, end))

    monkeypatch.setattr(av, "open", by_ffmpeg)
    monkeypatch.setattr(Path, "open", by_python)
