"""The scalars of TensorBoard's files."""

import pytest

from common.errors import DataError
from tests.train.report.made_run import write_events
from train.report.events import event_files, read_scalars

TAG = "open_gates/layer1.0"


def steps_and_values(folder):
    return [(step, value) for step, value, _ in read_scalars(event_files(folder), ("open_gates/",))[TAG]]


def test_a_resumed_run_replaces_the_points_after_its_checkpoint(tmp_path):
    """Else the curve of the attempt before would be mixed with that of the run."""
    write_events(tmp_path, [1, 2, 3, 4])
    (first,) = tmp_path.iterdir()
    first.rename(first.with_name("events.out.tfevents.1000000000.a.1.0"))
    write_events(tmp_path, [3, 5], share=0.25, purge_step=3)
    assert steps_and_values(tmp_path) == [(1, 0.5), (2, 0.5), (3, 0.25), (5, 0.25)]
    assert set(read_scalars(event_files(tmp_path), ("speed/wait_share",))) == {"speed/wait_share"}


def test_a_file_that_is_still_written_may_lack_its_end(tmp_path):
    write_events(tmp_path, [1, 2])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert steps_and_values(tmp_path)[0] == (1, 0.5)


@pytest.mark.parametrize("content", [b"\xff" * 400, b"\x05" + bytes(11) + b"\xff" * 5 + bytes(4)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "events.out.tfevents.1.x").write_bytes(content.replace(b"\xff" * 5, b"\x3a\x02\x08\x01\xff"))
    with pytest.raises(DataError, match=r"events\.out"):
        read_scalars(event_files(tmp_path), ("open_gates/",))
