"""Progress where there is no terminal: plain lines, not too many."""

import io
import sys

from tbmetrics.figures.progress import progress, progress_lines


def test_a_line_every_five_seconds_and_none_of_short_work(capsys):
    now = [0.0]
    show = progress_lines("export", clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        show(second, 20 if second < 8 else 0, f"figure {second}")
    assert capsys.readouterr().err.splitlines() == [
        "tbmetrics: export: 5 of 20 done, figure 5",
        "tbmetrics: export: 10 done, figure 10",
    ]


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("export") as show:
        show(1, 2, "a [bold]figure")
    assert "1/2" in sys.stderr.getvalue()


def test_where_it_is_not_to_be_shown_nothing_is(capsys):
    with progress("export", shown=False) as show:
        show(1, 2, "a figure")
    assert capsys.readouterr().err == ""
