r"""Train on Kinetics-700 (clips of 10 seconds), or with --variant on Kinetics-200 (Mini-Kinetics), -400 or -600.

    python train_kinetics.py --network srtg_r3d_34 --dataset DIR/Kinetics_videos/ --variant 700 --clip-size 224 \
        --gpus 4 --lr-base 0.1 --batch-size 48 --fine-tune True \
        --pretrained-3d results/HACS/srtg_r3d_34_gates_False/srtg_r3d_34_ep-0080.pth

Top-1 on the validation videos with this code: not measured yet.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import DatasetChoice, TrainOptions

DATASETS = DatasetChoice(
    flag="--variant",
    specs={
        str(classes): DatasetSpec(
            f"Kinetics-{classes}", f"kinetics-{classes}_train.csv", f"kinetics-{classes}_val.csv", num_classes=classes
        )
        for classes in (200, 400, 600, 700)
    },
    default="700",
    help="number of classes; 200: Mini-Kinetics",
)
DEFAULTS = TrainOptions(
    clip_size=284,
    train_frame_interval=(4, 6),
    val_frame_interval=5,
    batch_size=32,
    long_cycles=True,
    short_cycles=True,
    lr_base=0.05,
    lr_steps=(40, 70, 95),
    end_epoch=130,
)

if __name__ == "__main__":
    main(__doc__, DATASETS, DEFAULTS)
