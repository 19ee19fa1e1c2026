"""Train on Moments in Time (339 classes in version 1, 305 in version 2; clips of 3 seconds).

    python train_mit.py --network srtg_r3d_34 --dataset DIR/Moments_in_Time_videos/ --clip-size 224 --gpus 4

Top-1 on the validation videos with this code: not measured yet.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import TrainOptions

SPEC = DatasetSpec(
    "Moments_in_Time",
    "Moments_in_Time_train.csv",
    "Moments_in_Time_val.csv",
    num_classes=339,
    class_index="Moments_in_Time_classes.txt",
)
DEFAULTS = TrainOptions(
    clip_length=16,
    clip_size=284,
    train_frame_interval=(3, 4),
    val_frame_interval=3,
    batch_size=48,
    long_cycles=True,
    short_cycles=True,
    lr_base=0.1,
    lr_steps=(25, 50, 70),
    end_epoch=110,
)

if __name__ == "__main__":
    main(__doc__, SPEC, DEFAULTS)
