"""Which files are taken for videos and pictures by their names, and which folders for those of a system."""

from data.store.folder_entries import is_hidden_folder
from data.store.video_suffixes import is_video, suffix

__all__ = ["is_hidden_folder", "is_jpeg", "is_other_image", "is_picture", "is_video", "suffix"]

JPEGS = {".jpg", ".jpeg", ".jpe", ".jfif"}
FRAMES = JPEGS | {".bmp", ".png", ".webp"}
OTHER_IMAGES = {".avif", ".exr", ".heic", ".heif", ".jp2", ".pgm", ".ppm", ".tif", ".tiff"}


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
