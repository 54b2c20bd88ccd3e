"""Progress where there is no terminal: plain lines, not too many."""

import io
import sys

from tbmetrics.figures.progress import progress, progress_lines


def test_lines_say_the_latest_activity_while_it_lasts(capsys):
    said = ""
    with progress_lines("export", first=0.001, pause=0.001) as show:
        for state, line in (
            (None, "0 done, starting"),
            ((1, 20, "figure 1"), "1 of 20 done, figure 1"),
            ((11, 0, "figure 11"), "11 done, figure 11"),
        ):
            if state is not None:
                show(*state)
            while f"tbmetrics: export: {line}\n" not in said:
                said += capsys.readouterr().err


def test_short_work_prints_nothing(capsys):
    with progress_lines("export", first=600) as show:
        show(0, 20, "begins")
    assert capsys.readouterr().err == ""


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
