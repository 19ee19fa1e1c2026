"""Processes that do not outlive the one that started them."""

import ctypes
from contextlib import suppress
from signal import Signals

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def signal_at_parent_death(number: Signals) -> None:
    """Have the kernel send this process a signal when its parent ends, however that ends; Linux only."""
    with suppress(OSError, AttributeError):  # there is no such call outside of Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
