r"""Train on HMDB-51 (51 classes, 6,766 videos, three splits).

    python train_hmdb51.py --network srtg_r3d_34 --dataset DIR/HMDB51_videos/ --split 1 --gpus 4 --fine-tune True \
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
            "HMDB51" if split == "1" else f"HMDB51_split{split}",
            f"hmdb_split{split}_train.csv",
            f"hmdb_split{split}_val.csv",
            num_classes=51,
        )
        for split in ("1", "2", "3")
    },
    default="1",
    help="number of the official split",
)
DEFAULTS = TrainOptions(clip_size=256, batch_size=32, lr_base=0.1, lr_steps=(15, 30, 40), end_epoch=100)

if __name__ == "__main__":
    main(__doc__, DATASETS, DEFAULTS)
