"""What the tab says of seeds, against scipy and in simulations whose truth is known."""

import itertools
import json
import shutil
import subprocess

import numpy as np
import pytest
from scipy import stats

from benchmarks.seeds import MODULE, false_alarms, judge

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


def test_students_distribution_is_scipys():
    cases = [(t, freedom) for t in (0.0, 0.5, 2.0, 4.3, 30.0) for freedom in (1, 2, 3, 4, 7, 10, 40)]
    both = "([t, freedom]) => [studentTails(t, freedom), studentQuantile(0.05, freedom)]"
    script = (
        f"import {{ studentQuantile, studentTails }} from '{MODULE.as_posix()}';"
        f"console.log(JSON.stringify({json.dumps(cases)}.map({both})))"
    )
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    for (t, freedom), (tails, quantile) in zip(cases, json.loads(done.stdout), strict=True):
        assert tails == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-12)
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def _permutation_p(x, y):
    together = np.concatenate([x, y])
    dealt = [np.isin(np.arange(10), chosen) for chosen in itertools.combinations(range(10), len(x))]
    differences = np.array([together[~to_x].mean() - together[to_x].mean() for to_x in dealt])
    return (np.abs(differences) >= abs(y.mean() - x.mean()) - 1e-12).mean()


def test_the_interval_and_the_tests_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 3, (20, 4)), rng.normal(1, 1, (20, 6))
    for judged, x, y in zip(judge(a, b), a, b, strict=True):
        error = np.sqrt(x.var(ddof=1) / 4 + y.var(ddof=1) / 6)
        t = (y.mean() - x.mean()) / error
        assert judged["p"] == pytest.approx(2 * stats.t.sf(abs(t), 3))
        assert judged["p"] >= stats.ttest_ind(y, x, equal_var=False).pvalue
        half = stats.t.ppf(0.975, 3) * error
        assert judged["interval"] == pytest.approx([y.mean() - x.mean() - half, y.mean() - x.mean() + half])
        assert judged["sign"] == (np.sign(t) if judged["p"] < 0.05 else 0)
        assert judged["permutation"] == pytest.approx(_permutation_p(x, y))
        expected = stats.t.interval(0.95, 3, x.mean(), x.std(ddof=1) / 2)
        assert judged["mean"] == pytest.approx(expected)


def test_two_experiments_of_the_same_mean_are_called_different_in_at_most_one_of_twenty():
    shares = false_alarms("normal", (3, 8), (3.0, 1.0), 1000)
    assert shares["said"] <= 0.05 + 1e-9
    assert shares["permutation"] > 0.15  # unequal spreads mislead it
    assert shares["contains"] == pytest.approx(0.95, abs=0.03)
    assert false_alarms("normal", (2, 2), (1.0, 1.0), 100)["said"] == 0


def test_equal_seeds_are_not_different_and_constant_ones_are():
    same, other = judge(np.full((2, 3), 0.5), np.array([[0.5] * 3, [0.75] * 3]))
    assert (same["sign"], same["p"]) == (0, 1)
    assert (other["sign"], other["p"]) == (1, 0)
