"""Files that were moved or renamed, found by the size and fingerprint that what was made of them keeps."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from common.errors import DataError
from data.labels.class_folders import in_threads
from data.prepare.conversion import content_of

Content = tuple[int, str]  # the size, and data.store.origin.file_content or folder_content


def found_again(contents: Collection[Content], paths: Iterable[Path], pattern: str) -> dict[Content, list[Path]]:
    """The files and folders of frames that have one of these contents. Of files, only those of such a size are read.

    Of a folder, the content is that of the frames that `pattern` chooses.
    """
    if not contents:
        return {}
    sizes = {size for size, _ in contents}

    def look(path: Path) -> Content | None:
        try:
            return content_of(path, pattern) if path.is_dir() or path.stat().st_size in sizes else None
        except (OSError, DataError):  # its conversion says why
            return None

    found: defaultdict[Content, list[Path]] = defaultdict(list)
    every = list(dict.fromkeys(paths))
    for path, content in zip(every, in_threads("moved files", look, every), strict=True):
        if content in contents and content:
            found[content].append(path)
    return found
