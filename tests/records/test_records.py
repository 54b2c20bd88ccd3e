"""Tags and the schema of tables: round trips for any name, refusal of newer versions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbmetrics import records
from tbmetrics.records import SchemaError, Table, tag_part, untag_part

names = st.text(max_size=60)


@given(names)
def test_any_name_survives_a_tag_and_stays_one_segment(name):
    part = tag_part(name)
    assert untag_part(part) == name
    assert "/" not in part
    assert part == part.strip()
    assert part not in {"", ".", ".."}
    assert part.isprintable()


def test_plain_names_stay_readable():
    assert records.scalar_tag("Vogelart (neu)", "f1", "tail") == "class_performance/Vogelart (neu)/f1/tail"
    assert records.class_pr_curve_tag("a/b", "50%") == "class_performance/a%2Fb/pr/class/50%25"


@given(names, st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_tables_survive_their_content(name, columns):
    values = np.arange(3 * len(columns), dtype=np.float32).reshape(3, -1)
    table = Table("t", name, "classes", tuple(columns), values, ("r",), {"k": 1})
    again = records.table_from_content("t", records.table_content(table), values)
    assert (again.attribute, again.columns, again.rows, again.details) == (name, tuple(columns), ("r",), {"k": 1})
    np.testing.assert_array_equal(again.column(columns[-1]), values[:, -1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_survive_being_packed_to_the_bit(dtype):
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(dtype)
    values[::7], values[3, 1], values[4, 2] = np.nan, np.inf, -0.0
    payload = records.packed_values(values)
    content = records.table_content(Table("t", "x", "classes", ("a", "b", "c"), values))
    again = records.table_from_content("t", content, np.array([payload], dtype=object))
    np.testing.assert_array_equal(again.values.view(np.int32), values.astype(np.float32).view(np.int32))
    assert len(records.packed_values(np.zeros((10_000, 3), dtype))) < 1000


@pytest.mark.parametrize(
    "damage",
    [
        lambda payload: b"",
        lambda payload: b"d" + payload[1:],
        lambda payload: payload[:-20],
        lambda payload: payload[:9] + b"no zlib",
        lambda payload: payload[:1] + b"\xff" * 8 + payload[9:],
        lambda payload: payload[:1] + b"\x01\0\0\0" + payload[5:],
    ],
)
def test_packed_values_that_are_damaged_or_claim_too_much_are_refused_by_tag(damage):
    values = np.arange(9000, dtype=np.float32).reshape(3000, 3)
    content = records.table_content(Table("t", "x", "classes", ("a", "b", "c"), values))
    payload = damage(records.packed_values(values))
    with pytest.raises(SchemaError, match="'t': the values of its table are damaged"):
        records.table_from_content("t", content, np.array([payload], dtype=object))


@given(st.lists(names, min_size=1, max_size=5))
def test_class_lists_survive_their_payload(chosen):
    size = len(chosen)
    classes = records.ClassList("t", "x", tuple(chosen), np.arange(size), ("tail",) * size, "lvis", "multi_label")
    again = records.class_list_from_payload("t", records.class_list_payload(classes))
    assert again.names == tuple(chosen)
    np.testing.assert_array_equal(again.counts, classes.counts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps({"schema_version": 2}).encode(), "written with schema 2; this tbmetrics reads up to 1; upgrade"),
        (b"{}", "names no schema version"),
        (b"[1]", "names no schema version"),
        (b"\xff\x00", "is not tbmetrics' JSON"),
    ],
)
def test_foreign_and_newer_content_is_refused_by_tag(content, message):
    with pytest.raises(SchemaError, match=message) as caught:
        records.decode_content("longtail/x", content)
    assert "'longtail/x'" in str(caught.value)


def test_a_tensor_that_does_not_fit_its_columns_is_refused():
    table = Table("t", "x", "classes", ("a", "b"), np.zeros((3, 2), np.float32))
    with pytest.raises(SchemaError, match=r"shape \(3, 5\) does not fit 2 columns"):
        records.table_from_content("t", records.table_content(table), np.zeros((3, 5)))
    with pytest.raises(KeyError, match="has no column 'c'; it has a, b"):
        table.column("c")
