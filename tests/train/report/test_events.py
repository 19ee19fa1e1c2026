"""The scalars of TensorBoard's files."""

from time import process_time

import pytest
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

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


def write_records(folder, records):
    writer = RecordWriter((folder / "events.out.tfevents.1.x").open("wb"))
    for record in records:
        writer.write(record)
    writer.close()


def test_thousands_of_restarts_are_read_at_once(tmp_path):
    """Each went through all points: a file of 2 MB took half an hour."""
    points = [Event(step=step, summary=Summary(value=[Summary.Value(tag=TAG, simple_value=0.5)])) for step in STEPS]
    restarts = [Event(step=step, session_log=SessionLog(status=SessionLog.START)) for step in reversed(STEPS[2:])]
    records = [event.SerializeToString() for event in points + restarts]
    write_records(tmp_path, records)
    start = process_time()
    assert steps_and_values(tmp_path) == [(0, 0.5), (1, 0.5)]
    assert process_time() - start < 4


def test_far_too_many_points_are_refused(tmp_path, monkeypatch):
    """A file that somebody gave, of 4 GB, was read for more than an hour, and took 40 GB."""
    monkeypatch.setattr("train.report.events.MOST_POINTS", 10)
    write_events(tmp_path, range(1, 20))
    with pytest.raises(DataError, match="more than 10 points of open_gates/"):
        read_scalars(event_files(tmp_path), ("open_gates/",))


def test_a_file_that_is_still_written_may_lack_its_end(tmp_path):
    write_events(tmp_path, [1, 2])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    assert steps_and_values(tmp_path)[0] == (1, 0.5)


def test_every_changed_byte_of_what_is_shown_is_found(tmp_path):
    """A share of 0.02 was shown as 0.93. In the name of a scalar it is found by nothing: the point is missing."""
    write_events(tmp_path, [1])
    (path,) = tmp_path.iterdir()
    content, right = path.read_bytes(), steps_and_values(tmp_path)
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = read_scalars(event_files(tmp_path), ("open_gates/",)).get(TAG, [])
        except DataError as error:
            assert "events.out" in str(error)
        else:
            assert [(step, value) for step, value, _ in found] in (right, [])


def test_zeros_at_the_end_are_none_of_the_file(tmp_path):
    """As some file systems leave them when the machine stops."""
    write_events(tmp_path, [1, 2])
    (path,) = tmp_path.iterdir()
    right = steps_and_values(tmp_path)
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert steps_and_values(tmp_path) == right


@pytest.mark.parametrize("record", [b"\xff" * 400, b"\x3a\x02\x08\x01\xff"], ids=["long", "short"])
def test_records_of_something_else_are_refused(tmp_path, record):
    write_records(tmp_path, [b"\x3a\x02\x08\x01" + record])
    with pytest.raises(DataError, match=r"events\.out"):
        read_scalars(event_files(tmp_path), ("open_gates/",))


@pytest.mark.parametrize("content", [b"\xff" * 400, b"\x05" + bytes(11) + b"\xff" * 5 + bytes(4)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "events.out.tfevents.1.x").write_bytes(content.replace(b"\xff" * 5, b"\x3a\x02\x08\x01\xff"))
    with pytest.raises(DataError, match=r"events\.out"):
        read_scalars(event_files(tmp_path), ("open_gates/",))
