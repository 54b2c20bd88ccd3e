"""The first table of the page says what the results hold, and every line of it finds its result."""

import json

from benchmarks import glance
from benchmarks.__main__ import RESULTS
from benchmarks.measuring import Comparison
from benchmarks.tables import as_json


def test_ratios_differences_and_peers_are_those_of_the_turns():
    values = {"bare": [10.0, 20.0, 30.0], "ours": [11.0, 22.0, 33.0], "peer": [20.0, 40.0, 60.0]}
    areas = {"area": {"results": as_json([Comparison("x", "µs", "bare", values, watched=("ours",))])}}
    assert glance.ratio("area", "x", "ours", "peer")(areas) == "1.100 (1.100 to 1.100); peer: 2.000"
    assert glance.difference("area", "x", "ours")(areas) == "2.000 µs"


def test_every_line_finds_its_result():
    areas = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert "not measured" not in glance.table(areas)
