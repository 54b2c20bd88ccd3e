"""A short soak: nothing is left open, and the event file is as large as docs/scaling.md computes."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks import soak

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_thousand_steps_leave_no_file_or_thread_open_and_write_what_was_computed(tmp_path):
    soak.warm_up()
    course = soak.soak(tmp_path, steps=2000, epochs=2, looks=10)
    assert len(course.steps) == 10
    assert set(course.files) == {course.files[0]}
    assert set(course.threads) == {course.threads[0]}
    predicted = soak.predicted_bytes(2000, 2)
    assert abs(course.final_bytes - predicted) <= soak.SIZE_TOLERANCE * predicted


def test_what_grows_or_stays_open_is_named():
    steps = list(range(0, 20_000, 1000))
    course = soak.Course(steps, [10**6 + 50 * s for s in steps], [4] * 19 + [5], [2] * 20, [0] * 20, final_bytes=7)
    found = "; ".join(soak.faults(course, 20_000, 1))
    assert re.search(r"memory grows by 50\.00 .*open files went from 4 to 5.*the event file has 7 bytes", found)
    assert "threads" not in found


def test_the_page_gives_the_numbers_that_the_benchmark_predicts_with():
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    given = re.search(r"([\d,]+) \+ ([\d,]+) × steps \+ ([\d,]+) × detailed samples \+ ([\d,]+) × epochs", page)
    assert given is not None
    assert [int(number.replace(",", "")) for number in given.groups()] == [
        soak.FILE_BYTES, soak.STEP_BYTES, soak.DETAIL_BYTES, soak.EPOCH_BYTES
    ]  # fmt: skip
