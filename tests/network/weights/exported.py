"""Networks to export, and whether an exported file computes what its network computes."""

import numpy as np
import pytest
import torch

from network import create_network
from network.weights.programs import read_program


def network_of(name, gates=False, num_classes=3):
    """A network whose batch norm has statistics; with them, some gates open and some stay closed."""
    torch.manual_seed(0)
    network = create_network(name, num_classes, gates=gates).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return network


def answers(network, *shape):
    torch.manual_seed(sum(shape))
    clips = torch.randn(*shape)
    with torch.no_grad():
        return clips, network(clips)


def check_onnx(network, path, shapes):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["clips", "logits"]
    for shape in shapes:
        clips, expected = answers(network, *shape)
        (logits,) = session.run(None, {"clips": clips.numpy()})
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    return session


def check_program(network, path, shape):
    """Run by torch, and as this project runs it."""
    program, own = torch.export.load(path).module(), read_program(path)[0]
    for batch in (1, 3):
        clips, expected = answers(network, batch, 3, *shape)
        with torch.no_grad():
            torch.testing.assert_close(program(clips), expected, rtol=1e-3, atol=1e-5)
            torch.testing.assert_close(own(clips), program(clips), rtol=0, atol=0)
