"""The base class of all networks."""

from torch import Tensor, nn

from common.errors import NetworkError
from common.normalisation import SRTG, Normalisation
from network.srtg import SqueezeAndRecursion

EPS = 1e-5
"""What PyTorch's batch norm adds to the variance."""


class VideoNetwork(nn.Module):
    """A network from clips (B, 3, T, H, W) to logits (B, classes); it reports how often its gates were open.

    `normalisation` is what it expects of clips; `eps` is what its batch norm adds to the variance. Both come with the
    weights, and are part of what files say of a network.
    """

    name: str = ""
    """Its name in the registry; empty if `create_network` did not build it."""
    gates: bool = False
    placement: str = "final"
    """As `create_network` built it."""
    normalisation: Normalisation = SRTG
    eps: float = EPS
    """Set by `set_eps`."""

    def set_eps(self, eps: float) -> None:
        """Change what every batch norm adds to the variance."""
        self.eps = eps
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    @property
    def num_classes(self) -> int:
        """The number of a clip's logits."""
        return len(self.get_parameter("fc.weight"))

    def open_gate_fractions(self) -> dict[str, Tensor]:
        """By block, the fraction of clips since the last reset whose gate was open: scalar tensors on the device.

        Empty for a network without gates; NaN for a block that had no clip.
        """
        return {
            name.removesuffix(".sar"): module.gate_counts[0] / module.gate_counts[1]
            for name, module in self.named_modules()
            if isinstance(module, SqueezeAndRecursion) and module.gates
        }

    def reset_open_gate_fractions(self) -> None:
        """Set the counts of all gates to zero."""
        for module in self.modules():
            if isinstance(module, SqueezeAndRecursion) and module.gates:
                module.gate_counts.zero_()


def check_clips(clips: Tensor) -> None:
    """NetworkError for clips that no network takes, in place of an error from inside its first convolution."""
    if clips.dim() != 5 or clips.shape[1] != 3:
        raise NetworkError(f"clips are of shape {tuple(clips.shape)}, not (B, 3, T, h, w)")
    if not clips.is_floating_point():
        raise NetworkError(f"clips are {clips.dtype}: normalise them first (data.Normalise)")
