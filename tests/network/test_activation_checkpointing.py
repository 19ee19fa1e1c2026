import pytest
import torch
from torch import Tensor, nn

from common.errors import NetworkError
from network import VideoNetwork, create_network
from network.activation_checkpointing import checkpoint_activations
from network.sub_batch_norm import set_num_splits, split_state, use_sub_batch_norm


def trained(checkpointing: bool, sub_batches: int, placement: str = "final") -> tuple[VideoNetwork, dict[str, Tensor]]:
    """A gated network after three steps, and its weights, statistics and counts."""
    torch.manual_seed(0)
    network = create_network("srtg_r3d_10", 5, gates=True, placement=placement)
    if sub_batches > 1:
        use_sub_batch_norm(network)
        set_num_splits(network, sub_batches)
    if checkpointing:
        checkpoint_activations(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for _ in range(3):
        network(torch.randn(4, 3, 8, 24, 24)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    state = dict(network.named_parameters()) | dict(network.named_buffers()) | split_state(network)
    return network, {name: value.clone() for name, value in state.items()}


@pytest.mark.parametrize(("sub_batches", "placement"), [(1, "final"), (2, "final"), (1, "start"), (1, "res")])
def test_weights_statistics_and_gate_counts_are_those_without_checkpointing(sub_batches, placement):
    """A block runs twice; if its clips were counted twice, batch statistics and gate fractions would be wrong."""
    _, expected = trained(False, sub_batches, placement)
    _, state = trained(True, sub_batches, placement)
    assert list(state) == list(expected)
    assert [name for name in state if not torch.equal(state[name], expected[name])] == []
    assert [int(state[name][1]) for name in state if name.endswith("gate_counts")] == [12] * 4


def test_two_backward_passes_through_one_forward_pass():
    """Gradients of two losses of one batch: each recomputes the blocks."""
    network = create_network("srtg_r3d_10", 5, gates=True)
    checkpoint_activations(network)
    clips = torch.randn(2, 3, 8, 24, 24)
    logits = network(clips)
    counts = {name: buffer.clone() for name, buffer in network.named_buffers()}
    gradients = [torch.autograd.grad(logits.sum(), list(network.parameters()), retain_graph=True) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert all(torch.equal(buffer, counts[name]) for name, buffer in network.named_buffers())


def saved_bytes(checkpointing: bool) -> int:
    """Bytes that the forward pass keeps for the backward pass."""
    torch.manual_seed(0)
    network = create_network("srtg_r3d_10", 5)
    if checkpointing:
        checkpoint_activations(network)
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = network(torch.randn(2, 3, 8, 48, 48)).sum()
    del loss
    return sum(saved.values())


def test_fewer_activations_are_kept():
    """Else the option would cost time and save no memory."""
    assert saved_bytes(True) < 0.75 * saved_bytes(False)


def test_evaluation_is_not_changed():
    """Without gradients nothing is kept; a block must give the same outputs with and without checkpointing."""
    network, _ = trained(True, 1)
    clips = torch.randn(2, 3, 8, 24, 24)
    network.eval()
    with torch.no_grad():
        expected = network(clips)
    torch.testing.assert_close(network(clips).detach(), expected)


def test_network_without_blocks_is_refused():
    """The option must not silently do nothing."""
    with pytest.raises(NetworkError, match="Linear"):
        checkpoint_activations(nn.Linear(2, 2))
