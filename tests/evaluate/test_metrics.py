"""Loss and top-k against their definitions."""

import math

import pytest
import torch
import torch.nn.functional as F

from evaluate import metrics
from evaluate.metrics import METRICS, VIDEO_METRICS, Metric, Scores, ScoreSums, is_in_top_k
from tests.runs import make_scores


@pytest.fixture(autouse=True)
def published_metrics(monkeypatch):
    """Loss, top-1 and top-5, whatever else the lists have."""
    monkeypatch.setattr("evaluate.metrics.METRICS", [m for m in METRICS if m.name in ("loss", "top1", "top5")])
    monkeypatch.setattr("evaluate.metrics.VIDEO_METRICS", [])


def naive(scores, labels):
    """Top-1 and top-5 in percent and mean cross-entropy, example by example."""
    top1 = top5 = loss = 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(row)), key=lambda k: -row[k])
        top1 += order[0] == label
        top5 += label in order[:5]
        loss += math.log(sum(math.exp(score) for score in row)) - row[label]
    n = len(labels)
    return 100 * top1 / n, 100 * top5 / n, loss / n


def add(sums, scores, labels):
    sums.add(F.cross_entropy(scores, labels, reduction="sum"), scores, labels)


@pytest.mark.parametrize("classes", [12, 5, 3, 1])
def test_scores_are_those_of_the_definition(classes):
    """Also with fewer than five classes: then top-5 is 100 %."""
    generator = torch.Generator().manual_seed(classes)
    scores = torch.randn(40, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (40,), generator=generator)
    sums = ScoreSums(torch.device("cpu"), classes)
    for part in range(3):
        add(sums, scores[part::3], labels[part::3])
    result = sums.scores_of(sums.take())
    assert (result.top1, result.top5, result.loss) == pytest.approx(naive(scores, labels))
    assert result.examples == 40
    if classes <= 5:
        assert result.top5 == 100


def test_taking_the_sums_starts_them_anew():
    sums = ScoreSums(torch.device("cpu"), 4)
    add(sums, torch.randn(3, 4), torch.tensor([0, 1, 2]))
    assert sums.take()[3] == 3
    assert sums.take().tolist() == [0, 0, 0, 0]


def test_scores_add_up_and_of_nothing_are_not_a_number():
    """Zero percent would look like a result."""
    total = make_scores(2.0, 1, 2, 4).plus(make_scores(6.0, 0, 1, 4)).plus(Scores())
    assert (total.loss, total.top1, total.top5) == (1.0, 12.5, 37.5)
    assert all(math.isnan(value) for value in (Scores().loss, Scores().top1, Scores().top5))


def test_sums_of_many_small_losses_keep_their_digits():
    """An epoch has millions of clips: in float32 the sum would stop growing."""
    sums = ScoreSums(torch.device("cpu"), 4)
    sums.sums[0] = 2.0**25
    sums.add(torch.tensor(0.5), torch.zeros(1, 2), torch.tensor([0]))
    assert sums.take().tolist()[0] == 2.0**25 + 0.5


def test_the_first_of_the_best_classes_is_top_1():
    hits = is_in_top_k(torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.1, 0.0]]), torch.tensor([2, 0]))
    assert hits.tolist() == [[False, True, False], [True, False, False]]


@pytest.mark.parametrize("label", range(10))
def test_a_tie_is_no_hit_whatever_the_number_of_the_class(label):
    """A network that gives all classes the same score would else be right wherever the label is class 0."""
    assert not is_in_top_k(torch.zeros(1, 10), torch.tensor([label])).any()
    scores = torch.zeros(1, 10)
    scores[0, [label, (label + 3) % 10]] = 1.0  # two best: the label is one of them, and counts as the second
    assert is_in_top_k(scores, torch.tensor([label])).tolist() == [[False, True, False, False, False]]


def test_outputs_that_are_not_a_number_hit_nothing():
    """topk ranks NaN first, so a diverged network had the share of the first class as top-1."""
    assert not is_in_top_k(torch.full((1, 3), math.nan), torch.tensor([1])).any()
    scores = torch.tensor([[math.nan] * 6, [0.1, math.nan, 0, 0, 0, 0], [9.0, 0, 0, 0, 0, -math.inf]])
    assert is_in_top_k(scores, torch.tensor([0, 1, 0])).any(dim=1).tolist() == [False, False, True]


def per_class_metric(num_classes):
    """Mean accuracy over classes: hits and examples of each class are summed."""

    def count(batch):
        hits = is_in_top_k(batch.scores, batch.labels)[:, 0]
        classes = F.one_hot(batch.labels, num_classes)
        return torch.stack([(classes * hits[:, None]).sum(0), classes.sum(0)])

    def value(sums, examples):
        hits, totals = sums[:num_classes], sums[num_classes:]
        return 100 * sum(hit / total for hit, total in zip(hits, totals, strict=True) if total) / num_classes

    return Metric("mean_class", "mean class {}%", count, value, lambda classes: 2 * classes)


def test_a_metric_may_count_for_each_class(monkeypatch):
    """One entry in the list is enough for the log, the sums over ranks and batches, and the score files."""
    monkeypatch.setattr("evaluate.metrics.METRICS", [*metrics.METRICS, per_class_metric(3)])
    sums = ScoreSums(torch.device("cpu"), 3)
    add(sums, torch.eye(3)[[0, 0, 1]], torch.tensor([0, 0, 0]))
    first = sums.scores_of(sums.take())
    add(sums, torch.eye(3)[[1, 0]], torch.tensor([1, 2]))
    total = first.plus(sums.scores_of(sums.take()))
    assert total.values()["mean_class"] == pytest.approx(100 * (2 / 3 + 1 + 0) / 3)
    assert "mean class 55.56" in total.show()
    assert total.top1 == 60


def test_scores_of_before_a_metric_existed_have_no_number_for_it(monkeypatch):
    old = make_scores(2.0, 1, 2, 4)
    monkeypatch.setattr("evaluate.metrics.METRICS", [*metrics.METRICS, per_class_metric(3)])
    assert math.isnan(old.values()["mean_class"]) and old.top1 == 25


def test_a_run_may_be_resumed_with_another_list_of_metrics():
    """In the middle of an epoch: what one part did not count has no value, and the others go on."""
    more = Scores(4, dict(make_scores(2.0, 1, 2, 4).sums) | {"new": (3.0,)})
    for total in (more.plus(make_scores(6.0, 0, 1, 4)), make_scores(6.0, 0, 1, 4).plus(more)):
        assert total.values() == {"loss": 1.0, "top1": 12.5, "top5": 37.5}


@pytest.fixture
def video_metrics(monkeypatch):
    monkeypatch.setattr("evaluate.metrics.VIDEO_METRICS", VIDEO_METRICS)


def naive_mean_class(scores, labels):
    """Class by class; a class without videos is left out."""
    shares = []
    for each in sorted(set(labels.tolist())):
        own = scores[labels == each]
        shares.append(sum(row.argmax().item() == each for row in own) / len(own))
    return 100 * sum(shares) / len(shares)


@pytest.mark.parametrize("classes", [1, 3, 12])
def test_the_mean_class_accuracy_is_that_of_the_definition(video_metrics, classes):
    """On a dataset where one class has most of the videos, top-1 hides that all the others are wrong."""
    generator = torch.Generator().manual_seed(classes)
    scores = torch.randn(60, classes, generator=generator)
    labels = torch.randint(0, max(1, classes - 1), (60,), generator=generator) ** 2 // max(1, classes - 1)
    sums = ScoreSums(torch.device("cpu"), classes)
    for part in range(4):
        add(sums, scores[part::4], labels[part::4])
    result = sums.scores_of(sums.take())
    assert result.values()["mean_class"] == pytest.approx(naive_mean_class(scores, labels))
    assert f"mean-class {naive_mean_class(scores, labels):.2f}%" in result.show()


def test_a_class_without_videos_does_not_count_and_one_of_many_counts_once(video_metrics):
    sums = ScoreSums(torch.device("cpu"), 4)
    add(sums, torch.eye(4)[[0] * 9 + [0, 2]], torch.tensor([0] * 9 + [1, 2]))
    result = sums.scores_of(sums.take())
    assert result.values()["mean_class"] == pytest.approx(100 * (1 + 0 + 1) / 3)
    assert result.top1 == pytest.approx(100 * 10 / 11)


def test_training_does_not_count_the_metrics_of_videos(video_metrics):
    """Its console line has the original's form, which scripts parse."""
    sums = ScoreSums(torch.device("cpu"), 3, of_videos=False)
    add(sums, torch.eye(3), torch.tensor([0, 1, 2]))
    result = sums.scores_of(sums.take())
    assert set(result.values()) == {"loss", "top1", "top5"} and "mean-class" not in result.show()
    assert set(Scores().values()) == {"loss", "top1", "top5"}


def test_scores_may_be_shown_in_part(video_metrics):
    assert make_scores(2.0, 1, 2, 4).show(("loss", "top1")) == "loss 0.5000 top-1 25.00%"
