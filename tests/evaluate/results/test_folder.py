"""The folder of an evaluation: nothing else that is there is replaced or waited for."""

import os

import pytest

from common.errors import DataError
from evaluate.results.folder import SUMMARY, result_folder


@pytest.mark.parametrize("place", [os.mkfifo, os.mkdir, lambda path: path.write_text("[" * 10**5)])
def test_what_is_no_summary_is_refused_and_not_waited_for(tmp_path, place):
    """A pipe would be waited for without end, before anything is evaluated."""
    place(tmp_path / SUMMARY)
    with pytest.raises(DataError, match="something else than an evaluation"):
        result_folder(tmp_path, {"split": "val"})
