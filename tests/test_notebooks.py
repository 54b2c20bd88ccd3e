"""Notebooks, run by a real kernel: figures show, and `%tensorboard` starts a TensorBoard that has the tab."""

import json
import os
import stat
import sys

import pytest
import torch

from tbmetrics import ClassGroups, ClassPerformanceTracker
from tbmetrics.figures.output import MOST_SHOWN, Figures
from tbmetrics.figures.style import new_figure

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"
SAME_PATH = f"import sys\nsys.path[:0] = {sys.path!r}\n"  # a kernel does not inherit PYTHONPATH
MEASURE = f"""{SAME_PATH}
import torch
from tbmetrics import ClassGroups, ClassPerformanceTracker
tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts(dict(digit=[900, 50, 3])))
tracker.update(torch.eye(3), torch.tensor([0, 1, 2]))
"""

ASK = """
import os, signal, urllib.request
from tensorboard import manager
(board,) = manager.get_all()
try:
    print(urllib.request.urlopen(f"http://localhost:{board.port}/data/plugins_listing").read().decode())
finally:
    os.kill(board.pid, signal.SIGTERM)
"""


def test_a_figure_is_a_picture_and_a_dictionary_of_them_is_a_page():
    tracker = ClassPerformanceTracker(classes=ClassGroups.from_counts({"digit": [900, 50, 3]}))
    tracker.update(torch.eye(3), torch.tensor([0, 1, 2]))
    drawn = tracker.visualize()
    assert all(figure._repr_png_().startswith(PNG) for figure in drawn.values())
    page = drawn._repr_html_()
    assert page.count("<img ") == len(drawn)
    for name in drawn:
        assert f"<figcaption>{name}</figcaption>" in page


def test_names_are_text_and_very_many_figures_are_cut_off():
    figure, _ = new_figure("x")
    page = Figures({f"<script>{i}": figure for i in range(MOST_SHOWN + 2)})._repr_html_()
    assert "<script>" not in page
    assert page.count("<img ") == MOST_SHOWN
    assert "and 2 more: &lt;script&gt;40, &lt;script&gt;41" in page
    assert "nothing was measured" in Figures()._repr_html_()


def _run_cells(*cells, env):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient").NotebookClient
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client(notebook, timeout=180, kernel_name="python3").execute(env={**os.environ, **env})
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.filterwarnings("ignore")  # of the kernel's own
def test_a_kernel_shows_figures_with_and_without_pyplot():
    outputs = _run_cells(
        MEASURE + "tracker.visualize()", "%matplotlib inline", 'tracker.visualize()["digit/pr_curves"]', env={}
    )
    assert outputs[0][-1].data["text/html"].count("<img ") >= 5
    assert "image/png" in outputs[2][-1].data


@pytest.mark.filterwarnings("ignore")
def test_the_magic_starts_a_tensorboard_with_the_tab(tmp_path):
    binary = tmp_path / "tensorboard"
    binary.write_text(f"#!{sys.executable}\n{SAME_PATH}from tensorboard.main import run_main\nrun_main()\n")
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    outputs = _run_cells(
        MEASURE,
        f"from tbmetrics import TBMetrics\nwith TBMetrics({str(tmp_path / 'runs')!r}, classes=tracker.classes) as tb:\n"
        "    tb.update(torch.eye(3), torch.tensor([0, 1, 2]))",
        "%load_ext tensorboard",
        f"%tensorboard --logdir {tmp_path / 'runs'} --port 0 --load_fast=false",
        ASK,
        env={"TENSORBOARD_BINARY": str(binary), "TMPDIR": str(tmp_path)},
    )
    shown = " ".join(output.data.get("text/html", "") for output in outputs[3] if "data" in output)
    assert "iframe" in shown, outputs[3]
    assert json.loads(outputs[4][0].text)["longtail"]["tab_name"] == "Long Tail"
