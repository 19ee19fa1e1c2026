r"""Train on Diving-48 V2 (48 classes of dives, 18,000 videos).

    python train_diving48.py --network srtg_r3d_34 --dataset DIR/Diving48_videos/ --gpus 4 --fine-tune True \
        --pretrained-3d results/HACS/srtg_r3d_34_gates_False/srtg_r3d_34_ep-0080.pth

Top-1 on the test videos with this code: not measured yet.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import TrainOptions

SPEC = DatasetSpec(
    "Diving48",
    "diving48_train.csv",
    "diving48_val.csv",
    num_classes=48,
    class_index="diving48_classes.txt",
)
DEFAULTS = TrainOptions(
    clip_length=16,
    clip_size=256,
    train_frame_interval=(2,),
    val_frame_interval=2,
    batch_size=32,
    lr_base=0.1,
    lr_steps=(15, 30, 40),
    end_epoch=100,
)

if __name__ == "__main__":
    main(__doc__, SPEC, DEFAULTS)
