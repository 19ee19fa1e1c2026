"""Train on HACS Clips v1.1 (200 classes, 1.5 million labelled clips of 2 seconds).

    python train_hacs.py --network srtg_r3d_34 --dataset DIR/HACS_videos/ --clip-size 224 --gpus 4 --batch-size 48

Top-1 on the validation clips with this code: not measured yet.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import TrainOptions

SPEC = DatasetSpec("HACS", "HACS_clips_v1.1_train.csv", "HACS_clips_v1.1_val.csv", num_classes=200)
DEFAULTS = TrainOptions(
    clip_length=16,
    clip_size=284,
    train_frame_interval=(1, 2),
    val_frame_interval=2,
    batch_size=48,
    long_cycles=True,
    short_cycles=True,
    lr_base=0.1,
    lr_steps=(40, 60, 75, 90),
    end_epoch=120,
)

if __name__ == "__main__":
    main(__doc__, SPEC, DEFAULTS)
