"""The Long Tail tab at the size of iNaturalist: first chart, dragging, comparing, sorting, and cost for the server.

Logs of many runs are generated, TensorBoard is started on them with and without the tab's plugin, and Chromium opens
the tab, drags a threshold, sorts the table and compares other runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring import Comparison, Facts, Results, Run, in_turns, median
from tbmetrics.class_performance.flows import most_pairs
from tbmetrics.classes.groups import ClassGroups, count_buckets
from tbmetrics.records import (
    CALIBRATION_COLUMNS,
    CLASS_COLUMNS,
    CURVE_COLUMNS,
    GROUP_COLUMNS,
    GROUP_ROWS,
    PAIR_COLUMNS,
    ClassList,
    Record,
    Table,
)

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
FLAGS += ["--disable-background-networking", "--disable-component-update"]

START = """
import sys
from tensorboard import default, program
plugin = sys.argv.pop(1) == "with"
board = program.TensorBoard([p for p in default.get_plugins() if plugin or "longtail" not in p.__module__])
board.configure(sys.argv)
board.main()
"""

DRAGGING = "frame while dragging"
COMPARED = "another B compared"

FIRST_CHART = """() => new Promise(resolve => {
  const look = () => {
    const drawn = document.querySelector('.line-chart .run-line');
    if (drawn) resolve(performance.now());
    else requestAnimationFrame(look);
  };
  look();
})"""

DRAG = """async () => {
  const [, tail] = document.querySelectorAll('.threshold input[type=range]');
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
  const times = [];
  let last = await frame();
  for (let i = 0; i < 90; i += 1) {
    tail.value = String(5 + (i % 60));
    tail.dispatchEvent(new Event('input'));
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
}"""

SORT = """async () => {
  const times = [];
  for (const key of ['a', 'difference', 'name', 'count', 'b', 'difference', 'a']) {
    const button = document.querySelector(`.classes [data-sort=${key}]`);
    const before = performance.now();
    button.click();
    document.querySelector('.classes').getBoundingClientRect();
    times.push(performance.now() - before);
    await new Promise(resolve => setTimeout(resolve, 300));
  }
  return times;
}"""

#: From the choice of a run until the comparison is there and every card near the window is drawn.
COMPARE = """async run => {
  const frame = () => new Promise(resolve => requestAnimationFrame(resolve));
  const select = document.querySelector('select[aria-label="Run B"]');
  const main = document.querySelector('.main');
  const before = performance.now();
  select.value = run;
  select.dispatchEvent(new Event('change', { bubbles: true }));
  const isAnswered = () => performance
    .getEntriesByType('resource')
    .some(({ name }) => name.includes('/compare?') && name.includes(`run_b=${run}&`));
  do await frame();
  while (!isAnswered() || main.getAttribute('aria-busy') === 'true');
  return performance.now() - before;
}"""


def generate(folder: Path, classes: int, runs: int, validations: int) -> int:
    """Write the logs; return their size in bytes."""
    from tbmetrics.events.writer import EventWriter

    rng = np.random.default_rng(0)
    counts = np.maximum(2, 1000 * np.arange(1, classes + 1) ** -0.6).astype(int)
    species = ClassGroups.from_counts({"species": counts.tolist()})["species"]
    description = (species.names, species.counts, species.groups, species.rule, "single_label")
    class_list = ClassList("longtail/species/classes", "species", *description)
    for run in range(runs):
        with EventWriter(str(folder / f"run{run}"), policy="block") as writer:
            writer.write([class_list], step=0)
            for step in range(validations):
                writer.write(validation_tables(rng, species, step / validations), step=step)
    return sum(path.stat().st_size for path in folder.rglob("events.*"))


def validation_tables(rng: np.random.Generator, classes: Any, progress: float) -> list[Record]:
    """Generate the tables of one validation."""
    n, buckets = len(classes), count_buckets(classes, 48)
    names, details = buckets.names(), {"buckets": buckets.to_json()}
    values = (0.5 * progress + 0.5 * rng.random((n, len(CLASS_COLUMNS)))).astype(np.float32)
    values[:, :4] = np.floor(10 * values[:, :4])
    pairs = np.full((most_pairs(n), 3), 1, np.float32)
    pairs[:, :2] = rng.integers(0, n, (len(pairs), 2))
    size = len(buckets)

    def table(tag: str, kind: str, columns: Any, content: Any, *rest: Any) -> Table:
        return Table(f"longtail/species{tag}", "species", kind, columns, content, *rest)

    return [
        table("", "classes", CLASS_COLUMNS, values),
        table("/groups", "groups", GROUP_COLUMNS, _random(rng, 6, len(GROUP_COLUMNS)), GROUP_ROWS),
        table("/curves", "curves", CURVE_COLUMNS, _random(rng, n, len(CURVE_COLUMNS)).astype(np.float16)),
        table("/confusions", "confusions", PAIR_COLUMNS, pairs),
        table("/flow", "flow", (*names, "none"), _random(rng, size, size + 1), names, details),
        table("/calibration", "calibration", CALIBRATION_COLUMNS, _random(rng, size, 45), names, details),
    ]


def _random(rng: np.random.Generator, rows: int, columns: int) -> Any:
    return rng.random((rows, columns)).astype(np.float32)


class Board:
    """A running TensorBoard that took `seconds` to respond."""

    def __init__(self, logdir: Path, plugin: bool) -> None:
        port = _free_port()
        command = [sys.executable, "-c", START, "with" if plugin else "without"]
        start = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--logdir", str(logdir), "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "5"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"http://127.0.0.1:{port}/"
        self.until(lambda: _get(self.url + "data/environment"))
        self.seconds = time.perf_counter() - start

    def until(self, attempt: Any, timeout: float = 600) -> Any:
        """Call `attempt` until it returns something true; return that."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if result := attempt():
                return result
            time.sleep(0.02)
        raise TimeoutError(f"TensorBoard was not ready within {timeout} s")

    def megabytes(self) -> float:
        """Resident memory of the server and its data server."""
        process = psutil.Process(self._process.pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 2**20

    def close(self) -> None:
        """Stop TensorBoard."""
        self._process.terminate()
        self._process.wait(timeout=30)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=120) as response:
            content: bytes = response.read()
            return content
    except OSError:
        return None


def loaded(board: Board, runs: int, validations: int) -> bool:
    """Whether every run is loaded with every validation."""
    answer = json.loads(_get(board.url + "data/plugin/longtail/runs") or b'{"runs": []}')["runs"]
    steps = [len(attribute["steps"]) for run in answer for attribute in run["attributes"]]
    return len(steps) == runs and min(steps) == validations


def in_chromium(board: Board, runs: int) -> dict[str, list[float]]:
    """Milliseconds of user actions in the tab."""
    from playwright.sync_api import sync_playwright

    milliseconds: dict[str, list[float]] = {"first chart": [], DRAGGING: [], "sort": [], COMPARED: []}
    address = board.url + "data/plugin_entry.html?name=longtail"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address, wait_until="commit")
            milliseconds["first chart"].append(page.evaluate(FIRST_CHART))
            page.wait_for_selector(".classes tbody:not(.spacer) tr")
            page.close()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address + "#p.longtail.rule=lvis")
        page.wait_for_selector(".classes tbody:not(.spacer) tr")
        page.wait_for_load_state("networkidle")
        milliseconds[DRAGGING] = page.evaluate(DRAG)
        page.wait_for_timeout(2000)
        milliseconds["sort"] = page.evaluate(SORT)
        for run in range(2, min(runs, 8)):  # at first it is run1
            page.wait_for_load_state("networkidle")
            milliseconds[COMPARED].append(page.evaluate(COMPARE, f"run{run}"))
        browser.close()
    return milliseconds


def measure(run: Run) -> Results:
    """Time starts with and without the plugin, then user actions; measure the memory of the server."""
    if not run.has("playwright") or shutil.which("chromium") is None:
        run.skip("the tab", "needs playwright and Chromium")
        return []
    classes, runs, validations = run.choose((300, 4, 5), (8142, 10, 100))
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        ways = {"without the plugin": partial(start, empty, False), "with it": partial(start, empty, True)}
        starts = in_turns(ways, run.choose(2, 7))
        size = generate(Path(folder, "runs"), classes, runs, validations)
        scale = f"{classes:,} classes, {runs} runs, {validations} validations, {size / 2**20:,.0f} MiB of logs"
        milliseconds, memory = look(Path(folder, "runs"), runs, validations, size)
    rows = [[name, f"{median(times):.0f}", f"{max(times):.0f}"] for name, times in milliseconds.items()]
    frames = 1000 * len(milliseconds[DRAGGING]) / sum(milliseconds[DRAGGING])
    about = f"{scale}; {frames:.0f} frames a second while dragging"
    return [
        Comparison("TensorBoard's start", "s", "without the plugin", starts, watched=("with it",)),
        Facts("in the tab", ["what", "median (ms)", "worst (ms)"], rows, about),
        Facts(
            "memory of the server", ["when", "MiB"], [[when, f"{used:,.0f}"] for when, used in memory.items()], scale
        ),
    ]


def start(logdir: Path, plugin: bool) -> float:
    """Seconds until TensorBoard responds."""
    board = Board(logdir, plugin)
    board.close()
    return board.seconds


def look(logdir: Path, runs: int, validations: int, size: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of user actions, and MiB of the server's memory at several times."""
    plain = Board(logdir, plugin=False)
    time.sleep(max(10, size / 2**20 / 25))
    memory = {"loaded, without the plugin": plain.megabytes()}
    plain.close()
    board = Board(logdir, plugin=True)
    board.until(lambda: loaded(board, runs, validations))
    memory["loaded, with it"] = board.megabytes()
    milliseconds = in_chromium(board, runs)
    memory["after the tab was used"] = board.megabytes()
    board.close()
    return milliseconds, memory
