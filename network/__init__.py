from common.errors import NetworkError
from network import csn as csn  # registers its networks
from network.base import VideoNetwork
from network.registry import create_network, network_names
from network.resnet3d import ResNet3d
from network.weights.loading import (
    LoadReport,
    PublishedWeights,
    SkippedTensor,
    load_checkpoint,
    load_weights,
    recognise,
)

__all__ = [
    "LoadReport",
    "NetworkError",
    "PublishedWeights",
    "ResNet3d",
    "SkippedTensor",
    "VideoNetwork",
    "create_network",
    "load_checkpoint",
    "load_weights",
    "network_names",
    "recognise",
]
