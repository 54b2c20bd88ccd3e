"""Processes in turns: each runs alone, ends, and is counted without the time that it was held."""

import sys

import pytest

from benchmarks.slices import in_slices

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="holds processes by signals")]


def test_each_process_is_held_while_others_run_and_reports(tmp_path):
    said = tmp_path / "order"
    found = in_slices("tests.benchmarks.sliced", {name: [name, str(said)] for name in ("a", "b")}, slice_seconds=0.1)
    assert {name: one["name"] for name, one in found.items()} == {"a": "a", "b": "b"}
    order = said.read_text()
    assert {"a", "b"} == set(order)
    assert order.strip("a").strip("b"), order  # neither ran to its end before the other had a turn
    assert all(one["ran"] == pytest.approx([one["wall"]] * 2, abs=0.1) for one in found.values())  # by its own clocks


def test_a_process_that_fails_is_an_error_with_what_it_said(tmp_path):
    with pytest.raises(RuntimeError, match="the way broke"):
        in_slices("tests.benchmarks.sliced", {"a": ["broken", str(tmp_path / "order")]}, slice_seconds=0.1)
