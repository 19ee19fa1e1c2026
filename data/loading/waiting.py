"""Clips that do not come: a line now and then, and a caller that may give up.

The processes that read may stand still: at a disk or its server that does not answer, in a decoder, or stopped by
somebody. A disk may come back after minutes, so nothing here ends a run.
"""

import logging
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.duration import duration_text
from common.logs import LOG

POLL = 1.0  # seconds between two looks whether clips have come
FIRST_LINE = 60.0  # seconds after which a line says that they are waited for


class Waiting:
    """The waits of one loader for its worker processes.

    A line says how long clips have been waited for: after `FIRST_LINE`, and then whenever it is twice as long as the
    longest wait that was told. So a slow disk does not fill the log.
    """

    def __init__(self, path: Callable[[int], Path]) -> None:
        """`path` gives the path of a video, for the line."""
        self.asked: deque[Sequence[int]] = deque()  # the videos of each request to a worker that has not come, in order
        self._path = path
        self._since: float | None = None  # when the wait began, if there is one
        self._next_line = FIRST_LINE
        self._check: Callable[[], None] = lambda: None
        self._rank = 0

    @contextmanager
    def checked(self, check: Callable[[], None], rank: int = 0) -> Iterator[None]:
        """Inside this context, call `check` every `POLL` seconds of a wait; its error ends the iteration of the loader.

        `rank` is named in the lines, unless it is the first.
        """
        self._check, self._rank = check, rank
        try:
            yield
        finally:
            self._check = lambda: None

    def note_waits_of(self, iterator: Any) -> None:
        """Have an iterator of a DataLoader, which asks again and again for what a worker has read, note each wait."""
        take, owner = type(iterator)._try_get_data, weakref.ref(iterator)  # a cycle would keep its queues open

        def try_to_take(*_: object) -> tuple[bool, Any]:
            found: tuple[bool, Any] = take(owner(), POLL)
            if found[0]:
                self._since = None
            else:
                self._note()
            return found

        iterator._try_get_data = try_to_take

    def _note(self) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now - POLL
        waited = now - self._since
        if waited >= self._next_line:
            while self._next_line <= waited:
                self._next_line *= 2
            self._tell(waited)
        self._check()

    def _tell(self, waited: float) -> None:
        # Ranks other than the first log errors alone.
        level, whose = (logging.ERROR, f"rank {self._rank}: ") if self._rank else (logging.WARNING, "")
        what = ""
        if self.asked and self.asked[0]:  # there are more workers than videos in a small batch
            videos = list(dict.fromkeys(self.asked[0]))
            more = f" and {len(videos) - 1} more" if len(videos) > 1 else ""
            what = f": the process that reads {self._path(videos[0])}{more} does not answer, nor perhaps its disk"
        LOG.log(level, "%swaiting for clips for %s%s", whose, duration_text(waited), what)
