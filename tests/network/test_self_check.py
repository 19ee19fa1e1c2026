"""Fused operations are tried once on a GPU before they are used there."""

import warnings

import pytest
import torch

from network import self_check, srtg
from network.kernels import use
from network.self_check import failure_of, recursion_failure_of
from network.srtg import SqueezeAndRecursion
from tests.network.kernels.devices import DEVICES, DTYPES

try:
    from network.kernels import lstm, pool, stem
except ImportError:
    pool = lstm = stem = None
needs_triton = pytest.mark.skipif(pool is None, reason="needs Triton")


@pytest.fixture(autouse=True)
def anew():
    failures = use._most.failures, use._of_recursion.failures
    for each in failures:
        each.clear()
    yield
    for each in failures:
        each.clear()


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_right_results_are_accepted(dtype, device):
    """Else no GPU would ever use the fused operations, and training would be slow for no reason."""
    assert failure_of(torch.device(device), dtype) == ""


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
def test_a_right_recursion_is_accepted(device):
    """Else SRTG would train at half the speed; at one precision, since the interpreter takes a minute for it."""
    assert recursion_failure_of(torch.device(device), torch.bfloat16) == ""


@pytest.mark.parametrize("seed", range(5))
def test_some_gates_of_the_check_are_open_and_some_closed(seed):
    """With all of them closed, nothing would be known of the recursion's gradients."""
    torch.manual_seed(seed)
    data = self_check._Data(torch.device("cpu"), torch.float32)
    of_x = self_check._squeeze_and_recursion(data, True).plain()[1]
    is_open = (of_x != data.gradient).flatten(1).any(1)
    assert is_open[-1] and not is_open[0]


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", ["9", "10"])
def test_the_stem_is_tried_at_even_and_odd_sizes(size, device, monkeypatch):
    """Each has a kernel of its own; one that is used and not tried might be wrong."""
    right = stem.fold_clips
    monkeypatch.setattr(stem, "fold_clips", lambda x: right(x) * (1 + 0.1 * (x.shape[4] == int(size))))
    operations = self_check._operations(torch.device(device), torch.float16)
    (reason,) = filter(None, [self_check._failure(each) for each in operations if "stem" in each.name])
    assert reason.startswith(f"stem, {size} pixels wide is off")


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
def test_wrong_results_and_errors_are_found(device, monkeypatch):
    """A GPU or a Triton on which a kernel is wrong must not train a network with it."""
    right = pool.max_pool
    monkeypatch.setattr(pool, "max_pool", lambda x, frames: 1.001 * right(x, frames))
    assert "max-pool" in failure_of(torch.device(device), torch.float32)

    def broken(x, frames):
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(pool, "max_pool", broken)
    assert use._most.failure_of is failure_of
    with pytest.warns(UserWarning, match="RuntimeError: no kernel$"):
        assert use.failure(torch.device(device), torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use.failure(torch.device(device), torch.float32), "said once"


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
def test_a_recursion_that_is_wrong_costs_its_own_kernels_alone(device, monkeypatch):
    """A GPU where one kernel of many fails would else train at half the speed."""
    right = lstm.recurse_back

    def coarse(gradient, *args, **options):
        return right(gradient.bfloat16().float(), *args, **options)

    monkeypatch.setattr(lstm, "recurse_back", coarse)
    monkeypatch.setattr(use._most, "failure_of", lambda *_: "")
    monkeypatch.setattr(self_check, "_recursions", lambda device, _: [self_check._lstm(device, 80)])
    where = torch.device(device), torch.float32
    with pytest.warns(UserWarning, match="squeeze and recursion are not used"):
        assert "LSTM of 80 channels" in use.recursion_failure(*where)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use.recursion_failure(*where), "said once"
        assert "LSTM of" in use.description_of_kernels(*where)
    monkeypatch.setattr(srtg, "may_use_kernels", lambda x: True)
    module, x = SqueezeAndRecursion(8).to(device), torch.zeros(2, 8, 2, 3, 3, device=device)
    assert srtg._weights_for_kernels(module, x.contiguous(memory_format=torch.channels_last_3d)) is None


def test_whatever_fails_ends_no_forward_pass(monkeypatch):
    """A Triton that cannot be imported, or a driver that refuses, costs the fused operations, not the run."""

    def refuse(device, dtype):
        raise ImportError("no such symbol")

    monkeypatch.setattr(self_check, "_operations", refuse)
    before = torch.get_rng_state()
    assert failure_of(torch.device("cpu"), torch.float32) == "Triton: ImportError: no such symbol"
    assert torch.equal(torch.get_rng_state(), before)

    def fill(device, dtype):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(self_check, "_operations", fill)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            use.failure(torch.device("cpu"), torch.float32)
