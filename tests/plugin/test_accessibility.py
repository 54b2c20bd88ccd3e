"""The tab by axe-core's rules (WCAG 2.1 A and AA, and its best practices), in light and dark, in every state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.plugin.logs import tensorboard_server, wait_for_steps, write_log
from tests.plugin.tab import CONTRAST, HOSTILE, all_drawn, expect, open_frame, open_tab, screenshot

axe = pytest.importorskip("axe_playwright_python.sync_playwright")

pytestmark = pytest.mark.browser

RUNS = ("baseline/seed1", "baseline/seed2", "focal/seed1")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("logs")
    write_log(directory, runs=RUNS, attributes={"digit": 40, "hostile": HOSTILE}, steps=3)
    with tensorboard_server(directory) as url:
        wait_for_steps(url, len(RUNS), 3)
        yield url


def faults(page) -> list[str]:
    """What axe-core finds, one line each."""
    found = axe.Axe().run(page).response["violations"]
    return [f"{v['id']}: {node['target']} {node['failureSummary'][:300]}" for v in found for node in v["nodes"]]


STATES: dict[str, dict[str, Any]] = {
    "plain": {"attribute": "digit"},
    "one-run": {"attribute": "digit", "b": ""},
    "drawer": {"attribute": "digit", "open": "class 3"},
    "seeds": {"attribute": "digit", "seeds": "/seed\\d", "rule": "lvis", "ranks": "3-9"},
    "hostile": {"attribute": "hostile", "search": "<img"},
    "full": {"attribute": "digit", "full": "tradeoff"},
    "further": {"attribute": "digit", "columns": '["recall"]', "pick": "best"},
}


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_no_fault(page, board, state):
    page.set_viewport_size({"width": 1440, "height": 5600})  # every card in sight
    tab = open_frame(page, board, **STATES[state])
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        expect(tab.locator(".skeleton, [aria-busy=true]")).to_have_count(0)
        all_drawn(tab)
        assert faults(page) == [], theme
        assert page.locator("#longtail").evaluate(CONTRAST) == [], theme
        screenshot(page, f"all-{state}-{theme}")


def test_axe_finds_no_fault_in_an_open_menu_and_in_the_help(page, board):
    tab = open_frame(page, board, attribute="digit")
    tab.get_by_role("button", name="Menu of the card").first.click()
    expect(tab.get_by_role("menu")).to_be_visible()
    all_drawn(tab)
    assert faults(page) == []
    page.keyboard.press("Escape")
    tab.get_by_role("button", name="Keys").click()
    expect(tab.get_by_role("dialog", name="Keys")).to_be_visible()
    assert faults(page) == []


def test_everything_can_be_reached_by_keyboard_with_the_focus_in_sight(page, board):
    tab = open_tab(page, board, attribute="digit")
    frame = page.frames[-1]
    all_drawn(tab)  # what is drawn anew loses the focus
    tab.locator("h1").click()
    seen: set[str] = set()
    script = """() => {
      const e = document.activeElement;
      const style = getComputedStyle(e);
      const name = e.getAttribute('aria-label') || e.textContent.trim() || e.id;
      return [e.tagName + ' ' + name.slice(0, 40), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];
    }"""
    for _ in range(60):
        page.keyboard.press("Tab")
        name, visible = frame.evaluate(script)
        if name.startswith("BODY"):
            break
        assert visible, f"the focus on {name!r} cannot be seen"
        seen.add(name)
    text = " ".join(seen)
    for wanted in ("Keys", "Reload", "Menu of the card", "SELECT", "Filter runs", "Rule of the groups", "Tail up to"):
        assert wanted in text or wanted in tab.locator(".sidebar").inner_html(), wanted
    assert len(seen) > 20
    # A list is one stop; the arrows go within, Enter opens a class, Esc comes back to it.
    for items in (".mover-list >> nth=0 >> button", ".pairs tbody button", ".classes tbody:not(.spacer) button"):
        buttons = tab.locator(items)
        buttons.first.scroll_into_view_if_needed()
        all_drawn(tab)
        assert buttons.count() > 1
        assert sum(button.get_attribute("tabindex") == "0" for button in buttons.all()) == 1
        buttons.first.focus()
        page.keyboard.press("ArrowDown")
        expect(buttons.nth(1)).to_be_focused()
        expect(buttons.nth(1)).to_have_attribute("tabindex", "0")
        page.keyboard.press("Enter")
        expect(tab.get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Escape")
        expect(buttons.nth(1)).to_be_focused()
