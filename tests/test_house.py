"""Files stay short enough to be read at once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 350

#: Longer ones, each with the lines it may have and why it is one file. Shorten an entry with its file; add none.
LONGER = {
    "tbmetrics/training_dynamics/attention/tracker.py": (396, "one tracker: probe and hooks share its state"),
}

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder, kind in (("tbmetrics", "*.py"), ("plugins", "*.py"), ("plugins", "*.js"), ("benchmarks", "*.py"))
    for path in (ROOT / folder).rglob(kind)
)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_file_can_be_read_at_once(name):
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    most, why = LONGER.get(name, (MOST_LINES, ""))
    assert lines <= most, f"{name} has {lines} lines, at most {most}: split it where it has a seam"
    if why:
        assert lines > MOST_LINES, f"{name} is short enough now: take it off the list"


def test_the_list_names_files_that_exist():
    assert set(LONGER) <= set(SOURCES)
