"""Progress where there is no terminal: plain lines, not too many."""

import io
import sys

from tbmetrics.figures.progress import progress, progress_lines


def test_a_line_after_a_second_then_every_five_and_none_of_short_work(capsys):
    now = [0.0]
    show = progress_lines("export", clock=lambda: now[0])
    show(0, 20, "begins")
    for second in range(1, 12):
        now[0] = float(second)
        show(second, 20 if second < 8 else 0, f"figure {second}")
    assert capsys.readouterr().err.splitlines() == [
        "tbmetrics: export: 1 of 20 done, figure 1",
        "tbmetrics: export: 6 of 20 done, figure 6",
        "tbmetrics: export: 11 done, figure 11",
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
