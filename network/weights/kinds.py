"""What a file is that was given as a checkpoint and is none: for messages that say what to do."""

import stat
from pathlib import Path

HEAD = 512
"""Bytes at the start of a file that `not_weights` needs."""

MAGIC = {
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself with `git lfs pull`",
    b"\x1f\x8b": "a gzip file: unpack it",
    b"BZh": "a bzip2 file: unpack it",
    b"7z\xbc\xaf": "a 7z archive: unpack it",
    b"\xfd7zXZ": "an xz file: unpack it",
    b"\x89HDF": "an HDF5 file, which Keras writes",
    b"%PDF": "a PDF",
    b"SQLite format 3": "a database",
}


def not_a_file(path: Path) -> str:
    """What `path` is if it is no file: "a folder", "a link to nothing"; empty if it is one. OSError."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link to nothing" if path.is_symlink() else "missing"
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe or socket" if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else "a device"


def not_weights(head: bytes) -> str:
    """What a file is that begins with `head` and has no weights: "an HTML page"; empty if it may have weights."""
    if not head:
        return "empty"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "an HTML page: the page of a download was saved and not the file itself"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    is_text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head) and _decodes(head)
    # A pickle of protocol 0 is text too; its first character is one of these, and it ends in a full stop.
    return "" if not is_text or head.startswith((b"(", b"c", b"}", b"]")) else f"text ({_first_line(head)!r})"


def _decodes(head: bytes) -> bool:
    try:
        head[: len(head) - 3].decode() if len(head) == HEAD else head.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_line(head: bytes) -> str:
    return head.decode(errors="replace").strip().splitlines()[0][:60] if head.strip() else ""
