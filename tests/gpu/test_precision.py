"""Half precision and TF32: what is computed in them, and what is not."""

import subprocess
import sys

import pytest
import torch

from common.device import tune_device
from common.precision import autocast
from common.ranks import Ranks
from network.convs import conv3d
from network.resnet3d import Convolutions, Recursion, ResidualBlock, basic_convs
from network.srtg import SqueezeAndRecursion, temporal_gate
from tests.devices import DEVICES, tf32
from tests.processes import ROOT
from tests.tiny_network import TinyNetwork
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep

LR = 0.01


class ScaledStep:
    """Steps of a small network with the fp16 scaler; in fp16 on a GPU."""

    def __init__(self, device):
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.network = TinyNetwork(4, Recursion(True, "final")).to(device)
        self.clips = torch.randn(4, 3, 4, 32, 32, device=device)
        parameters, optimizer = self.network.parameters(), make_optimizer(self.network, OptimizerOptions())
        self.update = OptimizerStep(parameters, optimizer, self.device, Ranks(0, 0, 1), "fp16", 0.0)

    def __call__(self, number, factor=1.0):
        with autocast(self.device, "fp32" if self.device.type == "cpu" else "fp16"):
            loss = self.network(self.clips).float().square().mean() * factor
        self.update.backward(loss)
        self.update.update(loss.detach(), LR, number)

    def weights(self):
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}


@pytest.mark.parametrize("device", DEVICES)
def test_an_overflow_in_fp16_skips_its_own_update_alone(device):
    """The gradient overflows and the loss does not: the weights stay, the scale halves, and the run goes on."""
    step = ScaledStep(device)
    for number in range(20):  # the scaler finds its scale
        step(number)
    step.update.take_skipped()
    before, scale = step.weights(), step.update.scaler.get_scale()
    step(20, factor=1e37)
    assert step.update.take_skipped() == 1
    assert step.update.bad_step() is None
    after = step.weights()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert step.update.scaler.get_scale() == scale / 2
    step(21)
    step(22)
    assert step.update.take_skipped() == 0
    assert any(not torch.equal(value, before[name]) for name, value in step.weights().items())


IN_HALF = (
    ("cpu", "bf16"),
    *(pytest.param("cuda", precision, marks=pytest.mark.gpu) for precision in ("bf16", "fp16")),
)


@pytest.mark.parametrize(("device", "precision"), IN_HALF)
def test_gradients_of_a_block_in_half_precision_are_near_those_in_single(device, precision):
    """The weights, their gradients and the recursion stay in single precision; the features are in half."""
    torch.manual_seed(0)
    family = Convolutions(torch.nn.Sequential, conv3d)
    block = ResidualBlock(8, 16, 2, basic_convs(8, 16, 2, family), Recursion(False, "final")).to(device)
    seen = []
    block.sar.lstm.register_forward_hook(lambda lstm, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    # Of two frames, PyTorch's convolutions on the CPU (2.11 to 2.13) give a wrong gradient in bf16.
    frames = 4 if device == "cpu" else 2
    clips = torch.randn(4, 8, 2 * frames, 12, 12, device=device)
    target = torch.randn(4, 16, frames, 6, 6, device=device)  # the mean square of what batch norm returns is constant
    gradients = {}
    for each in ("fp32", precision):
        with tf32(False), autocast(torch.device(device), each):
            out = block(clips)
        (out.float() * target).mean().backward()
        gradients[each] = {name: parameter.grad for name, parameter in block.named_parameters()}
        block.zero_grad(set_to_none=True)
    assert out.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert set(seen) == {(torch.float32, torch.float32)}
    for name, expected in gradients["fp32"].items():
        ours = gradients[precision][name]
        assert ours.dtype == torch.float32
        assert float((ours - expected).norm() / expected.norm()) < 0.2, name


@pytest.mark.parametrize("device", DEVICES)
def test_gates_are_those_of_double_precision(device):
    """With TF32 as in training, products of three digits must not open or close gates that are not near a tie."""
    torch.manual_seed(0)
    a = 0.8 * torch.randn(8, 512, 16)
    b = a + 0.8 * torch.randn(8, 512, 16)
    expected = temporal_gate(a.double(), b.double())
    assert 0.05 < float(expected.float().mean()) < 0.95
    with tf32(True):
        ours = temporal_gate(a.to(device), b.to(device)).cpu()
    assert float((ours != expected).float().mean()) <= 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_without_tf32_a_device_computes_what_the_cpu_does(device):
    """Else a wrong kernel would look like a rounding error. With TF32, three digits are left."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(32, gates=False)
    network = TinyNetwork(4, Recursion(False, "final")).eval()
    x, clips = torch.randn(4, 32, 8, 6, 6), torch.randn(4, 3, 8, 32, 32)
    with torch.no_grad():
        expected = module(x), network(clips)
        module.to(device), network.to(device)
        for is_allowed, tolerance in ((False, 1e-4), (True, 2e-2)):
            with tf32(is_allowed):
                ours = module(x.to(device)).cpu(), network(clips.to(device)).cpu()
            torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def test_only_training_allows_tf32():
    """Who imports the networks for something else keeps PyTorch's own settings; training changes them as it says."""
    script = (
        "import torch; before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32;"
        "import network, evaluate, evaluate.evaluation, train.main;"
        "assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    with tf32(False):
        benchmark = torch.backends.cudnn.benchmark
        try:
            tune_device("cuda")
            assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
        finally:
            torch.backends.cudnn.benchmark = benchmark
