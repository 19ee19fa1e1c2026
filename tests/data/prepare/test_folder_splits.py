"""The division into train and val: a part of each class, whole groups, few moves when videos are added."""

import random
from collections import Counter

import pytest

from data.prepare.folder_groups import merged
from data.prepare.folder_splits import known_sides, split_groups


def val_of(labels: list[str], groups: list[str], part: float = 0.2, seed: int = 0, **fixed: str) -> Counter[str]:
    sides = split_groups(labels, groups, part, seed, fixed)
    return Counter(label for label, group in zip(labels, groups, strict=True) if sides[group] == "val")


@pytest.mark.parametrize("part", [0.05, 0.2, 0.45, 0.9])
def test_each_class_gives_its_part_and_keeps_one_on_each_side(part: float) -> None:
    """A class without a validation video is not measured, and one without a training video not learned."""
    sizes = {"a": 1, "b": 2, "c": 3, "d": 10, "e": 1000}
    labels = [label for label, size in sizes.items() for _ in range(size)]
    val = val_of(labels, [f"{label}{place}" for place, label in enumerate(labels)], part)
    assert val["a"] == 0
    for label, size in list(sizes.items())[1:]:
        assert val[label] == min(size - 1, max(1, round(part * size)))


def test_another_seed_is_another_split_and_the_same_is_the_same() -> None:
    """Else nobody can repeat a result."""
    labels, groups = ["a"] * 50 + ["b"] * 50, [str(place) for place in range(100)]
    splits = [split_groups(labels, groups, 0.2, seed, {}) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]
    order = random.Random(0).sample(range(100), 100)
    shuffled = split_groups([labels[i] for i in order], [groups[i] for i in order], 0.2, 0, {})
    assert shuffled == splits[0]


def test_videos_that_are_added_move_few() -> None:
    """The database may be lost, and a network that was trained be evaluated again."""
    groups = [f"wave/{place}" for place in range(500)]
    before = split_groups(["wave"] * 500, groups, 0.2, 0, {})
    more = groups + [f"wave/new{place}" for place in range(50)]
    after = split_groups(["wave"] * 550, more, 0.2, 0, {})
    assert sum(before[group] != after[group] for group in groups) <= 10


def test_subjects_of_several_classes_are_balanced() -> None:
    """A class whose subjects all went to one side would not be trained or not be measured."""
    draw = random.Random(1)
    labels, groups = [], []
    for subject in range(40):
        for label in draw.sample("abcdefgh", draw.randint(1, 8)):
            for _ in range(draw.randint(1, 6)):
                labels.append(label)
                groups.append(f"s{subject}")
    for seed in range(20):
        val, every = val_of(labels, groups, 0.2, seed), Counter(labels)
        assert all(0.1 < val[label] / every[label] < 0.32 for label in every), (seed, val, every)


def test_a_class_of_two_subjects_has_one_on_each_side() -> None:
    """By number alone the larger subject would never go to val, and the smaller would be too few."""
    labels = ["a"] * 30 + ["b"] * 12 + ["c"] * 8
    groups = ["s1"] * 29 + ["s2"] + ["s1"] * 6 + ["s3"] * 6 + ["s3"] * 4 + ["s4"] * 4
    for seed in range(10):
        sides = split_groups(labels, groups, 0.2, seed, {})
        for label in "abc":
            assert len({sides[group] for group, each in zip(groups, labels, strict=True) if each == label}) == 2


def test_fixed_groups_stay_and_new_ones_fill_up() -> None:
    """Else a video would move when others are added."""
    labels, groups = ["a"] * 10, [str(place) for place in range(10)]
    for side, number in (("train", 2), ("val", 4)):
        fixed = {str(place): side for place in range(4)}
        sides = split_groups(labels, groups, 0.2, 0, fixed)
        assert fixed.items() <= sides.items()
        assert Counter(sides.values())["val"] == number


def test_groups_that_share_copies_become_one() -> None:
    """Else a copy would be on the other side through a chain of groups."""
    assert merged(list("abcdea"), [[0, 1], [4, 3], [1, 2]]) == list("aaadda")


def test_a_copy_from_another_group_has_no_vote_in_its_new_one() -> None:
    """One copy of a training video in a subject of the validation would send the subject's next videos to training."""
    recordings, groups = ["x", "x", "y", "z"], ["s1", "s3", "s3", "s3"]
    assert known_sides(["train", "train", "val", ""], [recordings, groups])[3] == "val"
    assert known_sides(["train", "train", "", ""], [recordings, groups])[3] == "train"  # there is no other vote


def test_many_groups_take_little_time() -> None:
    """A quadratic search would hang on a large dataset."""
    labels = [f"c{place % 100}" for place in range(50_000)]
    sides = split_groups(labels, [str(place) for place in range(50_000)], 0.2, 0, {})
    assert Counter(sides.values())["val"] == 10_000
