"""What is read from the tensors of a file."""

import torch

from network.weights.tensors import checksum


def test_a_checksum_changes_with_every_name_and_value():
    """Ranks with other weights scored together if their classifiers were the same."""
    weights = {"a": torch.ones(2, 3), "b": torch.ones(2, dtype=torch.bfloat16), "n": torch.tensor(7)}
    sums = {
        checksum(weights),
        checksum(weights | {"a": torch.ones(2, 3).index_fill(1, torch.tensor(2), 0)}),
        checksum(weights | {"b": torch.full((2,), 2, dtype=torch.bfloat16)}),
        checksum(weights | {"n": torch.tensor(8)}),
        checksum({name.upper(): value for name, value in weights.items()}),
    }
    assert len(sums) == 5
    assert checksum({"a": torch.ones(3, 2).T}) == checksum({"a": torch.ones(2, 3)})
    assert checksum(weights | {"s": torch.eye(2).to_sparse()}) == checksum(weights)


def test_a_tensor_of_negative_sign_has_the_checksum_of_its_values():
    """torch keeps some signs and conjugates apart from the values, and files have them: a traceback of a training."""
    value = torch._neg_view(torch.ones(3))
    assert checksum({"a": value}) == checksum({"a": -torch.ones(3)})
