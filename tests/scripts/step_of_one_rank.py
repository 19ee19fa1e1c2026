"""For torchrun with one process: a step by DistributedDataParallel and sums over the ranks, against a plain step.

It prints the backend that reduced the device's tensors, and `same` or `different`.
"""

import sys

import torch
import torch.distributed as dist

from common.distributed.process_group import process_group, wrap_in_ddp
from network.resnet3d import Recursion
from tests.tiny_network import TinyNetwork

DEVICE = sys.argv[1]


def gradients(distributed: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    network = TinyNetwork(4, Recursion(False, "final")).to(DEVICE)
    clips = torch.randn(4, 3, 4, 32, 32).to(DEVICE)
    wrapped = wrap_in_ddp(network, torch.device(DEVICE, 0) if DEVICE == "cuda" else torch.device("cpu"))
    (wrapped if distributed else network)(clips).square().sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


with process_group(DEVICE) as ranks:
    numbers = torch.arange(5.0, device=DEVICE)
    total = numbers.clone()
    dist.all_reduce(total)
    pairs = zip(gradients(True), gradients(False), strict=True)
    is_same = all(torch.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in pairs)
    is_same &= torch.equal(total, numbers) and ranks.gather("x") == ["x"] and ranks.world_size == 1
    backend = dist.group.WORLD._get_backend(torch.device(DEVICE)).name()
    print(backend, "same" if is_same else "different")
