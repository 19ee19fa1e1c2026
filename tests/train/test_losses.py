"""Each loss follows its definition and is summed over clips."""

import pytest
import torch
import torch.nn.functional as F

from train.losses import LOSSES, LossOptions, make_loss

LOGITS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])


def test_the_default_is_plain_cross_entropy():
    expected = -LOGITS.log_softmax(1)[range(6), LABELS].sum()
    torch.testing.assert_close(make_loss(LossOptions())(LOGITS, LABELS), expected)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes():
    targets = 0.9 * F.one_hot(LABELS, 5) + 0.1 / 5
    loss = make_loss(LossOptions(label_smoothing=0.1))(LOGITS, LABELS)
    torch.testing.assert_close(loss, -(targets * LOGITS.log_softmax(1)).sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bce_asks_for_each_class(smoothing):
    targets = (1 - smoothing) * F.one_hot(LABELS, 5) + smoothing / 5
    probabilities = LOGITS.sigmoid()
    expected = -(targets * probabilities.log() + (1 - targets) * (1 - probabilities).log()).mean(1).sum()
    torch.testing.assert_close(make_loss(LossOptions("bce", smoothing))(LOGITS, LABELS), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_mixed_labels_is_the_mean_of_their_losses(name):
    """A mixed clip must count for both labels by their shares, also with label smoothing."""
    loss, others = make_loss(LossOptions(name, 0.1)), LABELS.flip(0)
    targets = 0.7 * F.one_hot(LABELS, 5).double() + 0.3 * F.one_hot(others, 5)
    torch.testing.assert_close(loss(LOGITS, targets), 0.7 * loss(LOGITS, LABELS) + 0.3 * loss(LOGITS, others))


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_parts_adds_up_to_that_of_the_batch(name):
    """Accumulation divides the sum by the whole batch: a mean of each part would weigh them wrongly."""
    loss = make_loss(LossOptions(name, 0.1))
    parts = loss(LOGITS[:2], LABELS[:2]) + loss(LOGITS[2:], LABELS[2:])
    torch.testing.assert_close(parts, loss(LOGITS, LABELS))
