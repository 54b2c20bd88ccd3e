"""LongTailDiagnostics in real loops: records read back, both styles, what is left out and said, hooks removed."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tbmetrics import (
    ClassGroups,
    ClassPerformanceTracker,
    InputError,
    LongTailDiagnostics,
    MetricsManager,
    TBMetrics,
    TBMetricsWarning,
    ValidationBatch,
    read_run,
)
from tbmetrics.exporting import export
from tbmetrics.records import (
    DIAGNOSTIC_COLUMNS,
    EVERY_CLASS,
    FINDING_COLUMNS,
    REMEDY_COLUMNS,
    diagnostics_tag,
    findings_table_tag,
    findings_tag,
    gallery_tag,
    remedies_tag,
)
from tbmetrics.tracking.batches import TrainingBatch
from tests.training import train

COUNTS = {"a": 900, "b": 300, "c": 50, "d": 30, "e": 5, "f": 2}
GROUPS = ClassGroups.from_counts({"digit": COUNTS})


def _problem(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 6))
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def _loader(n=120):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(n) % 6
    inputs = torch.randn(n, 12, generator=generator) + labels[:, None] * 0.3
    return list(zip(inputs.split(30), labels.split(30), strict=True))


def _train_and_diagnose(tb, model, optimizer, epochs=2, images=True):
    for _ in tb.epochs(range(epochs)):
        train(model, optimizer, _loader(), tb)
        model.eval()
        with torch.no_grad():
            for inputs, labels in _loader():
                shown = inputs.reshape(-1, 1, 3, 4) if images else None
                tb.update(model(inputs), labels, images=shown)
        model.train()


def test_observe_takes_logits_and_labels_as_update_does_and_soft_targets():
    logits, labels = torch.randn(24, 6, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 6
    loss = F.cross_entropy(logits, labels, reduction="none")
    seen = []
    for batch in ((TrainingBatch(logits, labels, loss),), (logits, labels, loss), ({"digit": logits}, labels, loss)):
        tracker = LongTailDiagnostics(classes=GROUPS)
        tracker.observe(*batch)
        tracker.update(logits, labels)
        seen.append(tracker.get_metrics()["attributes"]["digit"]["classes"])
    assert seen[0] == seen[1] == seen[2]
    with pytest.raises(InputError, match=r"observe\(\) needs labels: observe\(logits, labels\)"):
        tracker.observe(logits)

    tracker.collect(0)  # a validation by class indices has settled that the attribute is single-label
    tracker.observe(logits, F.one_hot(labels, 6).float())
    tracker.observe(logits, F.one_hot(labels, 6) * 0.5)
    tracker.update(logits, labels)
    metrics = tracker.get_metrics()["attributes"]["digit"]
    expected = [c["training_accuracy"] for c in seen[0].values()]
    assert [c["training_accuracy"] for c in metrics["classes"].values()] == pytest.approx(expected)
    assert metrics["left_out"]["training targets"].startswith("24 observed rows of soft targets do not sum to 1")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    model, optimizer = _problem()
    with TBMetrics(
        folder / "a", model=model, optimizer=optimizer, classes=GROUPS, diagnostics=True, gradients=False, strict=True
    ) as tb:
        _train_and_diagnose(tb, model, optimizer)
        metrics = tb.get_metrics()
    assert not model[2]._forward_hooks
    return folder, model, metrics


def test_records_are_read_back_as_the_schema_says(run):
    folder, model, metrics = run
    history = read_run(folder / "a")
    assert history.problems == []
    table = history.tables[diagnostics_tag("digit")]
    assert table.steps.tolist() == [0, 1]
    assert (table[-1].kind, table[-1].columns, table[-1].values.shape) == ("diagnostics", DIAGNOSTIC_COLUMNS, (6, 25))
    np.testing.assert_allclose(table[-1].column("weight_norm"), model[2].weight.detach().norm(dim=1), rtol=1e-6)
    assert table[-1].column("samples_seen").tolist() == [40] * 6
    assert np.isfinite(table[-1].column("forgetting_events")).all()
    remedies = history.tables[remedies_tag("digit")][-1]
    assert (remedies.kind, remedies.columns) == ("remedies", REMEDY_COLUMNS)
    assert remedies.details["taus"][0] == 0.0
    assert len(remedies.details["remedies"]) == len(remedies.rows) == len(remedies.values)
    findings = history.tables[findings_table_tag("digit")][-1]
    assert (findings.kind, findings.columns) == ("findings", FINDING_COLUMNS)
    assert set(findings.rows) == set(findings.details["rules"])
    text = history.texts[findings_tag("digit")][-1].markdown
    reported = metrics["diagnostics"]["findings"]
    assert reported
    assert all(f["reference"] in text and f["title"] in text for f in reported)
    named = reported + metrics["diagnostics"]["other_rules"]
    severity = dict(zip(findings.rows, findings.column("severity"), strict=True))
    words = {"not found": 0, "noted": 1, "strong": 2}
    for finding in named:
        assert words.get(finding["severity"], -1) == (
            severity[finding["name"]] if severity[finding["name"]] >= 0 else -1
        )


def test_recall_is_that_of_class_performance_and_all_is_json(run):
    _, _, metrics = run
    ours = metrics["diagnostics"]["attributes"]["digit"]
    theirs = metrics["class_performance"]["class_metrics"]["digit"]
    assert {n: c["recall"] for n, c in ours["classes"].items()} == pytest.approx(
        {n: c["recall"] for n, c in theirs.items()}
    )
    assert ours["left_out"] == {}
    assert ours["classes"]["a"]["nearest_weight_class"] in COUNTS
    assert ours["groups"]["tail"]["n_classes"] == 2
    assert ours["groups"]["tail"]["samples_seen"] == 80
    json.dumps(metrics["diagnostics"], allow_nan=False)


@pytest.mark.slow
def test_the_export_has_figures_galleries_and_tables(run, tmp_path):
    folder, _, _ = run
    report = export(folder, tmp_path)
    assert report.problems == {}
    folder_of = tmp_path / "a" / "class_performance" / "digit"
    names = {path.relative_to(folder_of).as_posix() for path in report.files if folder_of in path.parents}
    assert {"findings.png", "classifier_by_class.png", "training_signal_by_class.png", "features_by_class.png",
            "remedies.png"} <= names  # fmt: skip
    history = read_run(folder / "a")
    sheets = [tag for tag in history.images if tag.startswith(gallery_tag("digit", "", "").rstrip("/"))]
    assert sheets
    last = [name for name in names if name.startswith("gallery/") and "step=" not in name]
    assert len(last) == len(sheets)
    tables = json.loads((tmp_path / "a" / "class_performance.json").read_text())["tables"]
    assert set(tables[diagnostics_tag("digit")]["values"]) == set(DIAGNOSTIC_COLUMNS)
    assert tables[remedies_tag("digit")]["rows"][0] == "none"
    others = export(folder, tmp_path / "b", only=["training_dynamics", "resource_usage"])
    assert not [path for path in others.files if "gallery" in path.parts]


def test_training_is_unchanged():
    weights = []
    for watched in (False, True):
        model, optimizer = _problem()
        tracker = LongTailDiagnostics(model, GROUPS) if watched else None
        if tracker is not None:
            tracker.start()
        for inputs, labels in _loader():
            logits = model(inputs)
            if tracker is not None:
                tracker.observe(TrainingBatch(logits, labels))
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(model[0].weight.detach().clone())
    assert torch.equal(*weights)


def test_without_a_model_and_without_batches_the_rest_is_told_and_the_lack_said(tmp_path):
    with TBMetrics(tmp_path, classes=GROUPS, diagnostics=True, resources=False, strict=True) as tb:
        for inputs, labels in _loader():
            tb.update(inputs[:, :6], labels)
        diagnosed = tb.get_metrics()["diagnostics"]
    left_out = diagnosed["attributes"]["digit"]["left_out"]
    assert left_out["classifier"] == left_out["features"] == left_out["tau_normalization"] == "no model was given"
    assert "call tb.observe(logits, labels)" in left_out["training"]
    assert diagnosed["attributes"]["digit"]["classes"]["a"]["weight_norm"] is None
    assert diagnosed["attributes"]["digit"]["classes"]["a"]["own_logit"] is not None
    untold = {rule["name"] for rule in diagnosed["other_rules"] if rule["severity"] == "could not be told"}
    assert {"features_collapsed", "tail_memorised"} <= untold


def test_observed_after_backward_the_missing_gradient_is_said():
    model, _ = _problem()
    tracker = LongTailDiagnostics(model, GROUPS)
    inputs, labels = _loader()[0]
    logits = model(inputs)
    F.cross_entropy(logits, labels).backward()
    tracker.observe(TrainingBatch(logits, labels))
    tracker.update(logits, labels)
    metrics = tracker.get_metrics()["attributes"]["digit"]
    assert "before backward()" in metrics["left_out"]["gradients"]
    assert metrics["classes"]["a"]["gradient_ratio"] is None
    assert metrics["classes"]["a"]["training_loss"] is not None


def test_classes_are_needed_and_said(tmp_path):
    with pytest.raises(InputError, match=r"diagnostics=True needs classes"):
        TBMetrics(tmp_path, diagnostics=True)
    with pytest.raises(InputError, match=r"give LongTailDiagnostics\(classes="):
        LongTailDiagnostics().observe(TrainingBatch(torch.zeros(2, 3), torch.zeros(2).long()))


def test_thresholds_of_the_session_are_used(tmp_path):
    from tbmetrics import ClassPerformanceTracker

    performance = ClassPerformanceTracker(classes=GROUPS, thresholds=0.9)
    logits = torch.full((12, 6), 1.0)
    labels = torch.ones(12, 6).long()
    with TBMetrics(tmp_path, class_performance=performance, diagnostics=True, resources=False, strict=True) as tb:
        tb.update(logits, labels)
        metrics = tb.get_metrics()
    assert metrics["diagnostics"]["attributes"]["digit"]["classes"]["a"]["recall"] == 0.0
    assert metrics["class_performance"]["class_metrics"]["digit"]["a"]["recall"] == 0.0


def test_two_attributes_of_one_pass(tmp_path):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(12, 6), nn.Linear(12, 3)

        def forward(self, x):
            return {"one": self.one(x), "other": self.other(x)}

    model = Two()
    groups = ClassGroups.from_counts({"one": list(COUNTS.values()), "other": [900, 60, 4]})
    with TBMetrics(tmp_path, model=model, classes=groups, diagnostics=True, gradients=False, strict=True) as tb:
        for epoch in tb.epochs(range(2)):
            model.train()
            for inputs, labels in _loader():
                targets = {"one": labels, "other": F.one_hot(labels % 3, 3)}
                logits = model(inputs)
                tb.observe(logits, targets)
                (logits["one"].square().mean() + logits["other"].square().mean()).backward()
            model.eval()
            for inputs, labels in _loader() if epoch else ():
                tb.update(model(inputs), {"one": labels, "other": F.one_hot(labels % 3, 3)})
        attributes = tb.get_metrics()["diagnostics"]["attributes"]
    assert set(attributes) == {"one", "other"}
    assert list(attributes["one"]["left_out"]) == []
    assert set(attributes["other"]["left_out"]) == {"tau_normalization"}
    assert attributes["other"]["classes"]["0"]["mean_norm"] is not None
    assert read_run(tmp_path).tables[diagnostics_tag("one")].steps.tolist() == [1]


@pytest.mark.slow
def test_one_update_for_a_whole_validation_finds_its_passes(tmp_path):
    model, optimizer = _problem()
    indices = {"digit": {name: i for i, name in enumerate(COUNTS)}}
    manager = MetricsManager(
        model, ["digit"], indices, None, {"digit": COUNTS}, tmp_path, optimizer=optimizer, diagnostics=True, strict=True
    )
    manager.start_epoch(1)
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(inputs) for inputs, _ in _loader()])
    manager.update_epoch_results({"digit": logits}, {"digit": torch.cat([y for _, y in _loader()])})
    manager.finalize()
    attributes = json.loads((tmp_path / "metrics.json").read_text())["diagnostics"]["attributes"]["digit"]
    assert attributes["classes"]["a"]["mean_norm"] is not None
    assert "tau_normalization" not in attributes["left_out"]
    assert list((tmp_path / "class_metrics").rglob("remedies.png"))


def test_rows_with_nan_or_unknown_label_are_left_out():
    logits, labels = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 6
    clean, dirty = (LongTailDiagnostics(classes=GROUPS) for _ in range(2))
    clean.update(logits[4:], labels[4:])
    labels[:2] = -1
    logits[2:4, 1] = float("nan")
    dirty.update(logits, labels)
    assert dirty.get_metrics() == clean.get_metrics()


@pytest.mark.parametrize("modes", [(torch.inference_mode, torch.no_grad), (torch.no_grad, torch.inference_mode)])
@pytest.mark.parametrize("multi_label", [False, True])
def test_one_validation_may_run_in_inference_mode_and_outside(tmp_path, modes, multi_label):
    model = torch.nn.Linear(4, len(COUNTS)).eval()
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % len(COUNTS)
    labels = torch.nn.functional.one_hot(labels) if multi_label else labels
    measured = []
    for name, pair in (("mixed", modes), ("plain", (torch.no_grad, torch.no_grad))):
        with TBMetrics(tmp_path / name, classes=GROUPS, model=model, diagnostics=True, strict=True) as tb:
            for _ in tb.epochs(range(2)):
                for mode, half, truth in zip(pair, inputs.chunk(2), labels.chunk(2), strict=True):
                    with mode():
                        tb.update(model(half), truth)
            measured.append(tb.get_metrics())
    for area in ("diagnostics", "class_performance"):
        assert str(measured[0][area]) == str(measured[1][area])
        assert measured[0][area]


def _numbers_of(diagnostics):
    table, groups = (diagnostics.get_metrics()["attributes"]["digit"][name] for name in ("classes", "groups"))
    return json.dumps([table, groups], sort_keys=True)


@pytest.mark.parametrize("multi", [False, True])
def test_a_batch_that_class_performance_has_checked_counts_as_one_given_alone(multi):
    generator = torch.Generator().manual_seed(0)
    shared, alone = LongTailDiagnostics(classes=GROUPS), LongTailDiagnostics(classes=GROUPS)
    performance = ClassPerformanceTracker(classes=GROUPS)
    for number in range(5):
        logits, labels = torch.randn(9, 6, generator=generator), torch.randint(-1, 6, (9,), generator=generator)
        if multi:
            labels = F.one_hot(labels.clamp(min=0), 6) - (torch.rand(9, 6, generator=generator) < 0.1).long()
            labels.clamp_(max=1)
        if number == 3:
            logits[0, 0] = float("nan")
        alone.update(logits, labels)
        batch = ValidationBatch(logits, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TBMetricsWarning)
            performance.validate(batch)
        assert set(batch.checked) == {"digit"}
        shared.validate(batch)
        logits.zero_()
        labels.zero_()
    assert _numbers_of(shared) == _numbers_of(alone)


def test_diagnostics_check_themselves_what_was_checked_for_other_classes_or_another_kind():
    batch = ValidationBatch(torch.zeros(2, 6), torch.tensor([0, 1]))
    ClassPerformanceTracker(classes=GROUPS).validate(batch)
    with pytest.raises(InputError, match=r"shape \(N, 2\)"):
        LongTailDiagnostics(classes=ClassGroups.from_counts({"digit": {"a": 9, "b": 1}})).validate(batch)
    diagnostics = LongTailDiagnostics(classes=GROUPS)
    diagnostics.update(torch.zeros(2, 6), torch.zeros(2, 6))
    with pytest.raises(InputError, match="was multi_label until now"):
        diagnostics.validate(batch)


@pytest.mark.parametrize("multi", [False, True])
def test_a_batch_may_be_changed_as_soon_as_it_was_given(multi):
    generator = torch.Generator().manual_seed(0)
    changed, kept = LongTailDiagnostics(classes=GROUPS), LongTailDiagnostics(classes=GROUPS)
    for _ in range(5):
        logits, labels = torch.randn(9, 6, generator=generator), torch.arange(9) % 6
        labels = F.one_hot(labels, 6).to(torch.int8) if multi else labels.int()
        kept.update(logits.clone(), labels.clone())
        changed.update(logits, labels)
        logits.zero_()
        labels.zero_()
    assert _numbers_of(changed) == _numbers_of(kept)


def test_bad_images_raise_at_once(tmp_path):
    with (
        TBMetrics(tmp_path, classes=GROUPS, diagnostics=True, resources=False) as tb,
        pytest.raises(InputError, match=r"images must have shape \(30, C, H, W\)"),
    ):
        tb.update(torch.zeros(30, 6), torch.arange(30) % 6, images=torch.zeros(29, 3, 4, 4))


def test_an_epoch_without_validation_gives_no_records_and_forgets_nothing():
    tracker = LongTailDiagnostics(classes=GROUPS)
    logits, labels = torch.randn(12, 6), torch.arange(12) % 6
    tracker.observe(TrainingBatch(logits, labels))
    assert tracker.collect(0) == []
    tracker.observe(TrainingBatch(logits, labels))
    tracker.update(logits, labels)
    before = tracker.get_metrics()
    assert len(tracker.collect(1)) > 3
    assert tracker.get_metrics() == before
    assert before["attributes"]["digit"]["classes"]["a"]["samples_seen"] == 4
    assert tracker.collect(2) == []


@pytest.mark.parametrize("mode", [lambda: torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode])
def test_under_autocast_and_in_inference_mode_sums_are_the_same(mode):
    """The logits are made outside, so that they are the same."""
    tables = []
    for surrounding in (torch.no_grad, mode):
        model, _ = _problem()
        tracker = LongTailDiagnostics(model, GROUPS)
        tracker.start()
        model.eval()
        for inputs, labels in _loader():
            with torch.no_grad():
                logits = model(inputs)
            with surrounding():
                tracker.update(logits, labels)
        tracker.collect(0)
        tracker.stop()
        tables.append(tracker.history.tables[diagnostics_tag("digit")][-1].values)
    np.testing.assert_array_equal(*tables)


def test_diagnostics_alone_take_the_sessions_updates(tmp_path):
    tracker = LongTailDiagnostics(classes=GROUPS)
    with TBMetrics(tmp_path, class_performance=False, diagnostics=tracker, resources=False, strict=True) as tb:
        for inputs, labels in _loader():
            tb.observe(inputs[:, :6], labels, F.cross_entropy(inputs[:, :6], labels, reduction="none"))
            tb.update(inputs[:, :6], labels)
    assert read_run(tmp_path).tables[diagnostics_tag("digit")].steps.tolist() == [0]
    assert "class_performance" not in tb.get_metrics()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taus": ()}, "taus must be numbers above 0, ascending"),
        ({"taus": (1.0, 0.5)}, "ascending"),
        ({"objective": "accuracy"}, "objective must be 'balanced_accuracy' or weights by group"),
        ({"objective": {"head": 0.0}}, "weights of at least 0"),
        ({"objective": {"rare": 1.0}}, "weights of at least 0 for head, medium, tail"),
        ({"gallery_size": 0}, "gallery_size must be a whole number of at least 1, got 0"),
        ({"classifiers": {"colour": "fc"}}, r"classifiers name attributes without classes: \['colour'\]"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LongTailDiagnostics(classes=GROUPS, **options)


@pytest.mark.slow
def test_names_are_only_ever_text(tmp_path):
    groups = ClassGroups.from_counts({"d/<i>$x$": {"<b>|`": 900, "$a_$": 300, "c": 4}})
    tracker = LongTailDiagnostics(classes=groups, save_dir=tmp_path)
    tracker.update(torch.randn(30, 3), torch.arange(30) % 3, images=torch.rand(30, 3, 4, 4))
    (text,) = (s.record.markdown for s in tracker.collect(0) if s.record.tag == findings_tag("d/<i>$x$"))
    assert "<i>" not in text
    assert tracker.visualize()
    assert list(tmp_path.rglob("*.png"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_on_cuda_the_numbers_are_those_of_the_cpu():
    tables = []
    for device in ("cpu", "cuda"):
        model, _ = _problem()
        model.to(device)
        tracker = LongTailDiagnostics(model, GROUPS)
        tracker.start()
        for inputs, labels in _loader():
            logits = model(inputs.to(device))
            tracker.observe(TrainingBatch(logits, labels.to(device)))
            F.cross_entropy(logits, labels.to(device)).backward()
        model.eval()
        for inputs, labels in _loader():
            tracker.update(model(inputs.to(device)), labels, images=inputs.reshape(-1, 1, 3, 4))
        tracker.collect(0)
        tracker.stop()
        tables.append(tracker.history.tables[diagnostics_tag("digit")][-1].values)
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3, atol=1e-4)


class _Attentive(nn.Module):
    """Patches of 2×2 pixels attend to each other; the mean goes to the classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Conv2d(1, 8, 2, 2), nn.Linear(8, 6)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))


def _sheets(folder, model, images, attention, inputs=lambda x: (x,), **options):
    """Height of each contact sheet of a run, by tag."""
    labels = torch.arange(len(images)) % 6
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TBMetrics(
        folder, model=model, optimizer=optimizer, classes=GROUPS, attention=attention, diagnostics=True, **options
    ) as tb:
        for _ in tb.epochs(range(2)):
            F.cross_entropy(model(*inputs(images)), labels).backward()
            optimizer.step()
            model.eval()
            with torch.no_grad():
                tb.update(model(*inputs(images)), labels, images=images)
            model.train()
    shown = read_run(folder).images
    tags = (tag for tag in shown if "/gallery/" in tag and EVERY_CLASS not in tag)
    return {tag: shown[tag][-1].pixels.shape[0] for tag in tags}


@pytest.mark.slow
def test_the_gallery_shows_where_the_model_looks_and_training_does_not_notice(tmp_path):
    images = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    plain, watched = _Attentive(), _Attentive()
    without = _sheets(tmp_path / "plain", plain, images, attention=False)
    seen = _sheets(tmp_path / "watched", watched, images, attention=True, strict=True)
    assert seen.keys() == without.keys()
    assert without
    assert all(seen[tag] > 1.5 * without[tag] for tag in seen)
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_a_model_that_takes_more_than_the_images_has_a_gallery_without_attention(tmp_path, caplog):
    class Two(_Attentive):
        def forward(self, images, scale):
            return super().forward(images * scale)

    images = torch.rand(60, 1, 8, 8)
    seen = _sheets(tmp_path, Two(), images, attention=True, inputs=lambda x: (x, 2.0), strict=True)
    assert len(seen) >= 2
    assert caplog.text.count("the gallery shows no attention") == 1
    assert "scale" in caplog.text
