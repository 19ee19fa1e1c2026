"""Acting as a user without rights: root may read and write everything, so tests of permissions prove nothing."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

NOBODY = 65534
CODECS = ("utf-8-sig", "cp437")  # of label files and of zip archives


@contextmanager
def without_rights() -> Iterator[None]:
    """Run the block as nobody if this is root.

    Nobody may not be able to read Python's own library. So codecs are loaded before, and what Python remembers of
    folders that it could not list is forgotten afterwards: else later tests in this process could import nothing new.
    """
    for codec in CODECS:
        "".encode(codec)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        importlib.invalidate_caches()
