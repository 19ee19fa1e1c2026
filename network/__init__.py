"""Networks from clips (B, 3, T, H, W) to logits (B, classes), by name: 3D ResNets with and without SRTG.

In: a name and the number of classes, or a file of weights. Out: an nn.Module. May import `common`; knows nothing of
data and training. A family of networks is a file that registers its names; importing it below makes them known.
"""

from common.errors import NetworkError
from network import csn as csn
from network import resnet3d as resnet3d
from network.base import VideoNetwork
from network.kernels.use import set_check
from network.registry import create_network, network_names
from network.resnet3d import ResNet3d
from network.self_check import failure_of, recursion_failure_of
from network.weights.loading import LoadReport, SkippedTensor, load_checkpoint, load_network, load_weights
from network.weights.published import PublishedWeights
from network.weights.recognising import recognise

__all__ = [
    "LoadReport",
    "NetworkError",
    "PublishedWeights",
    "ResNet3d",
    "SkippedTensor",
    "VideoNetwork",
    "create_network",
    "load_checkpoint",
    "load_network",
    "load_weights",
    "network_names",
    "recognise",
]

set_check(failure_of, recursion_failure_of)
