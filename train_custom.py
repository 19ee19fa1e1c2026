"""Train on any dataset in the project's format: DATASET/jpg/<class>/<video>/frames.db and DATASET/labels/*.csv.

    python train_custom.py --dataset demo --network srtg_r3d_10 --clip-length 16 --clip-size 48 --end-epoch 12

The label files are train.csv and val.csv; --labels takes others, also one file with a column `split`.
"""

from data.datasets import DatasetSpec
from train.options import Defaults
from train.run import main

DEFAULTS = Defaults(clip_size=224, lr_steps=(30, 60, 80), end_epoch=100)


if __name__ == "__main__":
    main(__doc__, DatasetSpec("custom", "train.csv", "val.csv"), DEFAULTS)
