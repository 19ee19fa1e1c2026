"""What a search for videos in a folder leaves out, and what it says of it."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.labels.text import counted, some
from data.store.folder_entries import LOST, is_folder, is_hidden_folder, is_lost
from data.store.frame_store import FRAME_COUNT
from data.store.own_films import films_among
from data.store.video_suffixes import is_video, suffix

KINDS = 5  # of other files that a line names


@dataclass
class LeftOut:
    """Counts of the files that are no videos, and the paths of the rest, below `top`."""

    top: Path
    others: Counter[str] = field(default_factory=Counter)
    """Files that are neither videos nor frames, by suffix."""
    of_systems: list[str] = field(default_factory=list)
    """Folders that systems add, such as recycle bins."""
    films: dict[str, list[str]] = field(default_factory=dict)
    """By the command that made them, which they show another video of."""
    lost: dict[str, str] = field(default_factory=dict)
    """Links to nothing, each with a line that says so: videos may be missing."""

    def sort(self, folder: Path, entries: Sequence[os.DirEntry[str]]) -> tuple[list[str], list[str]]:
        """The names of the folders and video files among the entries of a folder; the others are noted here."""
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        folders = [entry.name for entry in visible if is_folder(entry)]
        self.of_systems += [self._name(folder / name) for name in folders if is_hidden_folder(name)]
        files, inside = list[str](), set(folders)
        for entry in visible:
            if entry.name in inside:
                continue
            if is_lost(entry):
                self.lost[self._name(folder / entry.name)] = f"{folder / entry.name}: {LOST}"
            elif is_video(entry.name):
                files.append(entry.name)
            elif entry.name != FRAME_COUNT:
                self.others[suffix(entry.name) or entry.name] += 1
        films = films_among(folder, files, folders)
        for name, maker in films.items():
            self.films.setdefault(maker, []).append(self._name(folder / name))
        return (
            [name for name in folders if not is_hidden_folder(name)],
            [name for name in files if name not in films],
        )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.top).as_posix()

    @property
    def lines(self) -> list[str]:
        """A line on each kind, but not on what is lost."""
        found = []
        if self.others:
            kinds = ", ".join(f"{number} {kind}" for kind, number in self.others.most_common(KINDS))
            more = ", ..." if len(self.others) > KINDS else ""
            number = counted(self.others.total(), "other file")
            found.append(f"{number} left out: neither videos nor frames ({kinds}{more})")
        if self.of_systems:
            found.append(f"left out: {some(self.of_systems, 'folder')} of systems")
        found += [f"left out: {some(names, 'film')} of {maker}" for maker, names in self.films.items()]
        return found
