"""Intervals and tests against published figures, closed forms and brute force."""

import math
import random
import subprocess
import sys
from itertools import product

import pytest

from promptopt.statistics import (
    BETS,
    Interval,
    evidence,
    mean_interval,
    needed_examples,
    paired_difference,
    rank_correlation,
    tango,
    wilson,
)


def pairs_of(wins: int, losses: int, n: int) -> list[tuple[float, float]]:
    return [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * (n - wins - losses)


def test_importing_statistics_does_not_load_numpy() -> None:
    code = "import sys, promptopt.statistics, promptopt.verdict, promptopt.selection; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wilson_matches_newcombe_1998() -> None:
    # Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29.
    for hits, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        interval = wilson(hits / n, n)
        assert interval.low == pytest.approx(low, abs=6e-5)
        assert interval.high == pytest.approx(high, abs=6e-5)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0.0, 0) == Interval(0.0, 1.0)


def test_tango_matches_its_published_example() -> None:
    # 12 wins and 2 losses among 50 pairs, the classic example: 0.0611 to 0.3447.
    interval = tango(12, 2, 50)
    assert interval.low == pytest.approx(0.0611, abs=6e-5)
    assert interval.high == pytest.approx(0.3447, abs=6e-5)


@pytest.mark.parametrize(("wins", "losses", "n"), [(12, 2, 50), (4, 0, 50), (0, 3, 20), (30, 25, 300), (1, 1, 10)])
def test_tango_ends_are_where_the_score_statistic_is_the_normal_quantile(wins: int, losses: int, n: int) -> None:
    def statistic(delta: float) -> float:
        # The likeliest share of losses by golden-section search, instead of the closed form.
        def likelihood(q: float) -> float:
            cells = ((wins, q + delta), (losses, q), (n - wins - losses, 1 - 2 * q - delta))
            return sum(count * math.log(max(share, 1e-300)) for count, share in cells if count)

        low, high = max(0.0, -delta), (1 - delta) / 2
        for _ in range(200):
            a, b = low + 0.382 * (high - low), low + 0.618 * (high - low)
            low, high = (low, b) if likelihood(a) > likelihood(b) else (a, high)
        return (wins - losses - n * delta) / math.sqrt(n * (low + high + delta * (1 - delta)))

    interval = tango(wins, losses, n)
    assert statistic(interval.low) == pytest.approx(1.959964, abs=1e-4)
    assert statistic(interval.high) == pytest.approx(-1.959964, abs=1e-4)


def test_tango_is_symmetric_and_stays_in_range() -> None:
    for wins, losses, n in ((7, 2, 40), (0, 0, 10), (10, 0, 10), (0, 10, 10), (1, 0, 1)):
        one, other = tango(wins, losses, n), tango(losses, wins, n)
        assert one.low == pytest.approx(-other.high, abs=1e-9)
        assert -1 <= one.low <= (wins - losses) / n <= one.high <= 1


def test_interval_excludes_zero_exactly_when_p_is_below_five_percent() -> None:
    for wins, losses in product(range(25), repeat=2):
        difference = paired_difference(pairs_of(wins, losses, 60))
        assert (not difference.interval.holds(0.0)) == (difference.p_value < 0.05), (wins, losses)


def test_graded_interval_excludes_zero_exactly_when_p_is_below_five_percent() -> None:
    rng = random.Random(1)
    seen = set()
    for _ in range(200):
        pairs = [(rng.random(), min(1.0, rng.random() + 0.15)) for _ in range(20)]
        difference = paired_difference(pairs)
        seen.add(difference.p_value < 0.05)
        assert (not difference.interval.holds(0.0)) == (difference.p_value < 0.05)
    assert seen == {True, False}


def test_paired_difference_counts() -> None:
    difference = paired_difference(pairs_of(12, 2, 50))
    assert (difference.n, difference.wins, difference.losses, difference.ties) == (50, 12, 2, 36)
    assert difference.mean == pytest.approx(0.2)
    assert difference.p_value == pytest.approx(0.00753, abs=1e-5)


def test_paired_difference_of_graded_scores_is_students() -> None:
    # Student's sleep data (1908): mean 1.58, t = 4.0621, p = 0.002833, interval 0.7001 to 2.4599; here over 10.
    extra = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    difference = paired_difference([(0.0, value / 10) for value in extra])
    assert difference.p_value == pytest.approx(0.002833, abs=1e-6)
    assert difference.interval.low == pytest.approx(0.070011, abs=1e-5)
    assert difference.interval.high == pytest.approx(0.245989, abs=1e-5)


def test_no_pairs_or_no_difference_decide_nothing() -> None:
    assert paired_difference([]).interval == Interval(-1.0, 1.0)
    same = paired_difference([(0.3, 0.3)] * 40)
    assert same.p_value == 1.0
    assert same.interval.low < 0 < same.interval.high
    assert paired_difference([(0.2, 0.7)]).interval == Interval(-1.0, 1.0)


def test_mean_interval() -> None:
    assert mean_interval([1.0] * 8 + [0.0] * 2) == wilson(0.8, 10)
    graded = mean_interval([0.5, 0.6, 0.7, 0.9])
    assert 0 < graded.low < 0.675 < graded.high < 1
    assert mean_interval([]) == Interval(0.0, 1.0)


@pytest.mark.parametrize(("discordance", "difference", "n"), [(0.2, 0.05, 625), (0.2, 0.03, 1740), (0.3, 0.1, 233)])
def test_needed_examples_match_the_table(discordance: float, difference: float, n: int) -> None:
    assert needed_examples(discordance, difference) == pytest.approx(n, abs=3)


def test_needed_examples_when_discordance_is_less_than_the_difference() -> None:
    assert needed_examples(0.0, 0.05) == needed_examples(0.05, 0.05)


def test_evidence_is_the_wealth_of_a_fair_bet() -> None:
    assert evidence([]) == 1.0
    assert evidence([0.0] * 50) == 1.0
    assert evidence([1.0]) == pytest.approx(1 + sum(BETS) / len(BETS))
    assert evidence([1.0, -1.0]) == pytest.approx(1 - sum(bet * bet for bet in BETS) / len(BETS))
    assert evidence([1.0, 0.0, 1.0, -1.0]) == evidence([-1.0, 1.0, 1.0])  # ties and the order say nothing
    assert evidence([1.0] * 12) > 40 > evidence([1.0] * 11)
    assert evidence([-1.0] * 40) < 1e-2
    assert evidence([0.5] * 30) > evidence([0.25] * 30) > 1
    assert math.isfinite(evidence([1.0] * 100_000))


@pytest.mark.parametrize("differences", [(-1.0, 1.0), (-0.5, 0.5, 0.0), (-1.0, 0.25, 0.25, 0.25, 0.25)])
def test_evidence_grows_no_larger_than_1_on_average_without_a_difference(differences: tuple[float, ...]) -> None:
    # The mean over all sequences of three is exact: it is what makes the bound hold at every look.
    wealth = [evidence(sequence) for sequence in product(differences, repeat=3)]
    assert math.fsum(wealth) / len(wealth) == pytest.approx(1.0)


def test_rank_correlation_of_worked_tables() -> None:
    assert rank_correlation([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.8207826816681233)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([0.1 + 0.2, 0.3, 1.0], [1, 1, 2]) == pytest.approx(1), "the last bit decides nothing"


def test_there_is_no_rank_correlation_of_two_pairs_or_of_a_constant() -> None:
    assert rank_correlation([1, 2], [1, 2]) is None
    assert rank_correlation([1, 1, 1], [3, 2, 1]) is None
    assert rank_correlation([], []) is None
