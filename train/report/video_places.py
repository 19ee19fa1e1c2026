"""Where the videos of worst.csv are: in a dataset, and nowhere else, as the files of a run may come from anyone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from data.store.frame_store import DATABASE
from data.store.video_suffixes import is_video

FRAMES, VIDEOS = "jpg", "videos"


class VideoPlaces:
    """The videos of the datasets `named` in a run's files, or of `given`, which the user names.

    A video is `<dataset>/jpg/<class>/<video>/frames.db`, or a video file `<dataset>/videos/<class>/<video>.mp4`. Links
    that lead out of these folders are followed in `given` alone. `used` are the folders from which videos were taken.
    """

    def __init__(self, named: Sequence[object], given: Path | None = None) -> None:
        datasets = [Path(each) for each in named if isinstance(each, str) and each] if given is None else [given]
        roots = [dataset / name for dataset in datasets for name in (FRAMES, VIDEOS)]
        roots += [dataset for dataset in datasets if dataset.name in (FRAMES, VIDEOS)]
        self.roots = list(dict.fromkeys(roots))
        self.follows_links = given is not None
        self.used: dict[str, None] = {}

    def of(self, video: str, path: str) -> Path:
        """Where a video is, whose id is `class/name`, and which was at `path`.

        DataError if it is nowhere in the datasets, or what is there is of another name, such as a file of which it is
        only a part.
        """
        for root in sorted(self.roots, key=lambda root: not path or not Path(path).is_relative_to(root)):
            for place in _inside(root, video, path):
                if not _is_taken(place, root):
                    continue
                if not self.follows_links:
                    _check_links(place, root)
                if video.rpartition("/")[2] not in (place.name, place.stem):
                    raise DataError(f"{place} has other frames too than those of {video.rpartition('/')[2]}")
                self.used[str(root.resolve())] = None
                return place
        where = " and ".join(map(str, self.roots[:2])) or "the run names no dataset"
        raise DataError(f"{path or video} is not in the run's dataset ({where}), or no longer there: give --dataset")


def _inside(root: Path, video: str, path: str) -> Iterator[Path]:
    """The places of a video in a folder of classes: by its id; as far as it was inside, or by its class, at `path`."""
    before = Path(path)
    inside = before.relative_to(root) if path and before.is_relative_to(root) else Path(*before.parts[-2:])
    for place in (Path(video), inside):
        if len(place.parts) > 1 and ".." not in place.parts and not place.is_absolute():
            yield root / place


def _is_taken(place: Path, root: Path) -> bool:
    if root.name == FRAMES:
        return what_is_at(place) == "folder" and what_is_at(place / DATABASE) == "file"
    return is_video(place.name) and what_is_at(place) == "file"


def _check_links(place: Path, root: Path) -> None:
    file = place / DATABASE if root.name == FRAMES else place
    if not file.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{place} is a link out of {root}, which is followed only with --dataset")
