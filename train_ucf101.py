r"""Train on UCF-101 (101 classes, 13,320 videos, three splits).

    python train_ucf101.py --network srtg_r3d_34 --dataset DIR/UCF101_videos/ --split 1 --gpus 4 --fine-tune True \
        --pretrained-3d results/HACS/srtg_r3d_34_gates_False/srtg_r3d_34_ep-0080.pth

Top-1 on the test videos with this code: not measured yet.
"""

from data.labels.dataset_spec import DatasetSpec
from train.main import main
from train.options import DatasetChoice, TrainOptions

DATASETS = DatasetChoice(
    flag="--split",
    specs={
        split: DatasetSpec(
            "UCF101" if split == "1" else f"UCF101_split{split}",
            f"ucf101_split{split}_train.csv",
            f"ucf101_split{split}_val.csv",
            num_classes=101,
            class_index="ucf101_classes.txt",
        )
        for split in ("1", "2", "3")
    },
    default="1",
    help="number of the official split",
)
DEFAULTS = TrainOptions(clip_size=256, batch_size=32, lr_base=0.1, lr_steps=(15, 30, 40), end_epoch=100)

if __name__ == "__main__":
    main(__doc__, DATASETS, DEFAULTS)
