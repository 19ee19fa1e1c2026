"""Entries for torch.hub, one for each network: `torch.hub.load(REPO, "srtg_r3d_34", source="local", num_classes=9)`."""

# Import modules only: torch.hub lists every callable of this file as an entry.
import functools
import pathlib

import common.normalisation
import network
import network.weights.facts
import network.weights.reading
import network.weights.recognising

dependencies = ["torch", "safetensors"]


def _create(
    name: str,
    num_classes: int | None = None,
    pretrained: str | None = None,
    gates: bool | None = None,
    placement: str | None = None,
    normalisation: str = "auto",
) -> network.VideoNetwork:
    """A new network, or one with the weights of the file `pretrained` (.pth or .safetensors).

    What is not given is as the file says, else 400 classes, no gates, placement "final", this project's normalisation.
    The network's attribute `normalisation` says what it expects of clips. ValueError if the file cannot
    be read, is of another network than `name` and the arguments say, or does not have exactly the network's weights.
    """
    if type(gates) not in (bool, type(None)) or type(num_classes) not in (int, type(None)):
        raise ValueError(f"gates {gates!r}, num_classes {num_classes!r}: give True or False, and a whole number")
    given = {"num_classes": num_classes, "gates": gates, "placement": placement}
    given = {key: value for key, value in given.items() if value is not None}
    expected = common.normalisation.normalisation_of(normalisation)
    if pretrained is None:
        new = {"num_classes": 400, "normalisation": expected or common.normalisation.SRTG}
        return network.create_network(name, **new | given)
    checkpoint = network.weights.reading.read_checkpoint(pathlib.Path(pretrained))
    with network.weights.facts.in_file(pretrained):
        saved = network.weights.facts.saved_facts(checkpoint)
        facts = network.weights.recognising.network_facts(checkpoint, "" if saved else name)
        facts = {key: facts[key] for key in ("num_classes", "gates", "placement")}
        created = network.create_network(name, **facts | given)
        network.load_checkpoint(created, checkpoint, strict=True, normalisation=expected)
    return created


def _entry(name: str) -> functools.partial:
    entry = functools.partial(_create, name)
    entry.__doc__ = f"{name}: {_create.__doc__}"
    return entry


globals().update({_name: _entry(_name) for _name in network.network_names()})
