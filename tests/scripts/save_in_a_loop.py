"""Save checkpoints, each with other contents, into the folder given until killed."""

import itertools
import sys
from pathlib import Path

import torch

from train.checkpoint.files import CheckpointFolder

if __name__ == "__main__":
    folder = CheckpointFolder(Path(sys.argv[1]), "net", keep=2)
    for number in itertools.count(1):
        folder.save({"number": number, "values": torch.full((1_500_000,), float(number))}, number, number % 3 == 1)
