"""The best validation by a group metric: while it is under way, recorded, restored; chance taken into account."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, InputError, TBMetrics
from tbmetrics.records import group_table_tag

GROUPS = ClassGroups.from_counts({"x": [900, 800, 60, 30, 9, 2]})
LABELS = torch.arange(120) % 6


def _logits(wrong_of_tail, wrong_of_head=0):
    """Of a model that is right but for so many samples of each tail and head class."""
    predicted = LABELS.clone()
    for wrong, classes in ((wrong_of_tail, (4, 5)), (wrong_of_head, (0, 1))):
        for c in classes:
            predicted[(c == LABELS).nonzero()[:wrong, 0]] = 2
    return 5.0 * torch.eye(6)[predicted]


def _session(path, **options):
    return TBMetrics(
        path, classes=GROUPS, resources=False, profiler=False, overhead_budget=None, strict=True, **options
    )


def _validate(tb, epoch, *wrong):
    tb.start_epoch(epoch)
    tb.update(_logits(*wrong), LABELS)


def test_the_latest_is_best_if_it_is_above_all_before_whether_recorded_or_not(tmp_path):
    answers, best = [], []
    with _session(tmp_path) as tb:
        for epoch, wrong in enumerate([10, 12, 8, 8, 3]):
            _validate(tb, epoch, wrong)
            under_way = tb.is_best("recall", group="tail")
            best.append(tb.best("recall", group="tail").step)
            tb.end_epoch()
            assert tb.is_best("recall", group="tail") == under_way
            answers.append(under_way)
        assert answers == [True, False, True, False, True]
        assert best == [0, 0, 2, 2, 4]
        result = tb.best("recall", group="tail", attribute="x")
        table = tb.history.tables[group_table_tag("x")].at(4)
        row = table.values[table.rows.index("tail")]
        values = [float(row[table.columns.index(f"recall{end}")]) for end in ("", "_lower", "_upper")]
        assert [result.value, result.lower, result.upper] == values
        assert result.value == pytest.approx(17 / 20)


def test_asking_changes_no_record(tmp_path):
    for asks in (False, True):
        with _session(tmp_path / str(asks)) as tb:
            for epoch, wrong in enumerate([10, 8]):
                _validate(tb, epoch, wrong)
                if asks:
                    tb.is_best("f1", beyond_interval=True)
                    tb.best("f1")
        if not asks:
            expected = tb.history
    assert list(tb.history.tables) == list(expected.tables)
    assert list(tb.history.samples) == list(expected.samples)
    for tag, series in tb.history.tables.items():
        for ours, theirs in zip(series, expected.tables[tag], strict=True):
            np.testing.assert_array_equal(ours.values, theirs.values)


def test_better_beyond_the_interval_is_judged_on_the_same_samples(tmp_path):
    with _session(tmp_path) as tb:
        for epoch, wrong in enumerate([10, 9, 0]):
            _validate(tb, epoch, wrong)
            is_clear = tb.is_best("recall", group="tail", beyond_interval=True)
            assert is_clear == (epoch != 1)  # one sample of forty is no evidence, nine are
            assert tb.is_best("recall", group="tail")
            tb.end_epoch()
        assert tb.best("recall", group="tail").indistinguishable == ()
        assert tb.best("recall", group="head").step == 0
        assert tb.best("recall", group="head").indistinguishable == (1, 2)
        with pytest.raises(InputError, match=r"beyond_interval needs a mean over classes"):
            tb.is_best("accuracy", beyond_interval=True)


def test_neighbours_of_the_best_that_differ_by_chance_are_named(tmp_path):
    with _session(tmp_path) as tb:
        for epoch, wrong in enumerate([16, 5, 4, 5]):
            _validate(tb, epoch, wrong)
        best = tb.best("recall", group="tail")  # while the last one is under way
    assert (best.step, best.indistinguishable) == (2, (1, 3))


def test_the_best_gap_and_calibration_error_are_the_smallest(tmp_path):
    with _session(tmp_path) as tb:
        for epoch, wrong in enumerate([(9, 0), (2, 2), (1, 8)]):
            _validate(tb, epoch, *wrong)
            assert tb.is_best("recall", group="gap") == (epoch < 2)
        assert tb.best("recall", group="gap").step == 1
        assert tb.best("recall", group="gap").value == pytest.approx(0)
        assert tb.best("ece").step == 1
        assert tb.best("accuracy").step == 1
        assert tb.best("accuracy").indistinguishable is None


def test_metrics_of_ones_own_and_recalls_at_k_choose_too(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS, top_k=2, resources=False, strict=True) as tb:
        for epoch, value in enumerate([0.2, 0.7, 0.4]):
            _validate(tb, epoch, 10 - epoch)
            tb.log_class_metrics("x", {"ap50": torch.full((6,), value)})
            assert tb.is_best("ap50", group="tail") == (epoch < 2)
            tb.end_epoch()
        assert tb.best("ap50").step == 1
        assert tb.best("recall_at_2", group="tail").value == pytest.approx(
            float(tb.class_performance.get_class_type_metrics()["x"]["tail"]["recall_at_2"])
        )


def test_a_metric_that_came_later_is_looked_for_where_it_is(tmp_path):
    with _session(tmp_path) as tb:
        _validate(tb, 0, 5)
        tb.end_epoch()
        state = tb.state_dict()
    with TBMetrics(tmp_path, classes=GROUPS, top_k=2, resources=False, strict=True) as tb:
        tb.load_state_dict(state)
        _validate(tb, 1, 5)
        assert tb.is_best("recall_at_2", beyond_interval=True)
        assert tb.best("recall_at_2").step == 1


def test_undefined_values_and_epochs_without_a_validation_are_never_best(tmp_path):
    with _session(tmp_path) as tb:
        assert tb.best("recall", group="tail") is None
        assert not tb.is_best("recall", group="tail")
        tb.start_epoch(0)
        tb.update(_logits(0)[LABELS < 4], LABELS[LABELS < 4])  # no sample of the tail
        assert not tb.is_best("recall", group="tail")
        assert tb.is_best("recall", group="head")
        _validate(tb, 1, 5)
        assert tb.is_best("recall", group="tail")
        tb.start_epoch(2)
        assert not tb.is_best("recall", group="tail")
        tb.end_epoch()
        assert not tb.is_best("recall", group="tail")
        assert tb.best("recall", group="tail").step == 1


def test_a_resumed_run_knows_the_validations_before(tmp_path):
    with _session(tmp_path / "a") as tb:
        for epoch, wrong in enumerate([10, 3]):
            _validate(tb, epoch, wrong)
            tb.end_epoch()
        state = tb.state_dict()
    with _session(tmp_path / "a") as tb:
        tb.load_state_dict(state)
        _validate(tb, 2, 5)
        assert not tb.is_best("recall", group="tail")
        assert tb.best("recall", group="tail").step == 1
        _validate(tb, 3, 0)
        assert tb.is_best("recall", group="tail")


def test_what_is_unknown_is_refused_and_a_disabled_session_answers(tmp_path):
    with _session(tmp_path) as tb:
        with pytest.raises(InputError, match=r"group must be one of 'head'.*, got 'rare'"):
            tb.is_best("recall", group="rare")
        with pytest.raises(InputError, match=r"attribute must be one of 'x', got 'y'"):
            tb.best("recall", attribute="y")
        assert tb.best("accuracy") is None
        _validate(tb, 0, 3)
        with pytest.raises(InputError, match=r"metric must be one of 'accuracy', 'ap'.*, got 'speed'"):
            tb.best("speed")
    several = ClassGroups.from_counts({"x": [9, 1], "y": [9, 1]})
    with TBMetrics(tmp_path / "b", classes=several) as tb, pytest.raises(InputError, match=r"'x', 'y', as there are"):
        tb.best("recall")
    with TBMetrics(tmp_path / "c") as tb, pytest.raises(InputError, match=r"best\(\) needs classes"):
        tb.is_best("recall")
    off = TBMetrics(tmp_path / "d", classes=GROUPS, enabled=False)
    assert off.best("recall") is None
    assert off.is_best("recall") is False
