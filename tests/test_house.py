"""Files stay short enough to be read at once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 350

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder, kind in (("tbmetrics", "*.py"), ("plugins", "*.py"), ("plugins", "*.js"), ("benchmarks", "*.py"))
    for path in (ROOT / folder).rglob(kind)
)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_file_can_be_read_at_once(name):
    lines = len((ROOT / name).read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{name} has {lines} lines, at most {MOST_LINES}: split it where it has a seam"
