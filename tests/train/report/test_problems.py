"""Files of a run that somebody gave."""

import pytest

from common.errors import DataError
from train.report.problems import read_json, read_table


def test_rows_are_counted_while_they_are_read(tmp_path, monkeypatch):
    """All were made dicts first: 64 MB took 2.9 GB and two minutes before they were refused."""
    monkeypatch.setattr("train.report.problems.MOST_ROWS", 3)
    path = tmp_path / "worst.csv"
    path.write_text("a,b\n" + "1,2\n" * 3)
    assert len(read_table(path, ("a",))) == 3
    path.write_text("a,b\n" + "1,2\n" * 4 + "3\n")
    with pytest.raises(DataError, match=r"worst\.csv has more than 3 rows"):
        read_table(path, ("a",))


def test_a_large_json_file_is_not_read(tmp_path):
    """One of 64 MB takes 1.6 GB."""
    path = tmp_path / "summary.json"
    path.write_text('{"x": [' + "{}," * 2**22 + "{}]}")
    with pytest.raises(DataError, match=r"summary\.json has 12\.0 MiB"):
        read_json(path)
