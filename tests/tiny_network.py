"""A network built from the package's blocks, so narrow that its checkpoints have kilobytes."""

from torch import Tensor, nn

from network.base import VideoNetwork
from network.convs import conv3d
from network.registry import register
from network.resnet3d import Convolutions, Recursion, ResidualBlock, basic_convs

WIDTHS = (4, 6, 6, 8)


class TinyNetwork(VideoNetwork):
    """Stem, four stages of one block, classifier: clips (B, 3, T, H, W) to logits (B, num_classes)."""

    def __init__(self, num_classes: int, recursion: Recursion | None) -> None:
        super().__init__()
        family = Convolutions(nn.Sequential, conv3d)
        self.stem = nn.Sequential(
            nn.Conv3d(3, WIDTHS[0], (1, 5, 5), (1, 4, 4), padding=(0, 2, 2), bias=False),
            nn.BatchNorm3d(WIDTHS[0]),
            nn.ReLU(inplace=True),
        )
        channels = WIDTHS[0]
        for number, width in enumerate(WIDTHS, start=1):
            stride = 1 if number == 1 else 2
            block = ResidualBlock(channels, width, stride, basic_convs(channels, width, stride, family), recursion)
            self.add_module(f"layer{number}", nn.Sequential(block))
            channels = width
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.stem(clips)
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return self.fc(x.mean((2, 3, 4)))


def _plain(num_classes: int, gates: bool, placement: str) -> TinyNetwork:
    return TinyNetwork(num_classes, None)


def _srtg(num_classes: int, gates: bool, placement: str) -> TinyNetwork:
    return TinyNetwork(num_classes, Recursion(gates, placement))


def register_tiny_networks() -> None:
    """Register `tiny` and `srtg_tiny` in this process."""
    register("tiny", _plain)
    register("srtg_tiny", _srtg)
