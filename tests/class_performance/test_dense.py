"""Dense predictions: equal to torchmetrics, any shape, ignored places, intervals by image, and what is left out."""

import logging

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.classification import MulticlassF1Score, MulticlassJaccardIndex, MulticlassPrecision, MulticlassRecall

from examples import segmentation, token_classification
from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, LongTailDiagnostics, TBMetrics, read_run
from tbmetrics.class_performance import dense
from tbmetrics.class_performance.dense import count_pairs, decided
from tbmetrics.figures.class_metrics import figures
from tbmetrics.records import curves_tag

CLASSES = 20
COUNTS = {"x": {str(i): int(900 / (i + 1) ** 1.5) for i in range(CLASSES)}}


def _tracker(**options):
    return ClassPerformanceTracker(classes=ClassGroups.from_counts(COUNTS), **options)


def _batch(*places, images=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, CLASSES - 1, (images, *places), generator=generator)  # the last class never comes
    logits = torch.randn(images, CLASSES, *places, generator=generator)
    logits.scatter_add_(1, labels.clamp(min=0)[:, None], torch.full((images, 1, *places), 2.0))
    return logits, labels


def _column(tracker, name):
    return np.array([np.nan if (v := m[name]) is None else v for m in tracker.get_metrics()["x"].values()])


@pytest.mark.parametrize("places", [(16, 12), (4, 6, 5), (30,)], ids=["images", "volumes", "sequences"])
def test_the_numbers_are_those_of_torchmetrics(places):
    tracker = _tracker()
    parts = [_batch(*places), _batch(*places, images=3, seed=1)]
    for batch in parts:
        tracker.update(*batch)
    logits, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    present = slice(0, CLASSES - 1)
    for name, metric in (("iou", MulticlassJaccardIndex), ("f1", MulticlassF1Score), ("recall", MulticlassRecall),
                         ("precision", MulticlassPrecision)):  # fmt: skip
        expected = metric(CLASSES, average="none", ignore_index=-1)(logits, labels)
        np.testing.assert_allclose(_column(tracker, name)[present], expected[present], rtol=1e-5, err_msg=name)
    assert np.isnan(_column(tracker, "iou")[-1])
    everything = tracker.get_class_type_metrics()["x"]["all"]
    known = labels >= 0
    assert everything["accuracy"] == pytest.approx(float((logits.argmax(1) == labels)[known].float().mean()))
    assert everything["n_samples"] == int(known.sum())
    assert everything["iou"] == pytest.approx(np.nanmean(_column(tracker, "iou")))
    assert everything["ap_n_classes"] == 0


def test_classes_last_half_precision_and_predicted_classes_give_the_same():
    logits, labels = _batch(8, 9)
    logits = logits.half()
    expected = _tracker()
    expected.update(logits.float(), labels)
    for given, options in (
        (logits.movedim(1, -1), {}),
        (logits, {}),
        (logits.numpy(), {"class_dim": 1}),
        (logits.argmax(1), {"inputs": "classes"}),
    ):
        tracker = _tracker(**options)
        tracker.update(given, labels)
        assert tracker.get_class_type_metrics() == expected.get_class_type_metrics()


def test_shapes_that_may_be_read_in_two_ways_are_settled_by_class_dim():
    logits, labels = torch.randn(2, CLASSES, CLASSES), torch.randint(0, CLASSES, (2, CLASSES))
    with pytest.raises(InputError, match=r"may be .* give the tracker class_dim=1 or class_dim=-1"):
        _tracker().update(logits, labels)
    first, last = _tracker(class_dim=1), _tracker(class_dim=-1)
    first.update(logits, labels)
    last.update(logits.movedim(1, -1), labels)
    assert first.get_metrics() == last.get_metrics()


def test_ignored_labels_do_not_count():
    logits, labels = _batch(8, 9)
    tracker, marked = _tracker(), _tracker(ignore_index=(255, 3))
    tracker.update(logits, labels.masked_fill(labels == 3, -100))
    marked.update(logits, labels.masked_fill(labels == -1, 255).to(torch.uint8))
    assert marked.get_metrics() == tracker.get_metrics()
    everything = _tracker()
    everything.update(logits, torch.full_like(labels, -1))
    assert everything.get_class_type_metrics()["x"]["all"]["iou_n_classes"] == 0


@pytest.mark.parametrize("classes", [2, 7, 15, 16, 17, 150])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_highest_score_is_found_as_argmax_finds_it(classes, dtype, monkeypatch):
    monkeypatch.setattr(dense, "PLACES_AT_ONCE", 100)
    logits = torch.randint(-4, 4, (2, classes, 13, 11)).to(dtype)  # with many ties
    assert torch.equal(decided(logits, 1).predicted.long(), logits.argmax(1).flatten(1))


def test_places_without_a_finite_score_are_left_out_and_counted():
    logits, labels = _batch(8, 9)
    labels = labels.clamp(min=0)
    logits[0, 3, 2, 2], logits[1, 0, 0, 0], logits[2, 17, 5, 5] = torch.nan, torch.inf, torch.nan
    expected = labels.clone()
    expected[0, 2, 2] = expected[1, 0, 0] = expected[2, 5, 5] = -1
    tracker, clean = _tracker(), _tracker()
    tracker.update(logits, labels)
    clean.update(logits.nan_to_num(0, 0, 0), expected)
    assert tracker.get_class_type_metrics()["x"]["all"]["n_skipped"] == 3
    np.testing.assert_array_equal(_column(tracker, "iou"), _column(clean, "iou"))


def test_many_classes_are_counted_alike(monkeypatch):
    labels, predicted = torch.randint(0, 30, (3, 50)), torch.randint(0, 30, (3, 50))
    counts = torch.rand(3, 50) < 0.7
    expected = count_pairs(labels, predicted, counts, 30)
    monkeypatch.setattr(dense, "MOST_CELLS", 1)
    for column, other in zip(expected, count_pairs(labels, predicted, counts, 30), strict=True):
        assert torch.equal(column, other)


def test_memory_grows_with_images_and_not_with_places():
    sizes = []
    for side in (32, 128):
        labels = torch.randint(0, CLASSES, (1, side, side))
        tracker = _tracker(inputs="classes")
        tracker.update((labels + 1) % CLASSES, labels)
        sizes.append(sum(column.numel() for part in tracker._states["x"].share()["pairs"] for column in part))
    assert sizes[0] == sizes[1] == 3 * CLASSES


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 5, 4, 4), torch.zeros(2, 4, 4).long(), r"must be \(N, 20, …\) or \(N, …, 20\)"),
        (torch.zeros(2, CLASSES, 4, 4), torch.zeros(2, 4, 3).long(), r"got \(2, 20, 4, 4\) and \(2, 4, 3\)"),
        (torch.zeros(2, CLASSES, 4).long(), torch.zeros(2, 4).long(), "logits must be a float tensor"),
        (torch.zeros(2, CLASSES, 4), torch.zeros(2, 4), "class indices must be integers, got torch.float32"),
        (torch.zeros(2, CLASSES, 4), torch.full((2, 4), 255), r"must lie in 0..19, got 255..255; .* ignore_index"),
    ],
)
def test_what_does_not_fit_is_said(logits, labels, message):
    with pytest.raises(InputError, match=message):
        _tracker().update(logits, labels)


def test_an_attribute_is_dense_or_not():
    tracker = _tracker()
    tracker.update(*_batch(8))
    with pytest.raises(InputError, match="was dense until now, this batch is of single samples"):
        tracker.update(torch.zeros(2, CLASSES), torch.zeros(2).long())
    tracker = _tracker()
    tracker.update(torch.zeros(2, CLASSES), torch.zeros(2).long())
    with pytest.raises(InputError, match="was of single samples until now, this batch is dense"):
        tracker.update(*_batch(8))


def test_several_ranks_a_saved_state_and_repeated_images_change_nothing():
    logits, labels = _batch(8, 9, images=10)
    whole = _tracker()
    whole.update(logits, labels)
    ranks, indices = [_tracker() for _ in range(3)], torch.arange(10)
    ranks[0].update(logits[:7], labels[:7], indices=indices[:7])
    saved = _tracker()
    saved.update(logits[4:], labels[4:], indices=indices[4:])
    ranks[1].load_state_dict(saved.state_dict())
    announced = [rank.announce() for rank in ranks]  # the third has had no batch
    shares = [rank.share(announced, i) for i, rank in enumerate(ranks)]
    outcome = ranks[0].adopt(ranks[0].combine(ranks[0].combine(*shares[:2]), shares[2]))
    ranks[2].take_outcome(outcome)
    assert ranks[0].get_class_type_metrics() == whole.get_class_type_metrics() == ranks[2].get_class_type_metrics()


def test_intervals_go_by_images_and_contain_the_truth():
    """Images are right or wrong about a class as a whole, which the number of their pixels does not show."""
    rng = np.random.default_rng(0)
    classes, images, pixels = 6, 40, 30
    groups = ClassGroups.from_counts({"x": {str(i): n for i, n in enumerate([900, 500, 90, 60, 9, 2])}})
    share = np.linspace(0.9, 0.5, classes)
    covered = {name: [] for name in ("class", "head", "tail", "gap")}
    for _ in range(150):
        labels = rng.integers(0, classes, (images, pixels))
        skill = rng.beta(2 * share, 2 * (1 - share), (images, classes))  # of each image, on each class
        is_right = rng.random((images, pixels)) < np.take_along_axis(skill, labels, axis=1)
        predicted = np.where(is_right, labels, (labels + 1) % classes)
        tracker = ClassPerformanceTracker(classes=groups, inputs="classes", max_decision_bytes=0)
        tracker.update(predicted[..., None], labels[..., None])
        metrics = list(tracker.get_metrics()["x"].values())
        covered["class"].append(
            np.mean([m["recall_lower"] <= s <= m["recall_upper"] for m, s in zip(metrics, share, strict=True)])
        )
        of_groups = tracker.get_class_type_metrics()["x"]
        for group, truth in (("head", share[:2].mean()), ("tail", share[4:].mean()),
                             ("gap", share[:2].mean() - share[4:].mean())):  # fmt: skip
            covered[group].append(of_groups[group]["recall_lower"] <= truth <= of_groups[group]["recall_upper"])
    rates = {name: float(np.mean(values)) for name, values in covered.items()}
    assert all(0.9 <= rate <= 1 for rate in rates.values()), rates


def test_a_session_with_diagnostics_records_and_draws_what_there_is(tmp_path, caplog):
    model = torch.nn.Conv2d(3, CLASSES, 1)
    groups = ClassGroups.from_counts(COUNTS)
    with (
        caplog.at_level(logging.WARNING, "tbmetrics"),
        TBMetrics(tmp_path, model=model, classes=groups, resources=False, diagnostics=LongTailDiagnostics()) as tb,
    ):
        for _ in tb.epochs(range(2)):
            logits, labels = _batch(8, 8)
            tb.observe(logits.requires_grad_(), labels)
            tb.update(logits, labels, torch.zeros(4, 3, 8, 8))
    assert caplog.text.count("there are no diagnostics and no gallery") == 1
    history = read_run(tmp_path)
    table = history.tables["longtail/x/groups"][-1]
    assert {"iou", "iou_lower", "iou_n_classes"} <= set(table.columns)
    assert table.column("iou_lower")[table.rows.index("tail")] < table.column("iou")[table.rows.index("tail")]
    assert history.tables["longtail/x/uncertainty"][-1].columns[-1] == "iou"
    assert not [tag for tag in history.samples if "decisions" in tag]
    assert len(dict(figures(history))) == 5  # no curves without scores


@pytest.mark.parametrize(("example", "attribute"), [(segmentation, "pixel"), (token_classification, "entity")])
def test_the_examples_learn_and_record_every_validation(example, attribute, tmp_path):
    example.main(str(tmp_path), epochs=2)
    tables = read_run(tmp_path).tables[f"longtail/{attribute}/groups"]
    first, last = (table.column("iou")[table.rows.index("head")] for table in tables)
    assert 0 < first < last


def test_average_precision_from_bins_is_scikit_learns_on_request():
    parts = [_batch(24, 20), _batch(24, 20, images=3, seed=1)]
    binned = _tracker(scores="binned")
    for batch in parts:
        binned.update(*batch)
    logits, labels = (torch.cat(column) for column in zip(*parts, strict=True))
    p = logits.double().softmax(1).movedim(1, -1)[labels >= 0].numpy()
    truth = labels[labels >= 0].numpy()[:, None] == np.arange(CLASSES)
    expected = [average_precision_score(truth[:, c], p[:, c]) for c in range(CLASSES - 1)]
    np.testing.assert_allclose(_column(binned, "ap")[:-1], expected, atol=3e-3)
    everything = binned.get_class_type_metrics()["x"]["all"]
    assert everything["ap_n_classes"] == CLASSES - 1
    assert everything["scores_exact"] == 0
    assert _tracker_after(parts).get_class_type_metrics()["x"]["all"]["ap_n_classes"] == 0  # not asked for


def _tracker_after(batches, **options):
    tracker = _tracker(**options)
    for batch in batches:
        tracker.update(*batch)
    return tracker


def test_bins_of_several_ranks_and_curves_add_up(tmp_path):
    parts = [_batch(10, 9), _batch(10, 9, seed=1)]
    together, *ranks = (_tracker_after(some, scores="binned") for some in (parts, parts[:1], parts[1:]))
    announced = [tracker.announce() for tracker in ranks]
    shares = [tracker.share(announced, rank) for rank, tracker in enumerate(ranks)]
    ranks[0].adopt(ranks[0].combine(*shares))
    assert _column(ranks[0], "ap").tolist() == pytest.approx(_column(together, "ap").tolist(), nan_ok=True)
    with TBMetrics(tmp_path, class_performance=_tracker(scores="binned")) as tb:
        for batch in parts:
            tb.update(*batch)
    table = read_run(tmp_path).tables[curves_tag("x")][0]
    means = np.asarray(table.values, dtype=float).mean(axis=1)  # the mean of a curve is the average precision
    np.testing.assert_allclose(means[:-1], _column(together, "ap")[:-1], atol=2e-3)  # in float16
