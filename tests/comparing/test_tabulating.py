"""The table of runs against values computed from the predictions, and its marks against the comparison of two runs."""

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import recall_score

from tbmetrics import ClassGroups, InputError, TBMetrics, read_logdir, table
from tbmetrics.comparing.conditions import Condition
from tbmetrics.comparing.runs import compare_runs
from tbmetrics.comparing.tabulating import table_of_histories, table_of_runs
from tbmetrics.comparing.wording import basis_text

COUNTS = {"a": 900, "b": 400, "c": 50, "d": 9, "e": 5, "f": 2}
MEMBERS = {"head": [0, 1], "medium": [2], "tail": [3, 4, 5], "all": range(6)}
LABELS = np.arange(240) % 6
STRENGTH = {"plain": 1.0, "focal": 1.2, "best_&": 3.0}
SEEDS = 3
LAST = 2


def _logits(strength, seed, step):
    rng = np.random.default_rng([int(10 * strength), seed, step])
    return rng.normal(size=(240, 6)) + strength * np.eye(6)[LABELS] * (1 + 0.1 * step)


def _write(folder, strength, seed, steps, counts=None):
    with TBMetrics(folder, classes=ClassGroups.from_counts({"x": counts or COUNTS})) as tb:
        for step in steps:
            tb.start_epoch(step)
            tb.update(torch.tensor(_logits(strength, seed, step)), torch.tensor(LABELS))
            tb.end_epoch()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for name, strength in STRENGTH.items():
        for seed in range(SEEDS):
            _write(root / f"{name}/seed{seed}", strength, seed, range(LAST + 1))
    return root


def _recalls(strength, seed, step=LAST):
    predicted = _logits(strength, seed, step).argmax(axis=1)
    return recall_score(LABELS, predicted, average=None)


def _means(recalls):
    means = {group: recalls[list(members)].mean() for group, members in MEMBERS.items()}
    return means | {"gap": means["head"] - means["tail"]}


def test_cells_are_the_means_of_scikit_learns_recalls_and_the_recorded_intervals(logdir):
    result = table(logdir, runs="seed0")
    assert result.columns == ("head", "medium", "tail", "all", "gap")
    assert result.sizes == {"head": 2, "medium": 1, "tail": 3, "all": 6}
    assert [row.name for row in result.rows] == ["best_&/seed0", "focal/seed0", "plain/seed0"]
    histories = read_logdir(logdir)
    for row in result.rows:
        expected = _means(_recalls(STRENGTH[row.name.partition("/")[0]], 0))
        recorded = histories[row.name].tables["longtail/x/groups"].at(LAST)
        for group, cell in row.cells.items():
            index = recorded.rows.index(group)
            assert cell.mean == pytest.approx(expected[group], abs=1e-6)
            assert (cell.lower, cell.upper) == tuple(
                recorded.column(f"recall_{end}")[index] for end in ("lower", "upper")
            )
            assert cell.n_classes == len(MEMBERS.get(group, range(5)))
            assert math.isnan(cell.deviation)


def test_seeds_become_one_row_of_means_with_deviation_and_t_interval(logdir):
    result = table(logdir, seeds=r"/seed\d+")
    assert [row.name for row in result.rows] == ["best_&", "focal", "plain"]
    for row in result.rows:
        by_seed = [_means(_recalls(STRENGTH[row.name], seed)) for seed in range(SEEDS)]
        for group, cell in row.cells.items():
            values = [means[group] for means in by_seed]
            lower, upper = stats.t.interval(0.95, SEEDS - 1, np.mean(values), stats.sem(values))
            assert cell.mean == pytest.approx(np.mean(values), abs=1e-6)
            assert cell.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            assert cell.lower == pytest.approx(max(lower, -1 if group == "gap" else 0), abs=1e-5)
            assert cell.upper == pytest.approx(min(upper, 1), abs=1e-5)
    assert any("standard deviation" in note for note in result.notes)


def test_single_runs_are_marked_by_the_paired_comparison_with_the_best(logdir):
    result, histories = table(logdir, runs="seed[01]"), read_logdir(logdir)
    seen = set()
    for group in result.columns:
        cells = {row.name: row.cells[group] for row in result.rows}
        best = [name for name, cell in cells.items() if cell.mark == "best"]
        merit = {name: -abs(cell.mean) if group == "gap" else cell.mean for name, cell in cells.items()}
        assert best == [name for name in cells if merit[name] == max(merit.values())]
        for name, cell in cells.items():
            if name in best:
                continue
            verdict = compare_runs(histories[best[0]], histories[name], metric="recall").groups[group].verdict
            assert cell.mark == ("worse" if verdict in ("worse", "gap wider", "wider") else "similar"), (group, name)
            seen.add(cell.mark)
    assert seen == {"similar", "worse"}
    assert any("(paired)" in note for note in result.notes)


def test_experiments_are_marked_by_welchs_test(logdir):
    result = table(logdir, seeds=r"/seed\d+")
    values = {
        name: [_means(_recalls(strength, seed))["tail"] for seed in range(SEEDS)] for name, strength in STRENGTH.items()
    }
    assert result.rows[0].cells["tail"].mark == "best"
    for row in result.rows[1:]:
        statistic = stats.ttest_ind(values["best_&"], values[row.name], equal_var=False).statistic
        is_told = 2 * stats.t.sf(abs(statistic), SEEDS - 1) < 0.05
        assert row.cells["tail"].mark == ("worse" if is_told else "similar")
    few = table(logdir, seeds=r"/seed\d+", runs="seed[01]")
    assert [row.cells["tail"].mark for row in few.rows] == ["best", "untold", "untold"]
    assert any("too little is known" in note for note in few.notes)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Runs that end at different steps, and one with other classes."""
    root = tmp_path_factory.mktemp("uneven")
    _write(root / "early", 1.0, 0, [0, 1])
    _write(root / "late", 1.0, 1, [1, 5])
    _write(root / "other", 1.0, 2, [1, 2], {**COUNTS, "b": 3})
    _write(root / "apart", 1.0, 3, [7])
    return root


def test_steps_that_differ_are_said(uneven):
    def of(step, runs="early|late"):
        result = table(uneven, step=step, runs=runs)
        marks = {cell.mark for row in result.rows for cell in row.cells.values()}
        return [row.steps for row in result.rows], result.notes[0], marks

    assert of(None)[:2] == ([(1,), (1,)], "Step 1, the last that all 2 runs have. 'early' ends there.")
    assert of("last")[:2] == ([(1,), (5,)], "Each run is at its last step: steps 1 to 5.")
    assert "best" in of("last")[2]
    steps, note, marks = of(None, "early|late|apart")
    assert (steps, marks) == ([(7,), (1,), (5,)], {""})
    assert note == "No step is common to all: each run is at its last: steps 1 to 7."
    result = table(uneven, step=5)
    assert [row.name for row in result.rows] == ["late"]
    assert result.notes[:2] == ("Step 5.", "Without that step, and left out: 'apart', 'early', 'other'.")
    with pytest.raises(InputError, match=r"no run has a validation at step 4; the nearest are \[0, 1, 2, 5, 7\]"):
        table(uneven, step=4)
    with pytest.raises(InputError, match="'last' or 'best', got 'first'"):
        table(uneven, step="first")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two runs with a validation of every step, and a test set at the end that the worse run happens to win."""
    root = tmp_path_factory.mktemp("evaluated")
    for name, strengths in {"plain": (1.0, 3.0), "focal": (3.0, 1.0)}.items():
        with TBMetrics(root / name, classes=ClassGroups.from_counts({"x": COUNTS})) as tb:
            for step in tb.epochs(range(3)):
                tb.update(torch.tensor(_logits(strengths[0], 0, step)), torch.tensor(LABELS))
                if step == 1:
                    logits = torch.tensor(_logits(strengths[1], 1, step))
                    tb.update(logits, torch.tensor(LABELS), evaluation="test")
    return root


def test_only_rows_of_one_evaluation_are_compared(evaluated):
    result = table(evaluated)
    rows = [(row.name, row.evaluation, row.steps, row.cells["all"].mark) for row in result.rows]
    assert rows == [
        ("focal", "", (2,), "best"),
        ("plain", "", (2,), "worse"),
        ("focal/test", "test", (1,), "worse"),
        ("plain/test", "test", (1,), "best"),
    ]
    assert result.notes[:2] == (
        "Validation: step 2, the last that all 2 runs have.",
        "Test: step 1, the last that all 2 runs have.",
    )
    assert any("the best of a column in its evaluation" in note for note in result.notes)
    assert table(evaluated, runs="test$").notes[0] == "Step 1, the last that all 2 runs have."
    folded = table(evaluated, seeds="plain|focal")
    assert [(row.runs, row.evaluation) for row in folded.rows] == [
        (("focal",), ""),
        (("plain",), ""),
        (("focal/test", "plain/test"), "test"),
    ]


def test_runs_of_two_evaluations_have_no_verdict(evaluated):
    histories = read_logdir(evaluated)
    plain, focal, tested = (histories[name] for name in ("plain", "focal", "focal/test"))
    result = compare_runs(plain, tested, metric="recall", step=1)
    assert result.withheld_because == 'A is of the evaluation "validation", B of "test"'
    assert basis_text(result) == f"No verdict: {result.withheld_because}."
    assert {group.verdict for group in result.groups.values()} <= {"withheld", "undefined"}
    gate = Condition.parse("all.recall < baseline")
    assert gate.failure(result) == f"cannot judge 'all.recall < baseline': {result.withheld_because}"
    assert Condition.parse("all.recall < 0").failure(result) is None
    for alike in ((plain, focal), (histories["plain/test"], tested)):
        assert compare_runs(*alike, metric="recall").groups["all"].verdict in ("better", "worse")
    for history in (focal, tested):
        history.class_lists["x"] = replace(history.class_lists["x"], evaluation=None)  # as in older logs
    assert compare_runs(focal, tested, step=1).withheld_because == result.withheld_because


def test_older_logs_tell_evaluations_by_the_names_of_their_runs(evaluated):
    histories = read_logdir(evaluated)
    for history in histories.values():
        history.class_lists["x"] = replace(history.class_lists["x"], evaluation=None)
    rows = table_of_histories(histories).rows
    assert [(row.name, row.evaluation) for row in rows] == [
        ("focal", ""),
        ("plain", ""),
        ("focal/test", "test"),
        ("plain/test", "test"),
    ]


def test_evaluations_are_told_apart_in_every_format(evaluated):
    result = table(evaluated)
    names = ["validation", "validation", "test", "test"]
    assert [row["evaluation"] for row in csv.DictReader(io.StringIO(result.csv()))] == names
    assert [line.split("|")[2].strip() for line in result.markdown().splitlines()[2:6]] == names
    assert "run & evaluation & step &" in result.latex()


def test_a_run_that_cannot_be_read_is_left_out_and_named(logdir):
    histories = {run: read_logdir(logdir)[run] for run in ("focal/seed0", "plain/seed0")}
    damaged = histories["plain/seed0"]
    listed = damaged.class_lists["x"]
    damaged.class_lists["x"] = replace(listed, names=listed.names[:-1], groups=listed.groups[:-1])
    result = table_of_histories(histories)
    assert [row.name for row in result.rows] == ["focal/seed0"]
    reason = "run 'plain/seed0' has 6 rows for 5 classes of 'x'"
    assert result.notes[-1] == f"Left out: 'plain/seed0' cannot be read ({reason})."
    with pytest.raises(InputError, match="'plain/seed0' cannot be read"):
        table_of_histories({"plain/seed0": damaged})


def test_the_best_step_is_that_of_the_highest_mean_of_all_classes(logdir):
    result = table(logdir, step="best", runs="plain")
    for row in result.rows:
        seed = int(row.name[-1])
        overall = [_recalls(STRENGTH["plain"], seed, step).mean() for step in range(LAST + 1)]
        assert row.steps == (int(np.argmax(overall)),)


def test_other_classes_are_said_and_not_compared(uneven):
    result = table(uneven, runs="early|late|other")
    assert result.sizes == {}
    assert "Other classes or groups, and so not compared with the rest: 'other'." in result.notes
    by_name = {row.name: row.cells["all"].mark for row in result.rows}
    assert by_name["other"] == ""
    assert "best" in by_name.values()


def test_what_cannot_be_tabulated_is_refused(logdir, tmp_path):
    histories = read_logdir(logdir)
    with pytest.raises(InputError, match=r"the runs have no 'y': there are 'x'"):
        table_of_histories(histories, attribute="y")
    with pytest.raises(InputError, match="metric 'loss' is unknown"):
        table_of_histories(histories, metric="loss")
    with pytest.raises(InputError, match="no run has families of 'x'; give them in training"):
        table(logdir, by="family")
    with pytest.raises(InputError, match="grouped by 'frequency' or 'family', got 'size'"):
        table(logdir, by="size")
    with pytest.raises(InputError, match="no run has a validation"):
        table_of_runs([])
    with pytest.raises(InputError, match="nothing to show"):
        table(tmp_path)
    with pytest.raises(InputError, match="seeds must be a regular expression"):
        table(logdir, seeds="(")


def test_csv_has_the_numbers_of_the_table(logdir):
    result = table(logdir, seeds=r"/seed\d+")
    rows = list(csv.DictReader(io.StringIO(result.csv())))
    assert [row["run"] for row in rows] == [row.name for row in result.rows]
    for text, row in zip(rows, result.rows, strict=True):
        assert (text["n_runs"], text["step"]) == ("3", str(LAST))
        for group, cell in row.cells.items():
            ends = {"": cell.mean, "_lower": cell.lower, "_upper": cell.upper, "_deviation": cell.deviation}
            for end, number in ends.items():
                assert float(text[group + end]) == pytest.approx(number, rel=1e-8)
            assert text[f"{group}_mark"] == cell.mark
            assert int(text[f"{group}_n_classes"]) == cell.n_classes
