"""The Long Tail tab at the size of iNaturalist: first chart, dragging a threshold, sorting, and what the server pays.

Logs of many runs are generated, TensorBoard is started on them with and without the tab's plugin, and Chromium opens
the tab, drags and sorts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
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


def generate(folder: Path, classes: int, runs: int, validations: int) -> int:
    """Writes the logs; returns their bytes."""
    from tbmetrics.events.writer import EventWriter

    random = np.random.default_rng(0)
    counts = np.maximum(2, 1000 * np.arange(1, classes + 1) ** -0.6).astype(int)
    of = ClassGroups.from_counts({"species": counts.tolist()})["species"]
    listed = ClassList("longtail/species/classes", "species", of.names, of.counts, of.groups, of.rule, "single_label")
    for run in range(runs):
        with EventWriter(str(folder / f"run{run}"), policy="block") as writer:
            writer.write([listed], step=0)
            for step in range(validations):
                writer.write(of_validation(random, of, step / validations), step=step)
    return sum(path.stat().st_size for path in folder.rglob("events.*"))


def of_validation(random: np.random.Generator, of: Any, progress: float) -> list[Record]:
    """The tables of one validation with values in [0, 1]."""
    n, buckets = len(of), count_buckets(of, 48)
    names, about = buckets.names(), {"buckets": buckets.to_json()}
    values = (0.5 * progress + 0.5 * random.random((n, len(CLASS_COLUMNS)))).astype(np.float32)
    values[:, :4] = np.floor(10 * values[:, :4])
    pairs = np.full((most_pairs(n), 3), 1, np.float32)
    pairs[:, :2] = random.integers(0, n, (len(pairs), 2))
    size = len(buckets)

    def table(tag: str, kind: str, columns: Any, content: Any, *rest: Any) -> Table:
        return Table(f"longtail/species{tag}", "species", kind, columns, content, *rest)

    return [
        table("", "classes", CLASS_COLUMNS, values),
        table("/groups", "groups", GROUP_COLUMNS, _random(random, 6, len(GROUP_COLUMNS)), GROUP_ROWS),
        table("/curves", "curves", CURVE_COLUMNS, _random(random, n, len(CURVE_COLUMNS)).astype(np.float16)),
        table("/confusions", "confusions", PAIR_COLUMNS, pairs),
        table("/flow", "flow", (*names, "none"), _random(random, size, size + 1), names, about),
        table("/calibration", "calibration", CALIBRATION_COLUMNS, _random(random, size, 45), names, about),
    ]


def _random(random: np.random.Generator, rows: int, columns: int) -> Any:
    return random.random((rows, columns)).astype(np.float32)


class Board:
    """A running TensorBoard; `seconds` until it answered."""

    def __init__(self, logdir: Path, plugin: bool) -> None:
        port = _free_port()
        command = [sys.executable, "-c", START, "with" if plugin else "without"]
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            [*command, "--logdir", str(logdir), "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "5"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"http://127.0.0.1:{port}/"
        self.until(lambda: _get(self.url + "data/environment"))
        self.seconds = time.perf_counter() - begin

    def until(self, attempt: Any, timeout: float = 600) -> Any:
        """What `attempt` returns once it returns anything true."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if found := attempt():
                return found
            time.sleep(0.02)
        raise TimeoutError(f"TensorBoard did not get there within {timeout} s")

    def megabytes(self) -> float:
        """Resident memory of the server and of its data server."""
        process = psutil.Process(self._process.pid)
        return sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]) / 2**20

    def close(self) -> None:
        """Ends it."""
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
        with urllib.request.urlopen(url, timeout=120) as answer:
            content: bytes = answer.read()
            return content
    except OSError:
        return None


def loaded(board: Board, runs: int, validations: int) -> bool:
    """Whether every run is there with every validation."""
    found = json.loads(_get(board.url + "data/plugin/longtail/runs") or b'{"runs": []}')["runs"]
    steps = [len(attribute["steps"]) for run in found for attribute in run["attributes"]]
    return len(steps) == runs and min(steps) == validations


def in_chromium(board: Board) -> dict[str, list[float]]:
    """Milliseconds of what a user does in the tab."""
    from playwright.sync_api import sync_playwright

    found: dict[str, list[float]] = {"first chart": [], DRAGGING: [], "sort": []}
    address = board.url + "data/plugin_entry.html?name=longtail"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for _ in range(3):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address, wait_until="commit")
            found["first chart"].append(page.evaluate(FIRST_CHART))
            page.wait_for_selector(".classes tbody:not(.spacer) tr")
            page.close()
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address + "#p.longtail.rule=lvis")
        page.wait_for_selector(".classes tbody:not(.spacer) tr")
        page.wait_for_load_state("networkidle")
        found[DRAGGING] = page.evaluate(DRAG)
        page.wait_for_timeout(2000)
        found["sort"] = page.evaluate(SORT)
        browser.close()
    return found


def measure(run: Run) -> Results:
    """Starts in turns; then the tab in Chromium, and what the server holds."""
    if not run.has("playwright") or shutil.which("chromium") is None:
        run.skip("the tab", "needs playwright and Chromium")
        return []
    classes, runs, validations = run.choose((300, 2, 5), (8142, 10, 100))
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        ways = {"without the plugin": lambda: start(empty, False), "with it": lambda: start(empty, True)}
        starts = in_turns(ways, run.choose(2, 7))
        size = generate(Path(folder, "runs"), classes, runs, validations)
        scale = f"{classes:,} classes, {runs} runs, {validations} validations, {size / 2**20:,.0f} MiB of logs"
        found, memory = look(Path(folder, "runs"), runs, validations, size)
    rows = [[name, f"{median(times):.0f}", f"{max(times):.0f}"] for name, times in found.items()]
    frames = 1000 * len(found[DRAGGING]) / sum(found[DRAGGING])
    about = f"{scale}; {frames:.0f} frames a second while dragging"
    return [
        Comparison("TensorBoard's start", "s", "without the plugin", starts, watched=("with it",)),
        Facts("in the tab", ["what", "median (ms)", "worst (ms)"], rows, about),
        Facts(
            "memory of the server", ["when", "MiB"], [[when, f"{used:,.0f}"] for when, used in memory.items()], scale
        ),
    ]


def start(logdir: Path, plugin: bool) -> float:
    """Seconds until TensorBoard answers."""
    board = Board(logdir, plugin)
    board.close()
    return board.seconds


def look(logdir: Path, runs: int, validations: int, size: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """(milliseconds of what a user does, MiB that the server holds)."""
    plain = Board(logdir, plugin=False)
    time.sleep(max(10, size / 2**20 / 25))
    memory = {"loaded, without the plugin": plain.megabytes()}
    plain.close()
    board = Board(logdir, plugin=True)
    board.until(lambda: loaded(board, runs, validations))
    memory["loaded, with it"] = board.megabytes()
    found = in_chromium(board)
    memory["after the tab was used"] = board.megabytes()
    board.close()
    return found, memory
