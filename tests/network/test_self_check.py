"""Fused operations are tried once on a GPU before they are used there."""

import warnings

import pytest
import torch

from network.kernels import use
from network.self_check import failure_of
from tests.network.kernels.devices import DEVICES, DTYPES

pytest.importorskip("triton")
pool = pytest.importorskip("network.kernels.pool")


@pytest.fixture(autouse=True)
def anew():
    use.failure.cache_clear()
    yield
    use.failure.cache_clear()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_right_results_are_accepted(dtype, device):
    """Else no GPU would ever use the fused operations, and training would be slow for no reason."""
    assert failure_of(torch.device(device), dtype) == ""


@pytest.mark.parametrize("device", DEVICES)
def test_wrong_results_and_errors_are_found(device, monkeypatch):
    """A GPU or a Triton on which a kernel is wrong must not train a network with it."""
    right = pool.max_pool
    monkeypatch.setattr(pool, "max_pool", lambda x, frames: 1.001 * right(x, frames))
    assert "max-pool" in failure_of(torch.device(device), torch.float32)

    def broken(x, frames):
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(pool, "max_pool", broken)
    assert use._switch.failure_of is failure_of
    with pytest.warns(UserWarning, match="RuntimeError: no kernel$"):
        assert use.failure(torch.device(device), torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use.failure(torch.device(device), torch.float32), "said once"
