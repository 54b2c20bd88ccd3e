"""Tables of runs as text: what names cannot do to Markdown and LaTeX, and that LaTeX compiles."""

import math
import re
import shutil
import subprocess

import pytest

from tbmetrics.comparing.escaping import latex_cell, markdown_cell
from tbmetrics.comparing.table_text import latex_text, markdown_text
from tbmetrics.comparing.tables import RunTable, TableCell, TableRow

HOSTILE = ("a_b & 50% #1", r"\input{x} ~^|", '[*] {x} $y$ <b> "q" `c`', "two\nlines -- |x|", "www.x.y https://z")
NAN = math.nan


def _table(names):
    cells = {
        "head": TableCell(0.8, 0.7, 0.9, NAN, 2, "best"),
        "tail": TableCell(0.4, NAN, NAN, 0.012, 3, "similar"),
        "all": TableCell(NAN, NAN, NAN, NAN, 0, "untold"),
        "gap": TableCell(-0.4, -0.5, -0.3, NAN, 5, "worse"),
    }
    rows = tuple(TableRow(name, ("r",) * (i + 1), (i,) * (i + 1), cells) for i, name in enumerate(names))
    notes = tuple(f"A note on {name!r}." for name in names)
    return RunTable("x_%", "recall", tuple(cells), {"head": 2, "tail": 3, "all": 5}, rows, notes)


def test_markdown_marks_and_pads_nothing():
    lines = markdown_text(_table(["plain"])).splitlines()
    assert lines[0] == "| run | head (2) | tail (3) | all (5) | gap |"
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: |"
    assert lines[2] == "| plain | **0.800** [0.700, 0.900] | 0.400 ± 0.012 ≈ | – ? | -0.400 [-0.500, -0.300] |"
    assert lines[4] == "- recall of 'x\\_%', mean over the classes of each group."


def test_hostile_names_end_no_cell_of_markdown():
    lines = markdown_text(_table(HOSTILE)).splitlines()
    for line in lines[: 2 + len(HOSTILE)]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 8, line
    assert not re.search(r"(?<!\\)[`<$]", "".join(lines))


def test_facts_that_differ_get_a_column_of_their_own():
    lines = markdown_text(_table(["one", "two"])).splitlines()
    assert lines[0].startswith("| run | runs | step | head (2) |")
    assert lines[3].startswith("| two | 2 | 1 |")


def test_latex_has_a_row_a_run_and_as_many_cells_as_columns():
    text = latex_text(_table(HOSTILE))
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    assert len(body) == len(HOSTILE)
    for line in body:
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == 6
        assert not re.search(r"(?<!\\)[%#~]", line)
    assert all(line.startswith("%") for line in text.split("\\begin{tabular}")[0].splitlines())
    assert r"\textbf{0.800} {\scriptsize [0.700, 0.900]}" in body[0]
    assert r"0.400$^{\approx}$ {\scriptsize $\pm$ 0.012}" in body[0]
    assert r"$-$0.400 {\scriptsize [$-$0.500, $-$0.300]}" in body[0]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_latex_compiles(tmp_path):
    start = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    (tmp_path / "table.tex").write_text(f"{start}{latex_text(_table(HOSTILE))}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-no-shell-escape", "-halt-on-error", "-interaction=nonstopmode", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").exists()


@pytest.mark.parametrize(
    ("name", "markdown", "latex"),
    [
        ("a_b", r"a\_b", r"a\_b"),
        ("50%", "50%", r"50\%"),
        ("a|b & c", r"a\|b \& c", r"a\textbar{}b \& c"),
        ("--x", r"\--x", "-{}-x"),
        ("a\r\nb\x00", "a b", "a b"),
    ],
)
def test_names_are_escaped(name, markdown, latex):
    assert (markdown_cell(name), latex_cell(name)) == (markdown, latex)
