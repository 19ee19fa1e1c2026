"""Copies of one video are told once, and not in a line for each pair."""

from common.groups import joined


def test_groups_with_a_name_in_common_are_one_and_the_largest_comes_first() -> None:
    alike = [("b", "a"), ("x", "y"), ("alone",), ("c", "b"), ("d", "e"), ("e", "c")]
    assert joined(alike) == [["a", "b", "c", "d", "e"], ["x", "y"]]
    assert joined([]) == []
