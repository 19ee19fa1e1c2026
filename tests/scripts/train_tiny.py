"""train_custom.py with defaults for a small dataset and with the networks `tiny` and `srtg_tiny`."""

from data.labels.dataset_spec import DatasetSpec
from tests.tiny_network import register_tiny_networks
from train.main import main
from train.options import TrainOptions

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
DEFAULTS = TrainOptions(
    clip_length=4, clip_size=32, train_frame_interval=(1, 2), val_frame_interval=1, batch_size=4, lr_base=0.02,
    lr_steps=(2,), end_epoch=3,
)  # fmt: skip


if __name__ == "__main__":
    register_tiny_networks()
    main(__doc__, SPEC, DEFAULTS)
