"""How far an evaluation is: a bar on a terminal, else lines."""

import io

import pytest
import torch
from rich.console import Console
from rich.progress import Progress

from common.ranks import Ranks
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches
from evaluate.evaluation import evaluate
from evaluate.metrics import Scores
from evaluate.progress import EvaluationProgress
from network.resnet3d import Recursion
from tests.runs import make_scores
from tests.tiny_network import TinyNetwork

SHOW_CURSOR = "\x1b[?25h"


def make(is_terminal, log_every=3, width=100, **settings):
    output, lines = io.StringIO(), []
    console = Console(file=output, force_terminal=is_terminal, width=width)
    return EvaluationProgress(console, lines.append, log_every, **settings), output, lines


def running(done):
    return lambda: make_scores(1.5 * done, done, 2 * done, 2 * done)


def test_without_a_terminal_there_is_a_line_every_few_batches():
    """A validation of an hour said nothing until its end; a short one must not fill the log."""
    progress, output, lines = make(False)
    with progress:
        for done in range(1, 10):
            progress(done, 9, running(done))
    assert lines == [
        "validation [3/9] loss 0.7500 top-1 50.00% (6 videos)",
        "validation [6/9] loss 0.7500 top-1 50.00% (12 videos)",
    ]
    assert output.getvalue() == ""
    for done in (1, 2, 3):
        progress(done, 3, running(done))
    assert len(lines) == 2


def test_what_is_not_shown_is_not_fetched_from_the_device():
    """Each look waits for the GPU: in every batch it would slow the validation."""
    looks = []

    def look():
        looks.append(1)
        return Scores()

    progress, _, _ = make(False, log_every=5)
    for done in range(1, 10):
        progress(done, 1000, look)
    assert len(looks) == 1
    bar, _, _ = make(True)
    with bar:
        for done in range(1, 1000):
            bar(done, 1000, look)
    assert len(looks) < 100


def test_a_terminal_has_a_bar_that_is_gone_at_the_end():
    progress, output, lines = make(True, name="epoch 3, validation", ranks=2)
    for _ in range(2):  # it is used again for the next validation
        output.truncate(0)
        with progress:
            for done in (1, 2):
                progress(done, 2, running(done))
            progress.bar.refresh()
            shown = output.getvalue()
        assert "epoch 3, validation" in shown and "2/2" in shown and "top-1 50.00% (4 videos of rank 0)" in shown
        assert progress.bar is None and SHOW_CURSOR in output.getvalue()
    assert lines == []


def test_an_evaluation_that_fails_leaves_the_terminal_clean():
    """The cursor was hidden, and the next bar could not be shown."""
    progress, output, _ = make(True)
    with pytest.raises(KeyboardInterrupt), progress:
        progress(1, 5, running(1))
        raise KeyboardInterrupt
    assert SHOW_CURSOR in output.getvalue()
    with Progress(console=progress.console):
        pass


def test_a_display_that_fails_does_not_end_the_evaluation(monkeypatch):
    """A run of weeks must not end because its terminal shows another bar."""
    progress, _, lines = make(True)
    monkeypatch.setattr(Progress, "start", lambda self: 1 / 0)
    with progress:
        for done in range(1, 4):
            progress(done, 5, running(done))
    assert len(lines) == 1


def test_scores_without_videos_are_no_numbers():
    """All videos of the first batches may be unreadable."""
    progress, _, lines = make(False, log_every=1)
    progress(1, 2, Scores)
    assert "nan" not in lines[0] and "0 videos" in lines[0]


def test_an_evaluation_tells_each_batch_and_the_scores_so_far(small_dataset):
    """The last scores before the end are those of the evaluation."""
    videos = load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv")).val
    dataset = ClipDataset(videos, UniformClips(1, 1), seed=0)
    loader = BatchLoader(dataset, SequentialBatches(len(videos), 3, ClipShape(4, 32, 32)), 0, pin_memory=False)
    network = TinyNetwork(4, Recursion(False, "final"))
    told = []
    result = evaluate(
        network, loader, torch.device("cpu"), Ranks(0, 0, 1),
        progress=lambda done, batches, so_far: told.append((done, batches, so_far())),
    )  # fmt: skip
    assert [(done, batches) for done, batches, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert [scores.examples for _, _, scores in told] == [3, 6, 7]
    assert told[-1][2].values() == result.values()
