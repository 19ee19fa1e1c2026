"""Finds where the times of decoded frames go back: files were joined, or parts of one exchanged or stored twice.

Only in formats whose times are those of showing. In others they are counted, or start anew with each recording.
"""

from pathlib import Path

from data.store.video_structure import breaks

ORDERED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "live_flv", "asf", "asf_o", "nut", "ivf"}
# By how much a time may go back: writers round times and repeat them, and clocks are set back by some milliseconds.
BACK_STEPS, BACK_SECONDS = 2, 0.05


class TimeOrder:
    """The order of the times of a stream's packets and frames, in seconds; `step` is that between frames, on average.

    Some writers give packets times in the order of storage. Frames that the decoder sorts then have times that go back,
    and nothing is wrong: so it is if the times of the packets never went back.
    """

    def __init__(self, format_name: str, step: float) -> None:
        self._is_ordered = format_name in ORDERED
        self._most = max(BACK_STEPS * step, BACK_SECONDS)
        self._stored = self._shown = -float("inf")  # the times of the packet and of the frame before
        self._packets_went_back = False

    def packet(self, time: float) -> None:
        """Note the time of the next packet in the order of storage."""
        self._packets_went_back = self._packets_went_back or time < self._stored
        self._stored = time

    def frame(self, time: float, is_known: bool) -> bool:
        """Whether the next frame's time goes back, by more than inexact clocks make; only known ones are compared."""
        goes_back = self._is_ordered and self._packets_went_back and is_known and time < self._shown - self._most
        self._shown = time if is_known else -float("inf")
        return goes_back


def why_times_go_back(path: Path, stream_id: int) -> str:
    """What is wrong with a file whose frames' times go back."""
    joined = next((str(each) for each in breaks(path, stream_id) if each.is_joined), "")
    return joined or "the times of its frames go back, as where files were joined or parts of one were exchanged"
