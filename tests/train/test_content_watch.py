"""Videos that are converted anew while a run trains on them."""

import pytest

from data.labels.content import Content, content_of
from data.labels.splits import load_splits
from network.weights.reading import read_checkpoint
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, rows
from tests.scripts.train_tiny import SPEC
from tests.small_dataset import write_small_dataset


def test_a_dataset_that_is_converted_anew_while_a_run_trains_is_told(server, tmp_path):
    """The later epochs were compared with the best top-1 of other frames, and the score file named the same videos."""
    dataset = write_small_dataset(tmp_path / "data", train=8, val=3)
    other = write_small_dataset(tmp_path / "other", train=8, val=3, frames=9)
    (other / "jpg").rename(dataset / "anew")
    flags = ("--dataset", dataset, *TINY_FLAGS, "--workers", 0, "--end-epoch", 4, "--model-dir", "run")
    process = server.start(TINY.with_name("train_converted_anew.py"), *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    run = tmp_path / "run" / RUN
    log = (run / "train.log").read_text()
    for split, number in (("training", 8), ("validation", 3)):
        assert log.count(f"the {split} videos were converted anew") == 1
        assert f"in {number} of {number} videos" in log
    assert (run / "srtg_tiny_best.pth.abandoned").exists()

    scores = rows(run / "scores_val.csv")
    lists = [row["video_list"] for row in scores]
    assert lists[0] == lists[1] != lists[2] == lists[3]
    first, last = (read_checkpoint(run / name) for name in ("srtg_tiny_ep-0001.pth", LAST))
    best = max(float(row["top1"]) for row in scores[2:])
    assert last["progress"]["best_top1"] == pytest.approx(best, abs=1e-3)
    before, now = (Content.from_plain(each["content"]["val"]) for each in (first, last))
    assert before.samples != now.samples == content_of(load_splits(dataset, SPEC).val).samples
    process = server.start(
        TINY, *flags[:-4], "--end-epoch", 5, "--model-dir", "run", "--resume-epoch", "auto", folder=tmp_path
    )
    assert process.wait() == 0, process.output()
    assert "other numbers of frames" not in process.output(), "nothing has changed since the watch told it"
    assert rows(run / "scores_val.csv")[-1]["video_list"] == lists[-1]
    assert not list(run.glob("*.abandoned-2"))
