"""Checkpoints that are links to others in their folder, as programs make them that look for equal files."""

import re
import shutil
from pathlib import Path

from common.files import atomic_file
from common.logs import LOG


def replace_links(folder: Path, network: str) -> None:
    """Put a copy in the place of each checkpoint that is a link to another one of the network in its folder. OSError.

    The run replaces, renames or deletes the other one some time, and the link would have other weights, or none. What
    is elsewhere it does not change: links to that stay.
    """
    is_name = re.compile(rf"{re.escape(network)}_(last|best|ep-[0-9]{{4,}})\.pth(\.(abandoned|damaged)(-[0-9]+)?)?")
    for path in sorted(path for path in folder.iterdir() if is_name.fullmatch(path.name) and path.is_symlink()):
        target = path.resolve()
        if target.parent == folder.resolve() and is_name.fullmatch(target.name) and target.is_file():
            copy_file(target, path)
            LOG.warning(
                "%s was a link to %s, which a run replaces, renames or deletes: it is now a copy", path, target.name
            )


def copy_file(source: Path, target: Path) -> None:
    """A file of its own and no hard link: `cp` writes into a file that exists, and would change all of its names."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)
