"""What is said when a .pt2 cannot be run: only its own mistakes are called that."""

import pytest
import torch

from common.errors import NetworkError
from evaluate.exported import ProgramNetwork

FACTS = {
    "name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3, "normalisation": "mean", "eps": 1e-5,
}  # fmt: skip


class Program(torch.nn.Module):
    """Answers each clip alike, or fails."""

    shape = (4, 8, 8)

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, clips):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def run(answer):
    return ProgramNetwork(Program(answer), FACTS)(torch.zeros(2, 3, 4, 8, 8))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        *([torch.AcceleratorError("unspecified launch failure")] if hasattr(torch, "AcceleratorError") else []),
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_failure_of_the_gpu_is_no_mistake_of_the_file(error):
    """Users would export again and again, where the machine or its driver is at fault."""
    with pytest.raises(type(error)) as raised:
        run(error)
    assert raised.value is error


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        NotImplementedError("Could not run 'aten::x' with arguments from the 'CUDA' backend"),
        TypeError("unexpected type"),
        torch.zeros(2, 4),
        3,
        [torch.zeros(2, 3)],
    ],
    ids=str,
)
def test_a_mistake_of_the_file_is_one_line(answer):
    """A number in place of logits was a traceback."""
    with pytest.raises(NetworkError) as error:
        run(answer)
    assert "\n" not in str(error.value)
