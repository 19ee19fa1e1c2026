"""Videos that are converted anew while a run trains on them."""

from collections.abc import Callable, Mapping

from common.errors import DataError, TrainingError
from common.logs import LOG
from data.labels.content import content_of
from data.labels.video_list import VideoList
from evaluate.known_videos import Contents
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.videos import SPLITS


class ContentWatch:
    """Compares what the `videos` of each split hold with their `contents` of the last look. The first rank calls it.

    `tell` gets the new contents if they are others: the checkpoints and score files name them.
    """

    def __init__(
        self,
        videos: Mapping[str, VideoList],
        contents: Contents,
        checkpoints: CheckpointFolder,
        tell: Callable[[Contents], None],
    ) -> None:
        self.videos = videos
        self.contents = dict(contents)
        self.checkpoints = checkpoints
        self.tell = tell

    def __call__(self) -> bool:
        """Whether the validation videos hold something else: scores of before cannot be compared with new ones.

        Warns of each split that does. `best` of before is kept under another name.
        """
        now = {split: content_of(videos) for split, videos in self.videos.items()}
        changes = {split: self.contents[split].differences(content) for split, content in now.items()}
        changes = {split: change for split, change in changes.items() if change}
        for split, change in changes.items():
            LOG.warning(
                "the %s videos were converted anew while the run trains: they have %s%s",
                SPLITS[split], change, self._keep_best() if split == "val" else "",
            )  # fmt: skip
        if changes:
            self.contents |= {split: now[split].without_counts() for split in changes}
            self.tell(self.contents)
        return "val" in changes

    def _keep_best(self) -> str:
        text, best = "; the best is counted anew", self.checkpoints.best
        if not best.exists():
            return text
        try:
            (kept,) = self.checkpoints.move_aside([best])
        except DataError as error:
            raise TrainingError(str(error)) from error
        return f"{text}, and {best.name} of before is now {kept.name}"
