"""Which files are taken for videos by their names."""

import os

SUFFIXES = {".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov"}
SUFFIXES |= {".mp4", ".mpe", ".mpeg", ".mpeg-4", ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".rmvb", ".ts", ".vob", ".webm"}
SUFFIXES |= {".apng", ".m1v", ".qt"}
SUFFIXES |= {".wmv", ".y4m", ".264", ".265", ".h264", ".h265", ".hevc"}


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    # macOS writes ._<name> beside <name>.
    return suffix(name) in SUFFIXES and not name.startswith("._")


def suffix(name: str) -> str:
    """The suffix of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each file of a dataset)
