"""Tables survive JSON, and go between the marks of the page, and nowhere else."""

import pytest

from benchmarks.measuring import Comparison, Facts
from benchmarks.tables import as_json, from_json, markdown, marks, number, put

RESULTS = [
    Comparison("steps", "ms", "plain", {"plain": [1.0, 2.0, 3.0], "ours": [1.1, 2.2, 3.3]}, watched=("ours",)),
    Facts("sizes", ["what", "bytes"], [["file", "12"]], about="one run"),
]
AREA = {
    "results": as_json(RESULTS),
    "skipped": ["wandb is not installed"],
    "commit": "abc1234",
    "date": "2026-01-02 03:04 UTC",
    "size": "normal",
    "load": [0.1, 1.25],
    "machine": "a machine",
}


def test_results_survive_json():
    assert from_json(as_json(RESULTS)) == RESULTS


def test_a_table_has_the_commit_the_machine_the_ratio_and_its_spread():
    text = markdown(AREA)
    assert "Commit `abc1234`, 2026-01-02 03:04 UTC, normal size, load average 0.1 to 1.2; a machine." in text
    assert "**steps** (ratio: way ÷ plain; 3 turns)" in text
    assert "| ours | 2.200 | 1.100 | 1.100 to 1.100 | 1.100 | 1.100 |" in text
    assert "| file | 12 |" in text
    assert "Left out: wandb is not installed." in text


def test_tables_are_put_between_their_marks_again_and_again():
    first, last = marks("events")
    page = f"before\n{first}\nold\n{last}\nafter {marks('tab')[0]}\n"
    once = put(page, "events", "new")
    assert once == f"before\n{first}\n\nnew\n\n{last}\nafter {marks('tab')[0]}\n"
    assert put(once, "events", "new") == once


def test_a_page_without_a_place_is_refused():
    with pytest.raises(ValueError, match="has no place for 'events'"):
        put("nothing", "events", "new")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1.000"), (0.99812, "0.998"), (9.9, "9.900"), (27.24, "27.2"), (12345.6, "12,346"), (0.00123456, "0.00123")],
)
def test_numbers_have_the_digits_that_say_something(value, text):
    assert number(value) == text
