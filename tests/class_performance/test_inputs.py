"""What may be given as scores and labels: logits, scaled logits, probabilities; tensors and arrays of any type."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tbmetrics import ClassGroups, ClassPerformanceTracker, InputError, MetricsManager, TBMetrics, TBMetricsWarning
from tbmetrics.class_performance.diagnostics import LongTailDiagnostics
from tbmetrics.class_performance.inputs import Activation

CLASSES = 6
GROUPS = ClassGroups.from_counts({"x": [900, 300, 60, 30, 9, 2]})


def _batch(single, seed=0, rows=300, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, CLASSES, generator=generator, dtype=torch.float64)
    if single:
        labels = torch.randint(0, CLASSES, (rows,), generator=generator)
        return (logits + 2 * torch.nn.functional.one_hot(labels, CLASSES)).to(dtype), labels
    labels = (torch.rand(rows, CLASSES, generator=generator) < 0.2).long()
    return (logits + 3 * labels - 2).to(dtype), labels


def _probabilities(logits, single):
    return logits.softmax(1) if single else logits.sigmoid()


def _tracker(**options):
    return ClassPerformanceTracker(classes=GROUPS, **options)


def _columns(tracker, logits, labels):
    for rows in torch.arange(len(logits)).split(70):
        tracker.update(logits[rows], labels[rows])
    return _numbers(tracker.get_metrics()["x"], tracker.get_class_type_metrics()["x"])


def _numbers(*tables):
    """Every number of every class and group, None as NaN."""
    entries = [(row, name, v) for table in tables for row, entry in table.items() for name, v in entry.items()]
    return {(row, name): np.nan if v is None else v for row, name, v in entries if not isinstance(v, str)}


def _check_equal(numbers, expected, rel):
    assert numbers.keys() == expected.keys()
    for key, value in expected.items():
        assert numbers[key] == pytest.approx(value, rel=rel, abs=1e-6 if key[1] == "ece" else rel, nan_ok=True), key


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("thresholds", [0.5, 0.3])
def test_probabilities_give_the_numbers_of_the_logits_they_come_from(single, thresholds):
    logits, labels = _batch(single)
    expected = _columns(_tracker(thresholds=thresholds), logits, labels)
    tracker = _tracker(thresholds=thresholds, inputs="probabilities")
    _check_equal(_columns(tracker, _probabilities(logits, single), labels), expected, rel=1e-9)


@pytest.mark.parametrize("single", [True, False])
def test_curves_of_probabilities_are_those_of_the_logits(single):
    logits, labels = _batch(single)
    series = []
    for scores, inputs in ((logits, "logits"), (_probabilities(logits, single), "probabilities")):
        tracker = _tracker(inputs=inputs)
        tracker.update(scores, labels)
        tracker.collect(0)
        series.append({tag: table[-1].values for tag, table in tracker.history.tables.items()})
    for tag, values in series[0].items():
        np.testing.assert_allclose(values, series[1][tag], rtol=1e-5, atol=1e-5, err_msg=tag)


@pytest.mark.parametrize("single", [True, False])
@given(st.integers(0, 10_000), st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_binned_probabilities_hold_their_own_ap(single, seed, dtype):
    logits, labels = _batch(single, seed, rows=120)
    scores = _probabilities(3 * logits, single).to(dtype)
    tracker = _tracker(inputs="probabilities", scores="binned")
    for rows in torch.arange(120).split(50):
        tracker.update(scores[rows], labels[rows])
    for c, entry in enumerate(tracker.get_metrics()["x"].values()):
        truth = labels[:, c] if labels.ndim == 2 else labels == c
        if truth.any():
            expected = average_precision_score(truth, scores[:, c].double())
            assert entry["ap_lower"] - 1e-12 <= expected <= entry["ap_upper"] + 1e-12


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (
            torch.full((4, CLASSES), 1.5),
            torch.zeros(4, CLASSES),
            r"lie in \[0, 1\], got 1.5 to 1.5; for logits give",
        ),
        (torch.full((4, CLASSES), -0.01), torch.zeros(4, CLASSES), r"got -0.01 to -0.01"),
        (torch.full((4, CLASSES), 0.5), torch.zeros(4).long(), r"must sum to 1 \(softmax\), got 3; for a sigmoid"),
    ],
)
def test_what_is_no_probability_is_refused_and_changes_nothing(scores, labels, message):
    tracker = _tracker(inputs="probabilities")
    with pytest.raises(InputError, match=message):
        tracker.update(scores, labels)
    with pytest.raises(InputError, match=message):
        LongTailDiagnostics(classes=GROUPS, inputs="probabilities").update(scores, labels)
    assert tracker.collect(0) == []


def test_rounded_and_undefined_probabilities_are_taken_as_such():
    logits, labels = _batch(True)
    scores = logits.half().softmax(1)
    scores[3, 2] = torch.nan
    tracker = _tracker(inputs="probabilities")
    with pytest.warns(TBMetricsWarning, match="are left out"):
        tracker.update(scores, labels)
    assert tracker.get_class_type_metrics()["x"]["all"]["n_skipped"] == 1
    scores[5, 1] = -2
    with pytest.raises(InputError, match="got -2"):
        tracker.update(scores, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "softmax"}, "inputs must be one of 'logits', 'probabilities', 'classes', got 'softmax'"),
        ({"logit_scale": 0}, "logit_scale must be a finite number above 0, got 0.0"),
        ({"logit_scale": float("inf")}, "logit_scale must be a finite number above 0"),
        ({"logit_scale": "large"}, "logit_scale must be a number above 0, got 'large'"),
        ({"logit_scale": 4, "inputs": "probabilities"}, "logit_scale scales logits: leave it out"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message, tmp_path):
    for make in (_tracker, lambda **o: LongTailDiagnostics(classes=GROUPS, **o)):
        with pytest.raises(InputError, match=message):
            make(**options)
    with pytest.raises(InputError, match=message):
        TBMetrics(tmp_path, classes=GROUPS, **options)


# ------------------------------------------------------------------------------------------------------ warnings


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_probabilities_given_as_logits_are_said_once(single, mode):
    logits, labels = _batch(single)
    tracker = _tracker(scores=mode)
    with pytest.warns(TBMetricsWarning, match=r"lie in \[0, 1\], as probabilities do: give inputs='probabilities'"):
        _columns(tracker, _probabilities(logits, single), labels)
    tracker.collect(0)
    _columns(tracker, _probabilities(logits, single), labels)


def test_rows_that_sum_to_one_are_said_once():
    logits, labels = _batch(True)
    tracker = _tracker()
    rows = logits - (logits.sum(1, keepdim=True) - 1) / CLASSES
    tracker.update(rows, labels)
    with pytest.warns(TBMetricsWarning, match="sum to 1 in each row"):
        tracker.get_metrics()


@pytest.mark.parametrize("single", [True, False])
def test_ordinary_logits_and_those_the_user_vouches_for_are_not_warned_about(single):
    logits, labels = _batch(single)
    scores = _probabilities(logits, single)
    _columns(_tracker(logit_scale=1.0), scores, labels)
    _columns(_tracker(), logits, labels)
    _columns(_tracker(), torch.cat((scores, logits[:1])), torch.cat((labels, labels[:1])))  # the last row tells
    _columns(_tracker(), torch.zeros_like(logits), labels)  # a head that begins at 0
    _columns(_tracker(), torch.rand(4, CLASSES), labels[:4])  # by chance


def test_ranks_look_at_all_scores_together():
    logits, labels = _batch(False)
    scores = logits.sigmoid()
    for other, is_suspicious in ((scores, True), (logits, False)):
        ranks = [_tracker() for _ in range(2)]
        ranks[0].update(scores, labels)
        ranks[1].update(other, labels)
        facts = [rank.announce() for rank in ranks]
        shares = [rank.share(facts, i) for i, rank in enumerate(ranks)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ranks[0].adopt(ranks[0].combine(*shares))
        assert any("inputs='probabilities'" in str(w.message) for w in caught) == is_suspicious


def test_cosines_need_a_scale_and_small_logits_of_an_untrained_model_do_not():
    logits, labels = _batch(True)
    cosines = logits / logits.abs().max()
    tracker = _tracker()
    tracker.update(cosines, labels)
    with pytest.warns(TBMetricsWarning, match=r"lie in \[-1, 1\].*give logit_scale=…"):
        tracker.get_metrics()
    _columns(_tracker(logit_scale=16), cosines, labels)
    _columns(_tracker(), cosines, labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))])


# --------------------------------------------------------------------------------------------------- logit_scale


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_a_logit_scale_gives_the_numbers_of_the_scaled_logits(single, mode):
    logits, labels = _batch(single)
    expected = _columns(_tracker(thresholds=0.3, scores=mode), 16 * logits, labels)
    numbers = _columns(_tracker(thresholds=0.3, scores=mode, logit_scale=16), logits, labels)
    _check_equal(numbers, expected, rel=1e-9)


# ------------------------------------------------------------------------------------------------------ sessions


def test_a_session_passes_inputs_to_tracker_and_diagnostics(tmp_path):
    logits, labels = _batch(True)
    results = []
    for name, scores, inputs in (("a", logits, "logits"), ("b", logits.softmax(1), "probabilities")):
        with TBMetrics(tmp_path / name, classes=GROUPS, inputs=inputs, diagnostics=True, strict=True) as tb:
            tb.observe(logits, labels)
            tb.update(scores, labels)
            metrics = tb.get_metrics()
            results.append((metrics["class_performance"], metrics["diagnostics"]["attributes"]["x"]["remedies"]))
    for group in ("head", "tail", "all"):
        first, second = (performance["type_metrics"]["x"][group] for performance, _ in results)
        assert first["ap"] == pytest.approx(second["ap"], rel=1e-9)
        assert first["ece"] == pytest.approx(second["ece"], abs=1e-6)
    from_logits, from_probabilities = (dict(_flattened(remedies)) for _, remedies in results)
    assert from_logits == pytest.approx(from_probabilities, rel=1e-4, abs=1e-6, nan_ok=True)


def _flattened(values, path=()):
    """Every number in nested dictionaries and lists, None as NaN."""
    if isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from _flattened(value, (*path, key))
    elif values is None or isinstance(values, int | float):
        yield path, np.nan if values is None else values


def test_a_configured_tracker_has_the_last_word_and_contradictions_are_refused(tmp_path):
    tracker = _tracker(inputs="probabilities")
    tb = TBMetrics(tmp_path / "a", class_performance=tracker, diagnostics=True)
    assert tb.diagnostics._activation == Activation("probabilities")
    tb.finalize()
    with pytest.raises(InputError, match="give them to the ClassPerformanceTracker"):
        TBMetrics(tmp_path / "b", class_performance=tracker, logit_scale=3)


def test_the_manager_passes_inputs_on(tmp_path):
    logits, labels = _batch(False)
    manager = MetricsManager(
        hmt_info={"x": {str(c): 10 for c in range(CLASSES)}}, save_dir=tmp_path, inputs="probabilities"
    )
    manager.update_epoch_results({"x": logits.sigmoid()}, {"x": labels})
    expected = _columns(_tracker(), logits, labels)["all", "f1"]
    assert manager.get_metrics()["class_performance"]["type_metrics"]["x"]["all"]["f1"] == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------------- types


class ArrayLike:
    """What other libraries' arrays have in common."""

    def __init__(self, values):
        self._values = np.asarray(values)

    def __array__(self, dtype=None, copy=None):
        return self._values.astype(dtype or self._values.dtype)


class DLPackLike:
    """An array that is exported by DLPack only."""

    def __init__(self, tensor):
        self._tensor = tensor

    def __dlpack__(self, **options):
        return self._tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._tensor.__dlpack_device__()


INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("single", [True, False])
def test_labels_of_every_integer_type(dtype, single):
    logits, labels = _batch(single)
    expected = _columns(_tracker(), logits, labels)
    array = labels.numpy().astype(dtype)
    for given_labels in (torch.from_numpy(array), array, ArrayLike(array), DLPackLike(torch.from_numpy(array))):
        assert _columns_whole(logits, given_labels) == pytest.approx(_columns_whole(logits, labels), nan_ok=True)
    swapped = array.astype(array.dtype.newbyteorder())[::-1]
    assert _columns_whole(logits.flip(0), swapped)["all", "f1"] == pytest.approx(expected["all", "f1"])


def test_a_session_takes_class_ids_of_uint16(tmp_path):
    labels = torch.from_numpy(np.array([0, 1, 2], dtype=np.uint16))
    with TBMetrics(tmp_path, classes=ClassGroups.from_counts([900, 60, 4])) as tb:
        for _ in range(3):
            tb.update(torch.eye(3), labels)
        metrics = tb.get_metrics()["class_performance"]["class_metrics"]["class"]
    assert [entry["recall"] for entry in metrics.values()] == [1, 1, 1]


def _columns_whole(logits, labels, **options):
    tracker = _tracker()
    tracker.update(logits, labels, **options)
    return _numbers(tracker.get_class_type_metrics()["x"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_logits_and_boolean_labels_as_arrays(dtype):
    logits, labels = _batch(False)
    array = logits.numpy().astype(dtype)
    array.setflags(write=False)
    expected = _columns_whole(torch.from_numpy(array.astype(np.float64)), labels)
    for given_logits in (
        array,
        ArrayLike(array),
        DLPackLike(torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))),
    ):
        assert _columns_whole(given_logits, labels.bool().numpy()) == pytest.approx(expected, nan_ok=True)
    diagnostics = LongTailDiagnostics(classes=GROUPS)
    diagnostics.observe(array, labels.numpy().astype("uint16"))
    diagnostics.update(array, labels.numpy().astype("uint16"))
    assert diagnostics.get_metrics()["attributes"]["x"]["classes"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32"])
def test_indices_of_every_integer_type(dtype):
    logits, labels = _batch(True)
    twice = torch.cat((logits, logits)), torch.cat((labels, labels))
    indices = np.tile(np.arange(300) % 200, 2).astype(dtype)
    assert _columns_whole(*twice, indices=indices)["all", "n_samples"] == 200
    assert _columns_whole(*twice, indices=torch.from_numpy(indices))["all", "n_samples"] == 200


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, CLASSES), np.array(["a", "b"]), "labels must be numbers, got ndarray of type <U1"),
        (torch.zeros(2, CLASSES), np.array([0, None]), "labels must be numbers, got ndarray of type object"),
        (torch.zeros(2, CLASSES), np.zeros(2, dtype=complex), "labels must be real numbers, got torch.complex128"),
        (np.full((2, CLASSES), "a"), torch.zeros(2), "logits must be numbers, got ndarray of type <U1"),
        (torch.zeros(2, CLASSES, dtype=torch.complex64), torch.zeros(2), "logits must be real numbers"),
        (
            torch.zeros(2, CLASSES),
            [0, 1],
            r"labels must be a tensor or an array, got list; give torch\.tensor\(labels\)",
        ),
        ((torch.zeros(2, CLASSES),), [0, 1], r"got tuple; give its first element, logits\[0\]"),
        (torch.zeros(2, CLASSES), torch.tensor([0, -100]), r"give labels\.masked_fill\(labels == -100, -1\)"),
        (torch.zeros(2, CLASSES), torch.zeros(2), r"give labels\.long\(\)"),
        ({"logits": torch.zeros(2, CLASSES), "loss": 1}, torch.zeros(2).long(), r"give output\['logits'\]"),
    ],
)
def test_what_is_no_number_is_refused_by_name(logits, labels, message):
    tracker = _tracker()
    with pytest.raises(InputError, match=message):
        tracker.update(logits, labels)
    with pytest.raises(InputError, match=message):
        LongTailDiagnostics(classes=GROUPS).update(logits, labels)


# ------------------------------------------------------------------------------------------------- half precision

HALVES = st.sampled_from([torch.float16, torch.bfloat16])
ACTIVATIONS = st.sampled_from([Activation(), Activation("logits", 7.0), Activation("probabilities")])


@given(
    st.floats(1e-6, 1 - 1e-6),
    HALVES,
    st.sampled_from([Activation(), Activation("logits", 7.0), Activation("probabilities")]),
)
def test_thresholds_decide_in_half_precision_as_in_float32(threshold, dtype, activation):
    exact = activation.cuts(np.array([threshold]), torch.float32)
    near = exact.to(dtype)
    bits = near.view(torch.int16) + torch.arange(-3, 4, dtype=torch.int16)
    scores = torch.cat((bits.view(dtype), torch.linspace(-4, 4, 101).to(dtype), torch.tensor([-torch.inf]).to(dtype)))
    scores = scores[~scores.isnan()]
    assert torch.equal(scores >= activation.cuts(np.array([threshold]), dtype), scores.float() >= exact)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_threshold_is_not_rounded_to_the_type_of_the_logits(dtype):
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts([100]), thresholds=0.3)
    tracker.update(torch.full((10, 1), -0.84765625, dtype=dtype), torch.ones(10, 1, dtype=torch.long))
    assert tracker.get_metrics()["class"]["0"]["recall"] == 0
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts([100]), thresholds=0.1)
    logits = torch.linspace(-4, 4, 4001).bfloat16()[:, None]
    tracker.update(logits.to(dtype), torch.ones(4001, 1, dtype=torch.long))
    assert (
        tracker.get_metrics()["class"]["0"]["true_positives"] == int((logits.double().sigmoid() >= 0.1).sum()) == 3098
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("mask", [None, "lowest", "-inf", -1e4])
@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_masked_rows_are_ties_and_bins_hold_the_ap_of_half_precision(dtype, mask, mode):
    generator = torch.Generator().manual_seed(0)
    logits = (12 * torch.randn(2000, 10, generator=generator)).half().to(dtype)
    labels = (torch.rand(2000, 10, generator=generator) < (logits.float() / 12 - 2).sigmoid()).long()
    if mask is not None:
        logits[::7] = {"lowest": torch.finfo(dtype).min, "-inf": -torch.inf}.get(mask, mask)
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts([100] * 10), scores=mode)
    for rows in torch.arange(2000).split(300):
        tracker.update(logits[rows], labels[rows])
    finite = logits.double().nan_to_num(neginf=-1e300)
    for c, entry in enumerate(tracker.get_metrics()["class"].values()):
        expected = average_precision_score(labels[:, c], finite[:, c])
        assert entry["ap"] == pytest.approx(expected, abs=1e-12 if mode == "exact" else 4e-3)
        assert entry["ap_lower"] - 1e-12 <= expected <= entry["ap_upper"] + 1e-12


@pytest.mark.parametrize("positives", [5, 40])
@pytest.mark.parametrize("mode", ["exact", "binned"])
def test_unknown_labels_are_no_masks(mode, positives):
    scores, labels = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(500, 1).long()
    labels[:positives], labels[200:300] = 1, -1
    scores[::2] = -torch.inf
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts([100]), scores=mode)
    for rows in torch.arange(500).split(60):
        tracker.update(scores[rows], labels[rows])
    known = labels[:, 0] >= 0
    expected = average_precision_score(labels[known, 0], scores[known, 0].nan_to_num(neginf=-1e30))
    entry = tracker.get_metrics()["class"]["0"]
    assert entry["ap"] == pytest.approx(expected, abs=1e-12 if mode == "exact" else 1e-3)


@pytest.mark.parametrize("mask", [-torch.inf, -1e9])
def test_only_masked_scores_are_exact_in_bins(mask):
    """Every positive is masked: its precision is known only if the negatives in its bin are known to tie with it."""
    scores, labels = torch.randn(500, 1, generator=torch.Generator().manual_seed(0)), torch.zeros(500, 1).long()
    labels[:20], scores[:120] = 1, mask
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts([100]), scores="binned")
    for rows in torch.arange(500).split(60):
        tracker.update(scores[rows], labels[rows])
    assert tracker.get_metrics()["class"]["0"]["ap"] == pytest.approx(20 / 500, abs=1e-12)


def test_diagnostics_of_probabilities_leave_out_what_needs_the_classifiers_logits():
    model = torch.nn.Linear(4, CLASSES).eval()
    features, labels = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), torch.arange(60) % CLASSES
    tables = []
    for options in ({}, {"inputs": "probabilities"}):
        diagnostics = LongTailDiagnostics(model, GROUPS, **options)
        diagnostics.start()
        logits = model(features).detach()
        diagnostics.update(logits.softmax(1) if options else logits, labels)
        tables.append(diagnostics.get_metrics()["attributes"]["x"])
        diagnostics.stop()
    assert "tau_normalization" not in tables[0]["left_out"]
    assert "tau_normalization" in tables[1]["left_out"]


# ------------------------------------------------------------------------------------------------ predicted classes

NEEDS_SCORES = ("ap", "best_", "ece", "scores_exact")


def _without_scores(numbers):
    return {key: value for key, value in numbers.items() if not key[1].startswith(NEEDS_SCORES) and key[1] != "defined"}


@pytest.mark.parametrize("single", [True, False])
def test_predicted_classes_give_the_decisions_of_the_logits_they_come_from(single):
    logits, labels = _batch(single)
    predicted = logits.argmax(1).to(torch.uint8) if single else logits >= 0
    tracker = _tracker(inputs="classes", scores="binned")
    expected = _without_scores(_columns(_tracker(), logits, labels))
    _check_equal(_without_scores(_columns(tracker, predicted, labels)), expected, rel=1e-12)
    metrics = tracker.get_class_type_metrics()["x"]["all"]
    assert metrics["ap_n_classes"] == 0
    assert metrics["ece"] is None
    assert not [record for record in tracker.records(0) if "/pr/" in record.record.tag]


def test_of_predictions_by_rank_the_first_decides():
    logits, labels = _batch(single=True)
    ranked = logits.argsort(1, descending=True)[:, :3]
    alone = _columns(_tracker(inputs="classes"), ranked[:, 0], labels)
    _check_equal(_columns(_tracker(inputs="classes"), ranked, labels), alone, rel=0)


def test_predicted_classes_survive_repeats_checkpoints_and_several_ranks():
    logits, labels = _batch(single=True)
    predicted, rows = logits.argmax(1), torch.arange(len(labels))
    expected = _columns(_tracker(inputs="classes"), predicted, labels)
    first, second, whole = (_tracker(inputs="classes") for _ in range(3))
    first.update(predicted[:200], labels[:200], indices=rows[:200])
    second.update(predicted[100:], labels[100:], indices=rows[100:])
    announced = [first.announce(), second.announce()]
    whole.adopt(whole.combine(first.share(announced, 0), second.share(announced, 1)))
    resumed = _tracker(inputs="classes")
    resumed.load_state_dict(whole.state_dict())
    for tracker in (whole, resumed):
        _check_equal(_numbers(tracker.get_metrics()["x"], tracker.get_class_type_metrics()["x"]), expected, rel=0)


@pytest.mark.parametrize(
    ("predictions", "labels", "message"),
    [
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), "predicted classes as integers"),
        (torch.zeros(3, dtype=torch.long), torch.zeros(4, dtype=torch.long), "predicted classes as integers"),
        (torch.full((4,), CLASSES), torch.zeros(4, dtype=torch.long), "must lie in 0..5, got 6..6"),
        (torch.full((4,), -1), torch.zeros(4, dtype=torch.long), "must lie in 0..5, got -1..-1"),
        (torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, CLASSES), "shape of the multi-hot labels"),
        (torch.full((4, CLASSES), 2), torch.zeros(4, CLASSES), "must lie in 0..1, got 2..2"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(predictions, labels, message):
    with pytest.raises(InputError, match=message):
        _tracker(inputs="classes").update(predictions, labels)


def test_diagnostics_of_predicted_classes_are_refused(tmp_path):
    with pytest.raises(InputError, match="diagnostics need scores"):
        TBMetrics(tmp_path, classes=GROUPS, inputs="classes", diagnostics=True)
