"""What frozen parts save in a training step on the CPU: its time, and the activations that it keeps.

    python -m benchmarks.frozen [--network srtg_r3d_18] [--clip 8x64x64] [--batch 4] [--steps 5]

Prints for nothing frozen, for all but the last stages and for all but the classifier the processor time of a step
(forward, backward and update), of the settings in turns, and the activations that the forward pass keeps of a clip.
"""

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from common.cli import CommandParser, run_command
from network import VideoNetwork, create_network
from train.freezing import Freezing
from train.optim import OptimizerOptions, make_optimizer, set_lr
from train.parameter_groups import parts_of

CLASSES = 10


class Stepper:
    """A network of which some parts are frozen, with clips and an optimiser."""

    def __init__(self, name: str, frozen: int, clips: Tensor) -> None:
        torch.manual_seed(0)
        self.network: VideoNetwork = create_network(name, CLASSES)
        self.parts = parts_of(self.network)[:frozen]
        Freezing(self.parts).begin_epoch(self.network, 1)
        self.optimizer = make_optimizer(self.network, OptimizerOptions())
        set_lr(self.optimizer, 1e-6)
        self.clips, self.labels = clips, torch.zeros(len(clips), dtype=torch.long)

    def step(self) -> float:
        """A training step; its seconds of processor time."""
        started = time.process_time()
        F.cross_entropy(self.network(self.clips), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.process_time() - started

    def kept(self) -> int:
        """Bytes that the forward pass keeps for the backward pass, besides the weights."""
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.network.parameters()}
        found: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                found[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.network(self.clips)
        return sum(found.values())


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.frozen", description="What frozen parts save.")
    parser.add_argument("--network", default="srtg_r3d_18")
    parser.add_argument("--clip", default="8x64x64", help="frames x height x width")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    clips = torch.randn(arguments.batch, 3, *map(int, arguments.clip.split("x")))
    steppers = [Stepper(arguments.network, frozen, clips) for frozen in (0, 3, 4, 5)]
    seconds: list[list[float]] = [[] for _ in steppers]
    for turn in range(arguments.steps + 1):
        for stepper, times in zip(steppers, seconds, strict=True):
            times.append(stepper.step())
            if not turn:  # it warms up
                times.clear()
    whole = statistics.median(seconds[0])
    for stepper, times in zip(steppers, seconds, strict=True):
        median = statistics.median(times)
        kept = stepper.kept() / len(clips) / 2**20
        print(
            f"frozen: {','.join(stepper.parts) or 'none'}: {median:.2f} s of processor time for a step "
            f"({median / whole:.2f} of the whole), {kept:.2f} MiB of activations kept for a clip"
        )
    return 0


if __name__ == "__main__":
    run_command(main)
