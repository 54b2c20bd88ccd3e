"""Figures of the diagnostics hold the numbers of their tables, for three classes and for thousands."""

import numpy as np
import pytest

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.figures.diagnostics import figures
from tbmetrics.figures.panels import contact_sheet, laid_over
from tbmetrics.records import (
    DIAGNOSTIC_COLUMNS,
    FINDING_COLUMNS,
    REMEDY_COLUMNS,
    ClassList,
    Table,
    class_list_tag,
    diagnostics_tag,
    findings_table_tag,
    remedies_tag,
)
from tbmetrics.records.history import History, TimedRecord
from tests.figures.drawing import by_name, png

KINDS = {"findings", "classifier_by_class", "training_signal_by_class", "features_by_class", "remedies"}
ROWS = ("none", "logit_adjustment/0.5", "logit_adjustment/1", "tau_normalization/1", "logit_adjustment/best",
        "tau_normalization/best")  # fmt: skip


def _history(counts, seed=0, empty=False):
    classes = ClassGroups.from_counts({"x": counts})["x"]
    rng = np.random.default_rng(seed)
    values = rng.uniform(0.1, 1, (len(counts), len(DIAGNOSTIC_COLUMNS)))
    remedies = rng.uniform(0.3, 0.9, (len(ROWS), len(REMEDY_COLUMNS)))
    findings = np.tile([2.0, 0.5, 0.1, 0.2, 0.5, 0.2, 3.0, 0.4, 0.6, 1.0, np.nan, np.nan], (3, 1))
    findings[1, 0], findings[2, 0] = np.nan, 0.0
    tables = [
        Table(diagnostics_tag("x"), "x", "diagnostics", DIAGNOSTIC_COLUMNS, values),
        Table(remedies_tag("x"), "x", "remedies", REMEDY_COLUMNS, remedies, ROWS),
        Table(findings_table_tag("x"), "x", "findings", FINDING_COLUMNS, findings, ("one", "two", "three"),
              {"rules": {"one": {"title": "A $cause$"}}}),
    ]  # fmt: skip
    history = History()
    history.add(TimedRecord(3, 0.0, ClassList(class_list_tag("x"), "x", classes.names, classes.counts, classes.groups,
                                          classes.rule, "single_label")))  # fmt: skip
    for table in tables:
        values = np.full_like(table.values, np.nan) if empty else table.values
        record = Table(table.tag, "x", table.kind, table.columns, values.astype(np.float32), table.rows, table.details)
        history.add(TimedRecord(3, 0.0, record))
    return history


def _drawn(history, **options):
    return by_name(figures(history, **options))


@pytest.mark.slow
def test_points_curves_and_bars_are_the_tables_numbers():
    history = _history({"a": 900, "b": 300, "c": 60, "d": 4})
    drawn = _drawn(history)
    assert set(drawn) == KINDS
    table = history.tables[diagnostics_tag("x")][-1]
    norms = drawn["classifier_by_class"].axes[0].collections
    head = norms[0].get_offsets()
    np.testing.assert_allclose(head[:, 0], [900, 300])
    np.testing.assert_allclose(head[:, 1], table.column("weight_norm")[:2], rtol=1e-6)
    remedies = history.tables[remedies_tag("x")][-1]
    curve = next(line for line in drawn["remedies"].axes[0].get_lines() if len(line.get_xdata()) == 3)
    np.testing.assert_allclose(curve.get_xdata(), remedies.column("head_recall")[:3], rtol=1e-6)
    np.testing.assert_allclose(curve.get_ydata(), remedies.column("tail_recall")[:3], rtol=1e-6)
    ax = drawn["findings"].axes[0]
    assert [round(bar.get_width(), 2) for bar in ax.patches] == [2.0, 0.04]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["A $cause$", "two", "three"]
    assert "could not be told" in {text.get_text() for text in ax.texts}


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 3, 200, 8142])
@pytest.mark.parametrize("empty", [False, True])
def test_any_number_of_classes_and_undefined_values_draw(classes, empty):
    counts = np.maximum(1, 1000 * 0.001 ** np.linspace(0, 1, classes)).astype(int)
    for figure in _drawn(_history(counts, empty=empty)).values():
        assert (png(figure) < 128).any()


def test_unknown_counts_and_single_steps_and_attributes():
    drawn = _drawn(_history([-1, -1, -1]))
    assert drawn["classifier_by_class"].axes[0].get_xlabel() == "class"
    history = _history([900, 60, 4])
    assert _drawn(history, attributes=["y"]) == {}
    assert set(_drawn(history, step=3)) == KINDS
    with pytest.raises(KeyError):
        _drawn(history, step=2)


@pytest.mark.parametrize("images", [1, 8, 20])
def test_a_contact_sheet_holds_every_image_with_its_caption(images):
    pixels = [np.full((6, 6, 3), 10 * i, dtype=np.uint8) for i in range(images)]
    captions = [f"class {i} → a class with quite a long $name$, p 0.{i}" for i in range(images)]
    sheet = contact_sheet(pixels, captions, "x: confident mistakes, tail")
    (ax,) = sheet.axes
    assert len(ax.images) == len(ax.texts) == images
    for i, (image, text) in enumerate(zip(ax.images, ax.texts, strict=True)):
        np.testing.assert_array_equal(image.get_array(), pixels[i])
        assert text.get_text().replace("\n", " ") == captions[i]
        left, right, bottom, top = image.get_extent()
        assert 0 <= left < right <= ax.get_xlim()[1]
        assert 0 < bottom < top < ax.get_ylim()[1]
    assert (png(sheet) < 128).any()


def test_attention_is_laid_over_in_orange_and_purple_where_its_patches_are():
    image = np.full((10, 30, 3), 128, dtype=np.uint8)
    weights = np.array([[0.1, 0.1, 0.5], [0.1, 0.1, 0.1]])
    drawn = laid_over(image, weights)
    assert drawn.shape == (100, 300, 3)
    red, blue = drawn[..., 0], drawn[..., 2]
    assert (red[:50, 200:] > blue[:50, 200:] + 0.2).all()
    assert (red[50:] < blue[50:]).all()
    assert (red[:50, :200] < blue[:50, :200]).all()
    even = laid_over(image, np.full((2, 3), 7.0))
    assert np.ptp(even) < 0.02


def test_a_contact_sheet_with_attention_has_each_image_twice_and_says_what_the_colours_mean():
    pixels = [np.zeros((8, 8, 3), dtype=np.uint8)] * 10
    plain, seen = (contact_sheet(pixels, ["a → b"] * 10, "t", a) for a in (None, np.random.rand(10, 4, 4)))
    assert (len(plain.axes[0].images), len(seen.axes[0].images)) == (10, 20)
    assert any("orange: more" in text.get_text() for text in seen.axes[0].texts)
    boxes = [image.get_window_extent() for image in seen.axes[0].images]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
