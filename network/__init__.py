from network.registry import NetworkError, create_network, network_names
from network.resnet3d import ResNet3d

__all__ = ["NetworkError", "ResNet3d", "create_network", "network_names"]
