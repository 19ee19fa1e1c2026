"""The scores of views, and of a video from them."""

import torch

from data.augment.normalise import Normalise
from evaluate.view_scores import mean_of_views, view_scores


class Means(torch.nn.Module):
    """Logits that are the mean levels of the channels."""

    def forward(self, clips):
        assert len(clips) <= 2
        return clips.mean(dim=(2, 3, 4))


def test_a_video_has_the_mean_of_the_probabilities_of_its_views():
    """Mean logits, or another mean, would be other scores than those of published tests."""
    probabilities = torch.tensor([[[0.9, 0.1], [0.5, 0.5]], [[0.2, 0.8], [0.2, 0.8]]])
    found = mean_of_views(probabilities.log()).exp()
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.3], [0.2, 0.8]]))


def test_views_keep_their_order_however_many_the_network_gets_at_a_time():
    """Else a video would get the scores of its neighbour."""
    clips = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1, 1).expand(5, 3, 2, 4, 4).clone() * 50
    clips[:, 1] //= 2
    scores = view_scores(Means(), Normalise(), clips, "fp32", 2)
    expected = Normalise()(clips).mean(dim=(2, 3, 4)).log_softmax(dim=-1)
    torch.testing.assert_close(scores, expected)
    assert scores.dtype == torch.float32 and not scores.requires_grad
