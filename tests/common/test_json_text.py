"""JSON that every parser reads."""

import json
import math

from common.json_text import json_text


def test_numbers_that_json_does_not_have_become_null():
    """`{"loss": NaN}` ends the job script that reads the last line of a run."""
    text = json_text({"loss": math.nan, "of": [math.inf, 1.5, {"x": -math.inf}], "name": "NaN", "n": 3})
    assert json.loads(text, parse_constant=lambda word: 1 / 0) == {
        "loss": None, "of": [None, 1.5, {"x": None}], "name": "NaN", "n": 3,
    }  # fmt: skip
