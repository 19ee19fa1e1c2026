"""How far a run is and what it has counted: saved in each checkpoint, so that a resumed run reports the same."""

from dataclasses import asdict, dataclass, field
from typing import Any

from data.clips.types import BadVideo
from evaluate.metrics import Scores


@dataclass
class Progress:
    """The position (the next step is number `step`, from 0, of `epoch`, from 1) and the counts."""

    epoch: int = 1
    step: int = 0
    global_step: int = 0
    skipped_updates: int = 0
    best_top1: float = -1.0
    # Of the epoch in progress, over all ranks.
    scores: Scores = field(default_factory=Scores)
    clips: int = 0
    seconds: float = 0.0
    repeated_frames: int = 0
    bad_videos: list[BadVideo] = field(default_factory=list)

    def finish_epoch(self) -> None:
        """Go on to the next epoch's first step."""
        self.epoch += 1
        self.step = 0
        self.scores, self.clips, self.seconds, self.repeated_frames, self.bad_videos = Scores(), 0, 0.0, 0, []

    def state_dict(self) -> dict[str, Any]:
        """Plain types only."""
        state = asdict(self)
        return state | {"scores": list(self.scores), "bad_videos": [list(bad) for bad in self.bad_videos]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """The progress that `state_dict` described."""
        bad_videos = [BadVideo(*bad) for bad in state["bad_videos"]]
        return cls(**(state | {"scores": Scores(*state["scores"]), "bad_videos": bad_videos}))
