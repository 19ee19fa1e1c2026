"""The file predictions.npz: what is written is read again, and what holds no log-probabilities is refused."""

import zipfile

import numpy as np
import pytest
import torch

from common.errors import DataError
from evaluate.results import predictions
from evaluate.results.bootstrap import score_values, video_results
from evaluate.results.predictions import read_about, read_predictions
from evaluate.view_scores import mean_of_views
from tests.evaluate.predicted import make_predictions, write


def rewritten(path, **arrays):
    """The file with some of its arrays replaced."""
    with np.load(path) as file:
        arrays = dict(file) | arrays
    np.savez(path, **arrays)
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "p.npz", make_predictions(network="n"))


CHANGED = {
    "zeros": lambda scores: np.zeros_like(scores),
    "half": lambda scores: scores / 2,
    "minus five": lambda scores: scores - 5,
    "minus infinity": lambda scores: np.full_like(scores, -np.inf),
    "one video": lambda scores: np.concatenate([scores[:-1], scores[-1:] - 0.1]),
    "above zero": lambda scores: scores + 5,
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_scores_that_are_no_log_probabilities_are_refused(file, change):
    """Logits less some number, or probabilities that were scaled: an ensemble would weigh its parts as nobody asked."""
    rewritten(file, log_probabilities=change(make_predictions().log_probabilities))
    with pytest.raises(DataError, match="no log-probabilities"):
        read_predictions(file)


def test_the_videos_whose_scores_are_none_are_counted_and_named(file):
    """Of thousands of videos, one tells what was done to the file."""
    scores = make_predictions().log_probabilities.copy()
    scores[7:9] -= 1
    with pytest.raises(DataError, match=r"2 of 60 videos, such as 'class\d/video\d{4}'"):
        read_predictions(rewritten(file, log_probabilities=scores))


@pytest.mark.parametrize(("videos", "classes", "scale"), [(5000, 3, 1.0), (40, 20_000, 0.01), (40, 400, 300.0)])
def test_what_a_network_gives_is_taken_also_in_half_precision(file, videos, classes, scale):
    """Of many classes, of views that are averaged, of a sure network: sums of such roundings must not be refused."""
    logits = scale * torch.randn(videos, 6, classes, generator=torch.Generator().manual_seed(0))
    scores = mean_of_views(logits.log_softmax(dim=-1)).numpy()
    ids = np.array([f"c/{number}" for number in range(videos)])
    names, labels = np.array([f"c{number}" for number in range(classes)]), np.zeros(videos, np.int64)
    for kind in (np.float32, np.float16):
        rewritten(file, ids=ids, labels=labels, classes=names, log_probabilities=scores.astype(kind))
        assert len(read_predictions(file)) == videos


def test_arrays_of_other_types_and_byte_orders_give_the_same_scores(file):
    """A file that another program wrote ended in a traceback."""
    whole = read_predictions(file)
    expected = score_values(video_results(whole))
    for order, size in ((">", 8), (">", 4), ("<", 2)):
        labels = whole.labels.astype(f"{order}i{size}")
        scores = whole.log_probabilities.astype(f"{order}f8")
        ids = whole.ids.astype(whole.ids.dtype.newbyteorder(order))
        found = read_predictions(rewritten(file, labels=labels, log_probabilities=np.asfortranarray(scores), ids=ids))
        assert np.array_equal(score_values(video_results(found)), expected)
        assert np.array_equal(found.ids, whole.ids) and found.ids.dtype.isnative
        assert (found.labels.dtype, found.log_probabilities.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize(
    "header", ["{'descr': (", "{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,), }"]
)
def test_an_array_of_any_stated_size_is_refused(file, header):
    """A header of a hundred bytes may state a terabyte; one that is no Python ended the command with a traceback."""
    packed = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (parts | {"classes.npy": packed}).items():
            archive.writestr(name, content)
    with pytest.raises(DataError, match="damaged"):
        read_predictions(file)


def test_a_small_file_does_not_take_all_memory(file, monkeypatch):
    """A file of a megabyte may unpack to a gigabyte, one of a hundred to more than a machine has."""
    with np.load(file) as before:
        arrays = dict(before)
    np.savez_compressed(file, **arrays | {"about": np.array(" " * 2**18 + "{}")})
    assert read_predictions(file).about == {}
    monkeypatch.setattr(predictions, "SMALL", 0)
    with pytest.raises(DataError, match="unpacks to far more"):
        read_predictions(file)
    assert read_about(file.parent) == {}
