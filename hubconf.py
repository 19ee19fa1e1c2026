"""Entries for torch.hub, one for each network: `torch.hub.load(REPO, "srtg_r3d_34", source="local", num_classes=9)`."""

# Import modules only: torch.hub lists every callable of this file as an entry.
import functools
import pathlib

import network
import network.weights.reading

dependencies = ["torch", "safetensors"]


def _create(
    name: str, num_classes: int = 400, pretrained: str | None = None, gates: bool = False, placement: str = "final"
) -> network.VideoNetwork:
    """A new network, or one with the weights of the file `pretrained` (.pth or .safetensors).

    ValueError if the file cannot be read or does not have exactly the network's weights.
    """
    created = network.create_network(name, num_classes, gates, placement)
    if pretrained is not None:
        checkpoint = network.weights.reading.read_checkpoint(pathlib.Path(pretrained))
        network.load_checkpoint(created, checkpoint, strict=True)
    return created


def _entry(name: str) -> functools.partial:
    entry = functools.partial(_create, name)
    entry.__doc__ = f"{name}: {_create.__doc__}"
    return entry


globals().update({_name: _entry(_name) for _name in network.network_names()})
