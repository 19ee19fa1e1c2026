"""Which files are taken for videos and pictures by their names, and which folders for those of a system."""

import os

from data.labels.hints import VIDEO_SUFFIXES

VIDEOS = VIDEO_SUFFIXES | {".3g2", ".asf", ".divx", ".f4v", ".gif", ".m2ts", ".m2v", ".mpe", ".mpeg-4", ".mts"}
VIDEOS |= {".apng", ".m1v", ".qt"}
VIDEOS |= {".264", ".265", ".h264", ".h265", ".hevc", ".mxf", ".ogv", ".rm", ".rmvb", ".vob", ".y4m"}
JPEGS = {".jpg", ".jpeg", ".jpe", ".jfif"}
FRAMES = JPEGS | {".bmp", ".png", ".webp"}
OTHER_IMAGES = {".avif", ".exr", ".heic", ".heif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff"}
# Folders that file servers of Synology and others, Windows and unpacked archives of macOS add.
OF_SYSTEMS = {"@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"}


def is_video(name: str) -> bool:
    """Whether a file of this name is taken for a video."""
    # macOS writes ._<name> beside <name>.
    return suffix(name) in VIDEOS and not name.startswith("._")


def is_jpeg(name: str) -> bool:
    """Whether a file of this name is taken for a JPEG frame."""
    return suffix(name) in JPEGS and name[0] != "."


def is_frame(name: str) -> bool:
    """Whether a file of this name is taken for a frame of a video, of any kind that is read."""
    return suffix(name) in FRAMES and name[0] != "."


def is_other_image(name: str) -> bool:
    """Whether a file of this name is a picture that is not read."""
    return suffix(name) in OTHER_IMAGES and name[0] != "."


def is_picture(name: str) -> bool:
    """Whether a file of this name is a picture, read or not."""
    return is_frame(name) or is_other_image(name)


def is_hidden_folder(name: str) -> bool:
    """Whether a folder of this name is never looked into."""
    return name.startswith(".") or name in OF_SYSTEMS


def suffix(name: str) -> str:
    """The suffix of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each file of a dataset)
