import os
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

triton = pytest.importorskip("triton")
launch = pytest.importorskip("common.kernels.launch")
pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter compiles nothing")

GRID = (3, 1, 2)
STREAM, FUNCTION, METADATA = 77, 1234, (4, 1, 0)


@triton.jit(do_not_specialize=["count"])
def kernel(x, out, count, channels, TILE: triton.language.constexpr):
    pass


class Run:
    """Triton's launcher, as it calls the C function in one version."""

    def __init__(self, calls: list) -> None:
        self.launch = lambda *args: calls.append(("C", args))

    def __call__(self, x, y, z, stream, function, metadata, launch_metadata, enter, leave, *args) -> None:
        self.launch(x, y, z, stream, function, False, False, None, metadata, launch_metadata, enter, leave, *args)

    def arguments(self, passed: tuple) -> tuple:
        """Those of the kernel; the others must be right."""
        assert passed[:12] == (*GRID, STREAM, FUNCTION, False, False, None, METADATA, None, None, None)
        return passed[12:]


class RunWithTuple(Run):
    """In another version the kernel's arguments are a tuple."""

    def __call__(self, x, y, z, stream, function, metadata, launch_metadata, enter, leave, *args) -> None:
        self.launch(x, y, z, stream, function, metadata, launch_metadata, enter, leave, [b"signature"], args)

    def arguments(self, passed: tuple) -> tuple:
        """Those of the kernel; the others must be right."""
        assert passed[:10] == (*GRID, STREAM, FUNCTION, METADATA, None, None, None, [b"signature"])
        return passed[10]


class RunOfAnotherOrder(Run):
    """A version that is not known."""

    def __call__(self, x, y, z, stream, function, metadata, launch_metadata, enter, leave, *args) -> None:
        self.launch(stream, x, y, z, function, metadata, enter, leave, *args)


class RunWithScratch(Run):
    """The kernel needs memory of its own, of a size that depends on the grid."""

    def __call__(self, x, y, z, stream, function, *args) -> None:
        self.launch(x, y, z, stream, function, bytes(x * y * z), *args)


class RunThatTakesNoAddresses(Run):
    """The C function refuses what it gets; nothing is launched."""

    def __init__(self, calls: list) -> None:
        def refuse(*args) -> None:
            raise TypeError("function takes exactly 4 arguments")

        self.launch = refuse


@pytest.fixture
def calls(monkeypatch) -> list:
    """What was called: Triton, or its C function; `calls.kind` is Triton's launcher."""

    class Calls(list):
        kind = Run

    calls = Calls()

    def run(*args, grid, warmup, **options):
        calls.append(("Triton", args))
        assert options == {"num_warps": 4} and not warmup and grid == GRID
        return SimpleNamespace(run=calls.kind(calls), function=FUNCTION, packed_metadata=METADATA)

    monkeypatch.setattr(kernel, "run", run)
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: STREAM, raising=False)
    return calls


def arguments(dtype: torch.dtype = torch.float32, offset: int = 0, channels: int = 16) -> list[Tensor | int]:
    return [torch.empty(64, dtype=dtype)[offset:], torch.empty(8), 5, channels, 32]


def ways(launcher: launch.Launcher, calls: list, args: list, times: int = 1) -> list[str]:
    """How each of `times` calls went; the kernel's arguments must be right."""
    calls.clear()
    for _ in range(times):
        launcher(GRID, *args)
        way, passed = calls[-1]
        if way == "C":
            passed = calls.kind(calls).arguments(passed)
            assert list(passed) == [args[0].data_ptr(), args[1].data_ptr(), *args[2:]]
        else:
            assert passed == tuple(args)
    assert len(calls) == times
    return [way for way, _ in calls]


@pytest.mark.parametrize("kind", [Run, RunWithTuple])
def test_a_call_goes_through_triton_only_if_it_may_have_to_compile(kind, calls):
    """A compiled kernel that is called with arguments of another kind reads wrong memory."""
    calls.kind = kind
    launcher = launch.Launcher(kernel, 2, num_warps=4)
    assert ways(launcher, calls, arguments(), 3) == ["Triton", "C", "C"]
    other_count = arguments()
    other_count[2] = 7
    assert ways(launcher, calls, other_count) == ["C"], "clips of another size: no compilation"
    other_count[2] = 2**31
    assert ways(launcher, calls, other_count) == ["Triton"], "an int64"
    assert ways(launcher, calls, arguments(dtype=torch.float16)) == ["Triton"]
    assert ways(launcher, calls, arguments(channels=8)) == ["Triton"]
    assert ways(launcher, calls, arguments(offset=1), 2) == ["Triton"] * 2, "an address that 16 does not divide"
    assert ways(launcher, calls, [*arguments()[:4], 64], 2) == ["Triton", "C"]
    assert ways(launcher, calls, arguments()) == ["C"]


@pytest.mark.parametrize("kind", [RunOfAnotherOrder, RunWithScratch])
def test_other_versions_of_triton_are_called_as_they_always_can_be(kind, calls):
    """A C function that takes its arguments in another order would run a kernel on wrong memory."""
    calls.kind = kind
    launcher = launch.Launcher(kernel, 2, num_warps=4)
    assert ways(launcher, calls, arguments(), 3) == ["Triton"] * 3
    assert ways(launcher, calls, arguments(dtype=torch.float16), 2) == ["Triton"] * 2


def test_a_call_that_is_refused_goes_through_triton(calls):
    """Training must not stop for another version's types of arguments, nor leave a launch out."""
    calls.kind = RunThatTakesNoAddresses
    launcher = launch.Launcher(kernel, 2, num_warps=4)
    assert ways(launcher, calls, arguments(), 3) == ["Triton"] * 3


def test_the_launcher_of_the_installed_triton_is_understood(monkeypatch):
    """Otherwise the host's time of a launch is several times as long, and a small network waits for it."""
    driver = pytest.importorskip("triton.backends.nvidia.driver")
    run, passed = driver.CudaLauncher.__new__(driver.CudaLauncher), []
    vars(run).update(
        launch=lambda *args: passed.append(args), global_scratch_size=0, profile_scratch_size=0, num_ctas=1,
        global_scratch_align=1, profile_scratch_align=1, launch_cooperative_grid=False, launch_pdl=False,
        arg_annotations=[], kernel_signature=b"",
    )  # fmt: skip
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: STREAM, raising=False)
    compiled = SimpleNamespace(run=run, function=FUNCTION, packed_metadata=METADATA)
    ours = launch._direct(compiled, 5)
    ours(GRID, 0, [160, 320], (5, 16, 32))
    run(*GRID, STREAM, FUNCTION, METADATA, None, None, None, 160, 320, 5, 16, 32)
    assert passed[0] == passed[1]
    run.global_scratch_size = 8
    assert launch._direct(compiled, 5) is None


@pytest.mark.parametrize("hook", ["launch_enter_hook", "launch_exit_hook"])
def test_profilers_of_triton_hear_of_each_launch(hook, calls, monkeypatch):
    """A profile without the kernels that take the time would mislead."""
    launcher = launch.Launcher(kernel, 2, num_warps=4)
    assert ways(launcher, calls, arguments(), 2) == ["Triton", "C"]
    hooks = getattr(triton.knobs.runtime, hook)
    if hasattr(hooks, "add"):  # a chain of hooks; before, one or None
        monkeypatch.setattr(hooks, "calls", [print])
    else:
        monkeypatch.setattr(triton.knobs.runtime, hook, print)
    assert ways(launcher, calls, arguments()) == ["Triton"]
