"""The scalars of TensorBoard's files."""

import struct
from time import process_time

import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary

from common.errors import DataError
from tests.train.report.made_run import write_events
from train.report.events import event_files, read_scalars

STEPS = range(20_000)
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


def test_thousands_of_restarts_are_read_at_once(tmp_path):
    """Each went through all points: a file of 2 MB took half an hour."""
    points = [Event(step=step, summary=Summary(value=[Summary.Value(tag=TAG, simple_value=0.5)])) for step in STEPS]
    restarts = [Event(step=step, session_log=SessionLog(status=SessionLog.START)) for step in reversed(STEPS[2:])]
    records = [event.SerializeToString() for event in points + restarts]
    content = b"".join(struct.pack("<QI", len(record), 0) + record + bytes(4) for record in records)
    (tmp_path / "events.out.tfevents.1.x").write_bytes(content)
    start = process_time()
    assert steps_and_values(tmp_path) == [(0, 0.5), (1, 0.5)]
    assert process_time() - start < 4


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
