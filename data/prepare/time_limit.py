"""An end to work that may wait for ever in a socket."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimeIsUp(BaseException):
    """No Exception, which yt-dlp would take for a failure of one of its ways to ask."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeIsUp in the block, which the main thread runs, after so many seconds, also while a socket waits.

    A thread sends SIGUSR1, which interrupts the wait. SIGALRM is the worker pool's.
    """
    main, ended = threading.get_ident(), threading.Event()

    def remind() -> None:
        if not ended.wait(seconds):
            signal.pthread_kill(main, signal.SIGUSR1)

    def stop(*_: object) -> None:
        if not ended.is_set():
            ended.set()
            raise TimeIsUp

    before = signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        try:
            yield
        finally:
            ended.set()
            thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
