import os

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton")
launch = pytest.importorskip("network.kernels.launch")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")


@triton.jit(do_not_specialize=["count"])
def kernel(x, out, count, channels, TILE: triton.language.constexpr):
    pass


class Compiled:
    """What Triton returns: it records its calls."""

    takes_constants = True

    def __init__(self, calls: list) -> None:
        self.calls = calls

    def __getitem__(self, grid):
        def call(*args):
            if not self.takes_constants:
                raise TypeError("function takes exactly 4 arguments")
            self.calls.append(("compiled", grid, args))

        return call


@pytest.fixture
def calls(monkeypatch) -> list:
    calls = []

    def run(*args, grid, warmup, **options):
        calls.append(("Triton", grid, args))
        assert options == {"num_warps": 4} and not warmup
        return Compiled(calls)

    monkeypatch.setattr(kernel, "run", run)
    return calls


def arguments(dtype: torch.dtype = torch.float32, offset: int = 0, channels: int = 16) -> list[Tensor | int]:
    return [torch.empty(64, dtype=dtype)[offset:], torch.empty(8), 5, channels, 32]


def test_a_call_goes_through_triton_only_if_it_may_have_to_compile(calls):
    """A compiled kernel that is called with arguments of another kind reads wrong memory."""
    launcher = launch.Launcher(kernel, 2, num_warps=4)

    def how(args: list) -> str:
        launcher((3, 1, 1), *args)
        way, grid, passed = calls[-1]
        assert grid == (3, 1, 1) and passed == tuple(args)
        return way

    assert [how(arguments()) for _ in range(3)] == ["Triton", "compiled", "compiled"]
    other_count = arguments()
    other_count[2] = 7
    assert how(other_count) == "compiled", "clips of another size: no compilation"
    other_count[2] = 2**31
    assert how(other_count) == "Triton", "an int64"
    assert how(arguments(dtype=torch.float16)) == "Triton"
    assert how(arguments(channels=8)) == "Triton"
    assert [how(arguments(offset=1)) for _ in range(2)] == ["Triton", "Triton"], "an address that 16 does not divide"
    other_constant = [*arguments()[:4], 64]
    assert [how(other_constant) for _ in range(2)] == ["Triton", "compiled"]
    assert how(arguments()) == "compiled"


def test_other_versions_of_triton_are_called_as_they_always_can_be(calls, monkeypatch):
    """Compiled kernels of some versions take other arguments: training must not stop for that."""
    monkeypatch.setattr(Compiled, "takes_constants", False)
    launcher = launch.Launcher(kernel, 2, num_warps=4)
    for _ in range(3):
        launcher((3, 1, 1), *arguments())
    assert [way for way, *_ in calls] == ["Triton"] * 3
