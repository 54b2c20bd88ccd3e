"""Class performance over several ranks equals that of one process on the same samples."""

import math
import warnings

import pytest
import torch
from torch import distributed as dist
from torch.utils.data import DistributedSampler

from tbmetrics import ClassGroups, ClassPerformanceTracker, TBMetrics, TBMetricsWarning, read_run
from tests.processes import run_ranks

pytestmark = pytest.mark.slow

CLASSES, SAMPLES = 5, 50  # not a multiple of 4: the sampler pads
GROUPS = ClassGroups.from_counts({"x": [900, 300, 50, 5, 2]})
COUNTS = ("true_positives", "false_positives", "false_negatives", "support")


def _data(single, samples=SAMPLES):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(samples, CLASSES, generator=generator)
    if single:
        labels = torch.randint(-1, CLASSES, (samples,), generator=generator)
    else:
        labels = torch.randint(-1, 2, (samples, CLASSES), generator=generator)
    logits[3, 1] = math.nan
    return logits, labels


def _alone(single, scores):
    tracker = ClassPerformanceTracker(classes=GROUPS, scores=scores)
    logits, labels = _data(single)
    for part in range(0, SAMPLES, 16):
        tracker.update(logits[part : part + 16], labels[part : part + 16])
    return tracker.get_metrics()["x"], tracker.get_class_type_metrics()["x"]


def _share(rank, ranks, single, scores, log_dir):
    logits, labels = _data(single)
    order = list(DistributedSampler(logits, ranks, rank, shuffle=True, seed=3))
    tracker = ClassPerformanceTracker(classes=GROUPS, scores=scores)
    with TBMetrics(log_dir, class_performance=tracker, strict=True) as tb:
        for _ in tb.epochs(range(2)):
            for part in range(0, len(order), 8):
                at = torch.tensor(order[part : part + 8])
                tb.update(logits[at], labels[at], indices=at)
    return tracker.get_metrics()["x"], tracker.get_class_type_metrics()["x"]


def _same(value, other, places):
    if value is None or isinstance(value, str | bool):
        return value == other
    return value == pytest.approx(other, abs=places, nan_ok=True)


@pytest.mark.filterwarnings("ignore:.*NaN logits are left out:tbmetrics.TBMetricsWarning")
@pytest.mark.parametrize(("ranks", "single", "scores"), [(2, True, "exact"), (4, False, "exact"), (4, True, "binned")])
def test_metrics_of_many_ranks_are_those_of_one_process(tmp_path, ranks, single, scores):
    found = run_ranks(_share, ranks, single, scores, str(tmp_path))
    classes, groups = _alone(single, scores)
    for of_classes, of_groups in found:
        for label, metrics in classes.items():
            assert [of_classes[label][c] for c in COUNTS] == [metrics[c] for c in COUNTS]
            if scores == "exact":
                assert _same(of_classes[label]["ap"], metrics["ap"], 1e-12)
        for group in ("head", "tail", "all"):
            for metric in ("precision", "recall", "f1", "n_samples", "n_skipped"):
                if metric in groups[group]:
                    assert _same(of_groups[group][metric], groups[group][metric], 1e-12), (group, metric)
    assert found[0] == found[-1]
    history = read_run(tmp_path)
    assert history.tables["longtail/x"].steps.tolist() == [0, 1]
    assert history.scalars["resource_usage/ranks/count"].values.tolist() == [ranks, ranks]


def _uneven(rank, ranks, log_dir):
    """The last rank has no data, the others different numbers of batches."""
    logits, labels = _data(True)
    with TBMetrics(log_dir, classes=GROUPS, strict=True) as tb:
        for _ in tb.epochs(range(1)):
            for part in range(rank * 8, SAMPLES, 8 * (ranks - 1)) if rank < ranks - 1 else ():
                tb.update(logits[part : part + 8], labels[part : part + 8])
    return tb.get_metrics()["class_performance"]["class_metrics"]["x"]


@pytest.mark.filterwarnings("ignore:.*NaN logits are left out:tbmetrics.TBMetricsWarning")
def test_uneven_batches_and_a_rank_without_data(tmp_path):
    expected, _ = _alone(True, "exact")
    for metrics in run_ranks(_uneven, 4, str(tmp_path)):
        for label in expected:
            assert [metrics[label][c] for c in COUNTS] == [expected[label][c] for c in COUNTS]


def _padded(rank, ranks, samples):
    logits = torch.randn(samples, CLASSES, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(samples) % CLASSES
    order = list(DistributedSampler(logits, ranks, rank, shuffle=False))
    tracker = ClassPerformanceTracker(classes=GROUPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            tracker.update(logits[order], labels[order])
            tracker.reduce()
            tracker.collect(0)
    return [str(w.message) for w in caught if issubclass(w.category, TBMetricsWarning)]


def test_padding_is_said_once_where_it_shows_and_only_there():
    said = run_ranks(_padded, 4, 50)
    assert len(said[0]) == 1
    assert "2 samples count twice; give update(..., indices=...)" in said[0][0]
    assert said[1:] == [[], [], []]
    assert run_ranks(_padded, 4, 52) == [[], [], [], []]


def _in_groups(rank, ranks):
    """Two groups of two, each with a validation of its own."""
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    logits, labels = _data(True, 20 + 2 * (rank // 2))
    own = slice(rank % 2, None, 2)
    tracker = ClassPerformanceTracker(classes=GROUPS)
    tracker.update(logits[own], labels[own])
    tracker.reduce(pairs[rank // 2])
    return sum(m["support"] for m in tracker.get_metrics()["x"].values())


def test_groups_of_ranks_do_not_mix():
    known = [int((_data(True, n)[1][torch.arange(n) != 3] >= 0).sum()) for n in (20, 22)]
    assert run_ranks(_in_groups, 4) == [known[0], known[0], known[1], known[1]]


class Broken(ClassPerformanceTracker):
    """Fails on one rank whenever its share is asked for."""

    def share(self, announced, rank):
        if rank == 1:
            raise RuntimeError("no share")
        return super().share(announced, rank)


def _with_a_fault(rank, ranks, log_dir):
    logits, labels = _data(True)
    tracker = Broken(classes=GROUPS)
    with TBMetrics(log_dir, class_performance=tracker) as tb:
        for _ in tb.epochs(range(5)):
            tb.update(logits, labels)
    return tb.history.scalars["resource_usage/ranks/count"].steps.tolist(), sorted(tb.history.tables)


def test_a_fault_on_one_rank_makes_no_other_wait(tmp_path):
    assert run_ranks(_with_a_fault, 2, str(tmp_path)) == [([0, 1, 2, 3, 4], [])] * 2


def _one_leaves(rank, ranks, log_dir):
    logits, labels = _data(True)
    try:
        with TBMetrics(log_dir, classes=GROUPS) as tb:
            for epoch in tb.epochs(range(3)):
                tb.update(logits, labels)
                if epoch == 1 and rank == 1:
                    raise KeyError("the user's own")
                if epoch == 1:
                    break
            if rank == 0:
                raise KeyError("told by its peer")
    except KeyError:
        return tb.history.scalars["class_performance/x/recall/all"].steps.tolist()
    return None


def test_a_rank_that_leaves_by_an_exception_waits_for_nobody(tmp_path):
    assert run_ranks(_one_leaves, 2, str(tmp_path)) == [[0], [0]]


def _only_the_first_is_enabled(rank, ranks, log_dir):
    logits, labels = _data(True)
    with TBMetrics(log_dir, classes=GROUPS, enabled=rank == 0) as tb:
        for _ in tb.epochs(range(2)):
            tb.update(logits, labels)
    return len(tb.get_metrics())


def test_sessions_that_are_not_enabled_take_part_in_the_exchange(tmp_path):
    assert run_ranks(_only_the_first_is_enabled, 2, str(tmp_path)) == [3, 0]
    assert read_run(tmp_path).tables["longtail/x"].steps.tolist() == [0, 1]
