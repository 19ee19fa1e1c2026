"""Fused operations are tried once on a GPU before they are used there."""

import warnings

import pytest
import torch

from network.kernels import use
from tests.network.kernels.devices import DEVICES

pytest.importorskip("triton")
check = pytest.importorskip("network.kernels.check")


@pytest.fixture(autouse=True)
def anew():
    use.failure.cache_clear()
    yield
    use.failure.cache_clear()


@pytest.mark.parametrize("device", DEVICES)
def test_right_results_are_accepted(device):
    """Else no GPU would ever use the fused operations, and training would be slow for no reason."""
    assert check.failure_of(torch.device(device)) == ""


@pytest.mark.parametrize("device", DEVICES)
def test_wrong_results_and_errors_are_found(device, monkeypatch):
    """A GPU or a Triton on which a kernel is wrong must not train a network with it."""
    right = check.max_pool
    monkeypatch.setattr(check, "max_pool", lambda x, frames: 1.001 * right(x, frames))
    assert "max-pool" in check.failure_of(torch.device(device))

    def broken(x, frames):
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(check, "max_pool", broken)
    with pytest.warns(UserWarning, match="RuntimeError: no kernel$"):
        assert use.failure(torch.device(device))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use.failure(torch.device(device)), "said once"
