"""Tests and intervals of differences, against scipy, definitions and simulated data."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from evaluate.comparison.significance import holm, mcnemar_p, seed_interval, student_quantile


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 13, 60, 1999, 20000])
def test_mcnemar_is_the_two_sided_binomial_test(count):
    """A wrong p calls chance a result, or a result chance."""
    for wins in {0, 1, 2, count // 3, count // 2, (count + 1) // 2, count - 1, count} & set(range(count + 1)):
        expected = scipy.stats.binomtest(wins, count).pvalue if count else 1.0
        assert mcnemar_p(wins, count - wins) == pytest.approx(expected, rel=1e-9, abs=1e-300)
        assert mcnemar_p(wins, count - wins) == mcnemar_p(count - wins, wins)


def literally_corrected(values):
    """Holm: hypothesis i is rejected at a level if, of the sorted p, all up to i are at most level / (m - rank)."""
    order = sorted(values)
    corrected = []
    for value in values:
        rank = max(i for i, other in enumerate(order) if other <= value)
        corrected.append(min(1.0, max((len(values) - i) * order[i] for i in range(rank + 1))))
    return corrected


def test_holm_is_its_definition():
    """Of 700 classes some 35 differ at 5 % by chance alone."""
    generator = np.random.default_rng(0)
    for count in (0, 1, 2, 7, 50):
        values = (generator.random(count) ** 4).tolist()
        assert holm(values) == pytest.approx(literally_corrected(values))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 3.7, 10, 200, 9000, 1e6, math.inf])
def test_quantile_is_that_of_scipy(freedom):
    """Of three seeds a side it is 2.8 rather than 1.96."""
    expected = scipy.stats.t.ppf(0.975, freedom)
    assert student_quantile(freedom) == pytest.approx(expected, rel=1e-3 if freedom > 5000 else 1e-5)


def test_without_a_spread_over_videos_the_interval_is_that_of_welch():
    """The known answer for seeds alone."""
    a, b = np.array([70.0, 74.0, 71.5]), np.array([75.0, 76.0, 79.5, 77.0])
    low, high = scipy.stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    found = seed_interval((a, b), (np.tile(a, (50, 1)), np.tile(b, (50, 1))))
    assert found[:3] == pytest.approx((b.mean() - a.mean(), low, high), rel=1e-4)


def test_without_a_spread_over_seeds_the_interval_is_that_of_the_videos():
    """All seeds have the same hits: more of them add nothing."""
    generator = np.random.default_rng(1)
    draws = generator.normal(50, 3, (4000, 1)), generator.normal(55, 4, (4000, 1))
    a, b = np.full(3, 50.0), np.full(3, 55.0)
    found = seed_interval((a, b), (np.tile(draws[0], 3), np.tile(draws[1], 3)))
    assert found[3].seeds == 0
    assert (found[1], found[2]) == pytest.approx((5 - 1.96 * 5, 5 + 1.96 * 5), abs=0.5)


def test_one_seed_is_taken_to_have_the_spread_of_the_other_side():
    """With a spread of 0 for it, one lucky seed would differ significantly from any three."""
    a, b = np.array([70.0, 74.0, 72.0]), np.array([76.0])
    draws = np.tile(a, (50, 1)), np.tile(b, (50, 1))
    half = scipy.stats.t.ppf(0.975, 2) * 2.0 * math.sqrt(1 / 3 + 1)
    assert seed_interval((a, b), draws)[:3] == pytest.approx((4.0, 4.0 - half, 4.0 + half), rel=1e-4)
    assert seed_interval((b, a), draws[::-1])[:3] == pytest.approx((-4.0, -4.0 - half, -4.0 + half), rel=1e-4)


def test_infinite_scores_have_no_interval():
    a, b = np.array([1.0, math.inf]), np.array([1.0, 2.0])
    found = seed_interval((a, b), (np.full((9, 2), math.nan), np.ones((9, 2))))
    assert math.isnan(found[1]) and math.isnan(found[2])


@pytest.mark.parametrize(("seed_spread", "interaction"), [(0.0, 0.0), (0.4, 0.5), (1.0, 0.0)])
def test_intervals_over_seeds_and_videos_cover_the_true_difference(seed_spread, interaction):
    """A is as good as B: intervals that leave out 0 more often than in one case of 20 announce improvements by chance.

    200 pairs of three seeds a side on 150 videos. Videos differ in difficulty.
    """
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        difficulty = generator.normal(1, 1.5, 150)
        counts = generator.multinomial(150, np.full(150, 1 / 150), size=300) / 150
        sides = []
        for _ in "ab":
            logits = difficulty + generator.normal(0, seed_spread, (3, 1)) + generator.normal(0, interaction, (3, 150))
            sides.append(100.0 * (generator.random((3, 150)) < 1 / (1 + np.exp(-logits))))
        a, b = sides
        _, low, high, _ = seed_interval((a.mean(axis=1), b.mean(axis=1)), (counts @ a.T, counts @ b.T))
        covered += low <= 0 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_wins_of_the_smaller_side_decide():
    """Every split of few videos, summed up literally."""
    for wins, losses in itertools.product(range(6), repeat=2):
        total = wins + losses
        tail = sum(math.comb(total, i) for i in range(min(wins, losses) + 1)) / 2**total
        assert mcnemar_p(wins, losses) == pytest.approx(min(1.0, 2 * tail))
