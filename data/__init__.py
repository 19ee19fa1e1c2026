"""Videos on disk in, batches of clips on the device out. It may import `common` only.

store     the frames of one video: read, decoded, cropped, written (frames.db)
labels    which videos a dataset has, and of which class
clips     one clip of a video: which frames (sampling), which crop (crop), read by ClipDataset (dataset)
loading   clips to batches, read by worker processes and copied to the device
augment   a batch of clips augmented and normalised, on the device
prepare   videos to frames.db, official annotations to label files, downloads
preview   python -m data.preview: a picture of original and augmented clips
open      open_split and read_video, the entrance for notebooks and scripts of one's own
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from common.errors import DataError
from common.interrupt import end_quietly_until_run

if TYPE_CHECKING:
    from data.augment.normalise import Normalise
    from data.clips.by_index import Clips
    from data.loading.clip_loader import ClipLoader
    from data.open import open_split, read_video

__all__ = ["ClipLoader", "Clips", "DataError", "Normalise", "open_split", "read_video"]

end_quietly_until_run("data")

# Imported when they are asked for: a command of data.prepare need not wait for torch.
_MODULES = {
    "ClipLoader": "data.loading.clip_loader",
    "Clips": "data.clips.by_index",
    "Normalise": "data.augment.normalise",
    "open_split": "data.open",
    "read_video": "data.open",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
