"""Which class a video file belongs to, as far as its folders tell: names such as 001.mp4 come in each class."""

from collections.abc import Iterable
from pathlib import Path

from common.text import composed


class ClassesOfFiles:
    """The classes after which the folders of a file are named, at any depth under `videos`.

    `places` are the folders that hold files. A folder beside one that is named after a class counts as that of a class,
    too, even if the labels do not have it.
    """

    def __init__(self, videos: Path, places: Iterable[Path], labels: Iterable[str]) -> None:
        self.known = frozenset(labels)
        self._videos = videos
        self._by_spelling: dict[str, set[str]] = {}
        for label in self.known:
            self._by_spelling.setdefault(spelling(label), set()).add(label)
        chains = {place: self._chain(place) for place in places}
        folders = {folder for chain in chains.values() for folder in chain}
        named = {folder: self._named(folder.name) for folder in folders}
        beside = {folder.parent for folder, classes in named.items() if classes}
        self._present = frozenset[str]().union(*named.values())
        self._owners: dict[Path, frozenset[str]] = {}
        for place, chain in chains.items():
            classes = frozenset[str]().union(*(named[folder] for folder in chain))
            others = frozenset(folder.name for folder in chain if folder.parent in beside)
            self._owners[place] = classes or others

    def of(self, path: Path) -> frozenset[str]:
        """The classes of a file's folders; none if it lies in no class folder."""
        return self._owners[path.parent]

    def has_folder(self, label: str) -> bool:
        """Whether any file lies in a folder of the class."""
        return label in self._present

    def _chain(self, place: Path) -> list[Path]:
        chain = []
        while place != self._videos:
            chain.append(place)
            place = place.parent
        return chain

    def _named(self, folder: str) -> frozenset[str]:
        """The classes of the labels that a folder's name stands for: with `_` for spaces, in any case."""
        return frozenset({folder} if folder in self.known else self._by_spelling.get(spelling(folder), ()))


def spelling(name: str) -> str:
    """A class name as it is compared with folders: in any case, with spaces or underscores, composed or not."""
    return composed(name).replace("_", " ").casefold()
