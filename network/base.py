"""What all networks are."""

from torch import Tensor, nn

from network.srtg import SqueezeAndRecursion


class VideoNetwork(nn.Module):
    """A network from clips (B, 3, T, H, W) to logits (B, classes), whose temporal gates can be read out."""

    name: str = ""
    """What create_network knows it as; empty if it was built in another way."""

    @property
    def num_classes(self) -> int:
        """The number of a clip's logits."""
        return len(self.get_parameter("fc.weight"))

    def open_gate_fractions(self) -> dict[str, Tensor]:
        """The share of clips whose gate was open since the last reset, by block: tensors (), left on the device.

        Empty for a network without gates; NaN for a block that saw no clip.
        """
        return {
            name.removesuffix(".sar"): module.gate_counts[0] / module.gate_counts[1]
            for name, module in self.named_modules()
            if isinstance(module, SqueezeAndRecursion) and module.gates
        }

    def reset_open_gate_fractions(self) -> None:
        """Count open gates from zero again."""
        for module in self.modules():
            if isinstance(module, SqueezeAndRecursion) and module.gates:
                module.gate_counts.zero_()
