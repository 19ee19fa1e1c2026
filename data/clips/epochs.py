"""Which epoch the next clip of each video is of, in memory that worker processes share."""

import mmap
import weakref
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from common.errors import DataError
from common.files import reason
from common.memory import anonymous_file

WORD = np.dtype(np.int64)


class SharedEpochs:
    """An epoch, and how often each of N videos was read since it began.

    A forked process shares it, and a spawned one too. Pickling for any other purpose copies it.

    A worker of torch's DataLoader has a copy of the dataset: without shared memory it would not learn of a new epoch,
    and every epoch's workers would count the videos from zero again, that is, draw the same clips.
    """

    def __init__(self, num_videos: int) -> None:
        try:
            self._map(anonymous_file("epochs", (num_videos + 1) * WORD.itemsize))
        except OSError as error:
            raise DataError(f"cannot get memory to count {num_videos} videos ({reason(error)})") from error

    def _map(self, file: int) -> None:
        self._file = open(file, "r+b", buffering=0)  # noqa: SIM115 - stays open as long as the counts exist
        weakref.finalize(self, self._file.close)  # else Python warns wherever it collects the file
        self._values = np.frombuffer(mmap.mmap(file, 0), WORD)  # the epoch, then the counts

    @property
    def epoch(self) -> int:
        """The epoch that was set last; 0 at first."""
        return int(self._values[0])

    def set(self, epoch: int) -> None:
        """Begin an epoch: no video has been read since."""
        self._values[1:] = 0
        self._values[0] = epoch

    def next_of(self, index: int) -> int:
        """The epoch of a video's next clip: one later each time."""
        read = int(self._values[index + 1])
        self._values[index + 1] = read + 1
        return self.epoch + read

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            return _copied, (self._values.tobytes(),)
        return _attached, (DupFd(self._file.fileno()),)


def _copied(values: bytes) -> SharedEpochs:
    epochs = SharedEpochs(len(values) // WORD.itemsize - 1)
    epochs._values[:] = np.frombuffer(values, WORD)
    return epochs


def _attached(file: Any) -> SharedEpochs:
    epochs = SharedEpochs.__new__(SharedEpochs)
    epochs._map(file.detach())
    return epochs
