"""Dropout, stochastic depth and branches that start as zero, in training alone."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.errors import NetworkError
from network import create_network
from network.activation_checkpointing import checkpoint_activations
from network.convs import conv3d
from network.regularisation import is_branch_zero, set_drop_path, set_dropout, zero_init_residual
from network.resnet3d import Convolutions, Recursion, ResidualBlock, basic_convs

CLIPS = (2, 3, 8, 32, 32)


def block_of(placement, drop_path):
    torch.manual_seed(0)
    recursion = Recursion(False, placement) if placement else None
    block = ResidualBlock(4, 6, 2, basic_convs(4, 6, 2, Convolutions(nn.Sequential, conv3d)), recursion)
    block.drop_path = drop_path
    return block


def plain_parts(block, x):
    """The branch and the shortcut of a block, each before the addition, and what follows it."""
    x = block.sar(x) if block.placement == "start" else x
    out = block.conv1(x)
    out = block.conv2(block.sar(out) if block.placement == "top" else out)
    out = block.sar(out) if block.placement in ("mid", "end") else out
    shortcut = block.downsample(x)
    return out, block.sar(shortcut) if block.placement == "res" else shortcut


@pytest.mark.parametrize("placement", [None, "start", "top", "mid", "end", "res", "final"])
def test_a_dropped_clip_has_the_shortcut_alone_and_a_kept_one_a_larger_branch(placement):
    """A branch that is dropped in part, or kept unscaled, would change what evaluation expects."""
    block, x = block_of(placement, 0.4), torch.randn(600, 4, 2, 4, 4)
    with torch.no_grad():
        branch, shortcut = plain_parts(block, x)
        out = block(x)
        candidates = [F.relu(shortcut), F.relu(shortcut + branch / 0.6)]
        dropped, kept = (block.sar(each) if placement == "final" else each for each in candidates)
    is_dropped = (out - dropped).abs().flatten(1).amax(1) < 1e-4
    is_kept = (out - kept).abs().flatten(1).amax(1) < 1e-4
    assert (is_dropped ^ is_kept).all()
    assert 0.32 < is_dropped.float().mean() < 0.48  # four deviations


def test_the_mean_over_the_draws_is_the_sum():
    """Else evaluation, which drops nothing, would see other features than training."""
    with torch.no_grad():
        branch, shortcut = plain_parts(block := block_of("end", 0.25), x := torch.randn(2, 4, 2, 4, 4))
        sums = [block._finish(block.conv2, block.conv1(x), x, ("end",), torch.full((2, 1, 1, 1, 1), kept))
                for kept in (0.0, 1.0)]  # fmt: skip
    is_positive = (shortcut > 0) & (shortcut + branch / 0.75 > 0)  # where ReLU changes nothing
    mean = 0.25 * sums[0] + 0.75 * sums[1]
    assert torch.allclose(mean[is_positive], (branch + shortcut)[is_positive], atol=1e-5)


@pytest.mark.parametrize("name", ["srtg_r3d_18", "r3d_50", "ir_csn_26"])
def test_the_probability_grows_evenly_over_the_blocks(name):
    """Early blocks compute what all later ones need (Huang et al. 2016)."""
    network = create_network(name, 3)
    set_drop_path(network, 0.7)
    chances = [module.drop_path for module in network.modules() if isinstance(module, ResidualBlock)]
    steps = torch.tensor(chances).diff()
    assert chances[0] == 0 and chances[-1] == pytest.approx(0.7)
    assert torch.allclose(steps, steps[0].expand_as(steps), atol=1e-6)


def test_evaluation_draws_nothing_and_names_stay():
    """Files, exports and scores would be others."""
    network, clips = create_network("srtg_r3d_10", 3), torch.randn(CLIPS)
    names, parameters = list(network.state_dict()), list(network.parameters())
    with torch.no_grad():
        expected = network.eval()(clips)
        set_dropout(network, 0.5)
        set_drop_path(network, 0.5)
        before = torch.get_rng_state()
        assert torch.equal(network.eval()(clips), expected)
    assert torch.equal(torch.get_rng_state(), before)
    assert list(network.state_dict()) == names
    assert all(one is other for one, other in zip(network.parameters(), parameters, strict=True))
    assert network.num_classes == 3


def test_dropout_drops_features_of_the_classifier():
    """Half of them, and the others count twice."""
    network = create_network("r3d_10", 1)
    set_dropout(network, 0.5)
    nn.init.ones_(network.fc.weight)
    nn.init.zeros_(network.fc.bias)
    torch.manual_seed(0)
    logits = network.fc(torch.ones(64, 512))
    assert (logits.round() % 2 == 0).all()
    assert 500 < float(logits.detach().mean()) < 524 and float(logits.detach().std()) > 5


@pytest.mark.parametrize("placement", ["final", "end"])
def test_checkpointed_blocks_draw_once(placement):
    """A recomputation with other draws would give gradients of another network."""
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        network = create_network("srtg_r3d_10", 3, placement=placement)
        set_drop_path(network, 0.6)
        if is_checkpointed:
            checkpoint_activations(network)
        clips = torch.randn(6, 3, 4, 32, 32)
        torch.manual_seed(1)
        network(clips).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["srtg_r3d_10", "r3d_50", "ip_csn_26", "wide_r3d50_2"])
def test_branches_that_start_as_zero_leave_the_shortcut(name):
    """A norm that is missed leaves its block as it was; one too many stops the gradient."""
    network = create_network(name, 3)
    assert not is_branch_zero(network)
    zero_init_residual(network)
    zeros = [name for name, parameter in network.named_parameters() if parameter.dim() == 1 and name.endswith("weight")]
    zeros = [name for name in zeros if not network.get_parameter(name).any()]
    blocks = [name for name, module in network.named_modules() if isinstance(module, ResidualBlock)]
    last = "conv2.1" if "10" in name else "conv3.1"
    assert zeros == [f"{block}.{last}.weight" for block in blocks] and is_branch_zero(network)


def test_a_network_without_a_place_for_them_is_refused():
    """The flag would have no effect, in silence."""
    for change in (set_drop_path, lambda network, _: zero_init_residual(network), set_dropout):
        with pytest.raises(NetworkError, match="no "):
            change(nn.Conv3d(3, 3, 1), 0.5)
