"""The Long Tail tab as tests use it: opened inside TensorBoard or alone, read, and photographed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
UNDEFINED = "–"
HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "</script><script>document.title='owned'</script>",
    "שלום עולם \u202e reversed",
    "🦦👩‍👩‍👧‍👦 otters",
    "x" * 500,
    "../../etc/passwd",
    "\"quoted\" & 'single' % # ? +",
]


def open_tab(page: Any, url: str, **state: str) -> Any:
    """The tab's frame inside TensorBoard, once its table is there."""
    page.goto(f"{url}#longtail&{_hash(state)}")
    return _once_there(page.frame_locator("iframe"))


def open_frame(page: Any, url: str, **state: str) -> Any:
    """What TensorBoard puts into the tab's frame, alone: faster, and the same but for TensorBoard around it."""
    page.goto(f"{url}data/plugin_entry.html?name=longtail#{_hash(state)}")
    return _once_there(page)


def _hash(state: dict[str, str]) -> str:
    return "&".join(f"p.longtail.{key}={quote(value)}" for key, value in state.items())


def _once_there(tab: Any) -> Any:
    expect(tab.locator(".classes tbody:not(.spacer) tr").first).to_be_visible()
    _settled(tab, "classes")
    return tab


def _settled(tab: Any, name: str) -> None:
    """Nothing that the card shows, of A or of B, is still on its way."""
    expect(tab.locator(f"[data-card={name}][aria-busy=false]")).to_have_count(1)


def all_drawn(tab: Any) -> None:
    """Everything near the window has come and is drawn: for what is read at one instant, or by its place.

    Scrolling is noticed in the frame that follows it.
    """
    main = tab.locator("main")
    main.evaluate("() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    expect(main).to_have_attribute("aria-busy", "false")


def eventually(page: Any, read: Callable[[], bool]) -> None:
    """Waits until `read` is true, for what no locator tells."""
    while not read():
        page.wait_for_timeout(50)


def rows(tab: Any) -> list[list[str]]:
    """The texts of the rows in the page, but for the trend lines."""
    _settled(tab, "classes")
    script = "rows => rows.map(row => [...row.cells].slice(0, -1).map(cell => cell.textContent.trim()))"
    return tab.locator(".classes tbody:not(.spacer) tr").evaluate_all(script)


def card(tab: Any, name: str) -> Any:
    """A card, scrolled to and drawn: those far from the window rest."""
    found = tab.locator(f"[data-card={name}]")
    found.scroll_into_view_if_needed()
    all_drawn(tab)  # the cards above it, too: what is pressed may move before it is let go
    _settled(tab, name)
    expect(found.locator(".body > *").first).to_be_visible()
    return found


def screenshot(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=str(ARTIFACTS / f"longtail-{name}.png"))


def shown(value: float, signed: bool = False) -> str:
    """A value as the tab writes it."""
    if np.isnan(value):
        return UNDEFINED
    text = f"{abs(value):.3f}"
    zero = float(text) == 0
    return ("−" if value < 0 and not zero else "+" if signed and value > 0 and not zero else "") + text


def drawn_values(chart: Any) -> list[list[float]]:
    """The values of every line of a chart, read back through its axis."""
    script = """chart => {
      const ticks = [...chart.querySelectorAll('.tick')].map(tick => [
        Number(tick.querySelector('text').textContent.replace('−', '-')),
        Number(tick.querySelector('line').getAttribute('y1'))]);
      return {ticks, lines: [...chart.querySelectorAll('.run .run-line')].map(line => line.getAttribute('d'))};
    }"""
    found = chart.evaluate(script)
    (v0, y0), (v1, y1) = found["ticks"][0], found["ticks"][-1]
    heights = [[float(point.split(" ")[1]) for point in re.split("[ML]", line)[1:]] for line in found["lines"]]
    return [[v0 + (y - y0) / (y1 - y0) * (v1 - v0) for y in line] for line in heights]


#: JavaScript: texts in sight whose contrast with what is behind them is below WCAG's AA.
CONTRAST = """root => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((v, i) => v * top[3] + below[i] * (1 - top[3]));
  const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(rgba(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const faults = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest('option')) continue;
    const style = getComputedStyle(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    const ground = behind(element);
    const [l, d] = [luminance(over(ink, ground)), luminance(ground)].sort((p, q) => q - p);
    const ratio = (l + 0.05) / (d + 0.05);
    if (ratio < 4.5) faults.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return faults;
}"""
