"""What happens to clips on the device."""

import torch

from data.augment import Normalise


def test_normalisation_is_that_of_the_published_weights():
    """(x/255 - mean/255) / std with mean (124, 117, 104) and std 1/(0.0167*255), red first."""
    clips = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    mean = torch.tensor([124, 117, 104], dtype=torch.float64).view(1, 3, 1, 1, 1) / 255
    expected = (clips.double() / 255 - mean) / (1 / (0.0167 * 255))
    torch.testing.assert_close(Normalise()(clips), expected.float())


def test_normalised_clips_are_contiguous_whatever_the_layout_that_workers_hand_over():
    """Workers hand over channels last; convolutions and sub-batch norm want channels first, and so do comparisons."""
    stored = torch.randint(0, 256, (2, 4, 5, 6, 3), dtype=torch.uint8)
    clips = stored.permute(0, 4, 1, 2, 3)
    normalised = Normalise()(clips)
    assert normalised.dtype == torch.float32
    assert normalised.is_contiguous()
    torch.testing.assert_close(normalised, Normalise()(clips.contiguous()))


def test_the_clip_itself_stays_and_checkpoints_hold_nothing_of_it():
    clips = torch.full((1, 3, 2, 2, 2), 200, dtype=torch.uint8)
    Normalise()(clips)
    assert (clips == 200).all()
    assert not Normalise().state_dict()
