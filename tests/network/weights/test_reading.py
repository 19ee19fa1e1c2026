"""Files of weights that other programs wrote."""

from safetensors.torch import save_file

from network import create_network, load_checkpoint
from network.weights.reading import read_checkpoint
from tests.network.weights.exported import network_of


def test_safetensors_of_others_are_state_dicts(tmp_path):
    """Files from the Hugging Face hub have no metadata of this project."""
    save_file(network_of("r3d_10").state_dict(), tmp_path / "x.safetensors")
    report, _ = load_checkpoint(create_network("r3d_10", 3), read_checkpoint(tmp_path / "x.safetensors"))
    assert report.complete
