import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from network.sub_batch_norm import (
    SubBatchNorm3d,
    aggregate_statistics,
    load_split_state,
    set_num_splits,
    split_state,
    use_sub_batch_norm,
)

CHANNELS, SPLITS = 5, 4


def clips(batch=8, seed=0):
    """Clips whose sub-batches differ much, so that statistics over the wrong clips are noticed."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.rand(batch, 1, 1, 1, 1, generator=generator) * 5 + 0.1
    return torch.randn(batch, CHANNELS, 2, 3, 3, generator=generator) * scale + 3 * scale


def plain_norm(seed=1):
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm3d(CHANNELS)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(CHANNELS, generator=generator) + 0.5)
        norm.bias.copy_(torch.randn(CHANNELS, generator=generator))
    return norm


def sub_norm(splits=SPLITS, seed=1):
    norm = SubBatchNorm3d.sharing(plain_norm(seed), synchronise=False)
    norm.set_num_splits(splits)
    return norm


def run(norm, x, weights=None):
    """Output, and gradients of input, weight and bias, for a loss that is not symmetric."""
    weights = loss_weights() if weights is None else weights
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    norm.zero_grad()
    y = norm(x)
    (y * weights).square().sum().backward()
    return y.detach(), x.grad, norm.weight.grad.clone(), norm.bias.grad.clone()


@pytest.mark.parametrize("channels_last", [False, True])
def test_each_sub_batch_is_normalised_by_itself(channels_last):
    """Statistics over the whole large batch would train another network than the paper's."""
    x = clips()
    members = [torch.arange(8)[s::SPLITS] for s in range(SPLITS)]
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    norm, plain = sub_norm(), [plain_norm() for _ in range(SPLITS)]
    output, x_gradient, weight_gradient, bias_gradient = run(norm, x)

    reference = x.clone().requires_grad_()
    expected = torch.empty_like(x)
    for clip_numbers, one in zip(members, plain, strict=True):
        expected[clip_numbers] = one(reference[clip_numbers])
    (expected * loss_weights()).square().sum().backward()

    torch.testing.assert_close(output, expected.detach())
    torch.testing.assert_close(x_gradient, reference.grad)
    torch.testing.assert_close(weight_gradient, sum(one.weight.grad for one in plain))
    torch.testing.assert_close(bias_gradient, sum(one.bias.grad for one in plain))
    torch.testing.assert_close(norm.split_mean, torch.stack([one.running_mean for one in plain]))
    torch.testing.assert_close(norm.split_var, torch.stack([one.running_var for one in plain]))
    assert output.is_contiguous(memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_relu_may_overwrite_the_result(layout):
    """If autograd took the result for a view, it would copy it several times in each backward pass."""
    norm = sub_norm()
    x = clips().contiguous(memory_format=layout).requires_grad_()
    y = torch.relu_(norm(x))
    assert y.is_contiguous(memory_format=layout) and not y._is_view()
    assert "CopySlices" not in type(y.grad_fn).__name__


def test_one_split_is_plain_batch_norm_to_the_bit():
    """A run without multigrid must train as with plain batch norm."""
    norm, plain = sub_norm(splits=1), plain_norm()
    for ours, theirs in zip(run(norm, clips()), run(plain, clips()), strict=True):
        assert torch.equal(ours, theirs)
    assert all(torch.equal(norm.state_dict()[name], value) for name, value in plain.state_dict().items())


def test_evaluation_uses_the_aggregate_of_all_sub_batches():
    """Evaluating with the statistics from before the phase would give wrong scores without any error."""
    norm = sub_norm()
    for seed in range(3):
        norm(clips(seed=seed))
    mean = norm.split_mean.mean(0)
    var = norm.split_var.mean(0) + norm.split_mean.var(0, correction=0)
    norm.eval()
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    x = clips(seed=9)
    expected = torch.nn.functional.batch_norm(x, mean, var, norm.weight, norm.bias, False)
    torch.testing.assert_close(norm(x), expected)


def test_aggregate_is_the_variance_of_all_clips():
    """Mean of the sub-batches' variances plus variance of their means: no spread between sub-batches is lost."""
    norm = sub_norm()
    norm.momentum = 1.0
    x = clips(batch=64)
    norm(x)
    norm.aggregate()
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3, 4)))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3, 4), correction=0), rtol=0.005, atol=0)


def test_state_dict_is_that_of_plain_batch_norm():
    """A checkpoint of a multigrid run loads in any other run, aggregated."""
    norm, plain = sub_norm(), plain_norm()
    norm(clips())
    state = norm.state_dict()
    assert list(state) == list(plain.state_dict())
    torch.testing.assert_close(state["running_mean"], norm.split_mean.mean(0))
    plain.load_state_dict(state)
    other = sub_norm(seed=2)
    other.load_state_dict(plain.state_dict())
    assert torch.equal(other.split_mean, state["running_mean"].repeat(SPLITS, 1))
    assert torch.equal(other.split_var, state["running_var"].repeat(SPLITS, 1))


def network():
    torch.manual_seed(3)
    shared = nn.BatchNorm3d(CHANNELS)
    return nn.Sequential(
        nn.Conv3d(CHANNELS, CHANNELS, 1), shared, nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm3d(CHANNELS)), shared
    )


def train_step(net, seed):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    optimizer.zero_grad()
    net(clips(seed=seed)).square().sum().backward()
    optimizer.step()


def test_conversion_keeps_parameters_and_what_shares_them():
    """An optimiser or a distributed wrapper made before must still train the same tensors."""
    net = network()
    before = dict(net.named_parameters()) | dict(net.named_buffers())
    use_sub_batch_norm(net)
    after = dict(net.named_parameters()) | dict(net.named_buffers())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert isinstance(net[1], SubBatchNorm3d) and net[1] is net[3]
    assert isinstance(net[2][1], SubBatchNorm3d)
    use_sub_batch_norm(net)
    assert net[1] is net[3]


def test_new_splits_start_from_the_aggregate_of_the_old_ones():
    """A change of phase must not lose the running statistics."""
    net = network()
    use_sub_batch_norm(net)
    set_num_splits(net, 4)
    train_step(net, 0)
    spread = net[1].split_mean.clone()
    set_num_splits(net, 4)
    assert torch.equal(net[1].split_mean, spread), "setting the same number again must change nothing"
    aggregate_statistics(net)
    assert torch.equal(net[1].split_mean, spread), "aggregating, as before a save, must not change the sub-batches"
    set_num_splits(net, 2)
    assert torch.equal(net[1].split_mean, net[1].running_mean.repeat(2, 1))
    torch.testing.assert_close(net[1].running_mean, spread.mean(0))
    set_num_splits(net, 1)
    assert net[1].split_mean is None
    torch.testing.assert_close(net[1].running_mean, spread.mean(0))


@pytest.mark.parametrize("splits", [1, 2, 4])
def test_resume_in_the_middle_of_a_phase_is_exact(splits):
    """A resumed run must end with the weights and statistics of one that never stopped."""
    whole = network()
    use_sub_batch_norm(whole)
    set_num_splits(whole, splits)
    for seed in range(2):
        train_step(whole, seed)
    saved = copy.deepcopy((whole.state_dict(), split_state(whole)))
    resumed = network()
    use_sub_batch_norm(resumed)
    resumed.load_state_dict(saved[0])
    load_split_state(resumed, saved[1])
    for net in (whole, resumed):
        for seed in range(2, 5):
            train_step(net, seed)
    for ours, theirs in ((whole.state_dict(), resumed.state_dict()), (split_state(whole), split_state(resumed))):
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_split_state_of_another_network_is_refused():
    """Else the statistics would be dropped, and the resumed run would differ."""
    net = network()
    use_sub_batch_norm(net)
    with pytest.raises(AssertionError, match=r"elsewhere\.split_mean"):
        load_split_state(net, {"elsewhere.split_mean": torch.zeros(2, CHANNELS)})


def test_every_second_clip_as_a_micro_batch_has_the_same_sub_batches():
    """With micro-batches x[i::parts] and splits / parts, each clip is normalised with the same clips."""
    x, norm = clips(batch=16), sub_norm(splits=4)
    whole = norm(x)
    norm.set_num_splits(2)
    for part in range(2):
        torch.testing.assert_close(norm(x[part::2].contiguous()), whole[part::2])


def test_batch_that_does_not_divide_is_refused():
    """Sub-batches of different sizes would get statistics of different quality."""
    with pytest.raises(AssertionError, match=r"\b6\b.*\b4\b"):
        sub_norm()(clips(batch=6))


def test_half_precision_input_keeps_its_type_and_exact_statistics():
    """Statistics summed in half precision would drift away from those of float32 runs."""
    norm, half = sub_norm(), sub_norm()
    expected = norm(clips())
    with torch.autocast("cpu", torch.bfloat16):
        output = half(clips().bfloat16())
    assert output.dtype == torch.bfloat16
    assert half.split_mean.dtype == torch.float32
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)


def synchronised_rank(rank, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=ranks)
    for splits in (1, 2):
        norm = SubBatchNorm3d.sharing(plain_norm(), synchronise=True)
        norm.set_num_splits(splits)
        y, x_gradient, *gradients = run(norm, clips(batch=8)[rank::ranks], loss_weights()[rank::ranks])
        norm.aggregate()
        running = (norm.running_mean, norm.running_var)
        torch.save((y, x_gradient, running, gradients), f"{folder}/{splits}.{rank}.pt")
    dist.destroy_process_group()


def test_synchronised_ranks_equal_one_rank_with_the_whole_batch(tmp_path):
    """--sync-bn: two ranks must normalise as one does, sub-batch by sub-batch, forwards and backwards."""
    mp.spawn(synchronised_rank, (2, tmp_path), nprocs=2)
    for splits in (1, 2):
        # Rank r has the clips r, r + 2, ...; its sub-batch s has every `splits`-th of those.
        order = torch.arange(8).view(4 // splits, splits, 2).permute(0, 2, 1).flatten()
        norm = sub_norm(splits)
        y, x_gradient, *gradients = run(norm, clips(batch=8)[order], loss_weights()[order])
        norm.aggregate()
        ranks = [torch.load(tmp_path / f"{splits}.{rank}.pt") for rank in range(2)]
        for rank, (rank_y, rank_x_gradient, running, _) in enumerate(ranks):
            own = order.argsort()[rank::2]
            close(rank_y, y[own])
            close(rank_x_gradient, x_gradient[own])
            close(running, (norm.running_mean, norm.running_var))
        for total, *parts in zip(gradients, *(gradients for *_, gradients in ranks), strict=True):
            close(sum(parts), total)


def loss_weights():
    return torch.linspace(0, 1, clips().numel()).view_as(clips())


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)
