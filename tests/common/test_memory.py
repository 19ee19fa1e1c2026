"""Memory that processes share without a name in the file system."""

import mmap
import os

import pytest

from common.memory import anonymous_file


@pytest.mark.parametrize("has_memfd", [True, False])
def test_a_file_without_a_name_is_shared_memory_of_its_size(tmp_path, monkeypatch, has_memfd):
    """Outside Linux a temporary file takes its place. Neither may leave a file behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    if not has_memfd:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    descriptor = anonymous_file("test", 3 * mmap.PAGESIZE)
    try:
        assert os.fstat(descriptor).st_size == 3 * mmap.PAGESIZE
        assert list(tmp_path.iterdir()) == []
        with mmap.mmap(descriptor, mmap.PAGESIZE) as one, mmap.mmap(descriptor, mmap.PAGESIZE) as other:
            one[:4] = b"clip"
            assert other[:4] == b"clip"
    finally:
        os.close(descriptor)


def test_more_memory_than_the_machine_has_is_refused():
    """The system would kill processes later, when they write to it, without a reason."""
    with pytest.raises(OSError):
        anonymous_file("test", 1 << 60)
