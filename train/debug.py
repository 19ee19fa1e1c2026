"""The log lines and checks of --debug-mode."""

from torch import Tensor, nn

from common.errors import TrainingError
from common.logs import LOG
from network import VideoNetwork


def log_network(network: nn.Module) -> None:
    """Log the name and shape of every parameter, and the number of all their values."""
    for name, parameter in network.named_parameters():
        LOG.debug("  %-48s %s", name, "x".join(map(str, parameter.shape)))
    LOG.debug("%s: %d parameters", type(network).__name__, sum(parameter.numel() for parameter in network.parameters()))


def check_blocks(network: VideoNetwork) -> None:
    """Make stem, residual blocks and classifier raise TrainingError if their output is not finite.

    Each check waits for the device.
    """

    def check(name: str) -> None:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if not output.isfinite().all():
                shape = tuple(inputs[0].shape)
                raise TrainingError(f"{name}: the output is not finite, for an input of shape {shape}")

        network.get_submodule(name).register_forward_hook(hook)

    for name in ("stem", *_block_names(network), "fc"):
        check(name)


def _block_names(network: VideoNetwork) -> list[str]:
    stages = ("layer1", "layer2", "layer3", "layer4")
    return [f"{stage}.{block}" for stage in stages for block, _ in network.get_submodule(stage).named_children()]
