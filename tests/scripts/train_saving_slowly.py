"""train_tiny.py whose checkpoints wait for a file `go`; SAVING, LIMIT and LAST in the environment change how.

`saving` is written when a checkpoint begins to be written. SAVING=fails: it cannot be written, as on a full disk. With
LIMIT, ranks get so many seconds to save after a signal. With LAST, only the checkpoint at the end of the run waits.
"""

import errno
import os
import time
from pathlib import Path

from common.distributed import launch
from common.errors import TrainingError
from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.checkpoint.files import CheckpointFolder
from train.main import main

save = CheckpointFolder.save


def save_slowly(folder, checkpoint, epoch=None, *more):
    if "LAST" not in os.environ or epoch == int(os.environ["LAST"]):
        Path("saving").touch()
        while not Path("go").exists():
            time.sleep(0.02)
    if os.environ.get("SAVING") == "fails":
        raise TrainingError(f"{folder.last} cannot be written: {os.strerror(errno.ENOSPC)}")
    save(folder, checkpoint, epoch, *more)


if __name__ == "__main__":
    register_tiny_networks()
    CheckpointFolder.save = save_slowly
    if "LIMIT" in os.environ:
        launch.SECONDS_TO_SAVE = float(os.environ["LIMIT"])
    launch.SECONDS_TO_END = 1.0  # which a save may outlast
    launch.SECONDS_TO_NOTICE = 0.2
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
