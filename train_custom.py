"""Train on your own dataset, or on the synthetic one of `make demo`.

    python train_custom.py --dataset demo --network srtg_r3d_10 --clip-length 8 --clip-size 44 --end-epoch 9

DATASET holds

    jpg/<class>/<video>/frames.db     made by: python -m data.prepare.convert VIDEOS DATASET
    labels/train.csv, labels/val.csv  header `label,id`, one row per video; or one file with a column `split`: --labels

python -m data.prepare.folder VIDEOS DATASET makes both from a folder of videos. Classes are sorted by name, or in the
order of labels/custom_classes.txt. For other defaults, copy this script.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import TrainOptions

SPEC = DatasetSpec("custom", "train.csv", "val.csv", class_index="custom_classes.txt")
DEFAULTS = TrainOptions(
    clip_length=16,
    clip_size=224,
    train_frame_interval=(2,),
    val_frame_interval=2,
    batch_size=32,
    lr_base=0.1,
    lr_steps=(30, 60, 80),
    end_epoch=100,
    augment="flip",
)

if __name__ == "__main__":
    main(__doc__, SPEC, DEFAULTS)
