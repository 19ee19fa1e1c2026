"""Changes what a file of data.prepare.resize says of itself, or how much it holds, as other programs may."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av


def rewritten(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], frames: int = 1 << 30) -> None:
    """Copy the first packets of a file over it, with a changed tag: as `ffmpeg -c copy`."""
    other = path.with_name(f"{path.stem} copy.mp4")
    with av.open(str(path)) as source, av.open(str(other), "w", format="mp4") as target:
        target.metadata["comment"] = json.dumps(change(json.loads(source.metadata["comment"])))
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and number < frames:
                packet.stream = stream
                target.mux(packet)
    other.replace(path)
