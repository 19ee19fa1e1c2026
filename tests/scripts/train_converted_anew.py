"""train_tiny.py, whose dataset is converted anew after epoch 2: `<dataset>/anew` takes the place of `<dataset>/jpg`."""

import sys
from pathlib import Path
from typing import Any

from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.main import main
from train.monitor.score_files import ScoreFiles

DATASET = Path(sys.argv[sys.argv.index("--dataset") + 1])
write_rows = ScoreFiles.on_epoch


def on_epoch(score_files: ScoreFiles, report: Any) -> None:
    """Write the rows, and put the other databases in place after the second epoch."""
    write_rows(score_files, report)
    if report.epoch == 2:
        (DATASET / "jpg").rename(DATASET / "before")
        (DATASET / "anew").rename(DATASET / "jpg")


if __name__ == "__main__":
    ScoreFiles.on_epoch = on_epoch  # type: ignore[method-assign]
    register_tiny_networks()
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
