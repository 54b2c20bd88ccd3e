"""The card of the contributor's page, put into a copy of the tab as the page says, in a real Chromium."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.plugin.logs import tensorboard_server, wait_for_steps, write_log

ROOT = Path(__file__).parents[2]
SAMPLES = re.compile(r"^```js\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def static(tmp_path, monkeypatch):
    """The tab's modules in a copy that TensorBoard finds first."""
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'plugins'}:{ROOT}")
    return tmp_path / "plugins" / "tbmetrics_longtail" / "static"


@pytest.mark.browser
def test_the_card_of_the_page_is_shown(page, static, tmp_path):
    module, lines = SAMPLES.findall((ROOT / "docs" / "contributing.md").read_text(encoding="utf-8"))
    imported, entry = lines.splitlines()
    name = re.search(r"'../(.*)'", imported)[1]
    (static / name).write_text(module, encoding="utf-8")
    cards = static / "app" / "cards.js"
    before = cards.read_text(encoding="utf-8")
    after = before.replace("import { el }", imported + "\nimport { el }", 1)
    after = after.replace("      summary:", f"{entry}\n      summary:", 1)
    assert after.count("\n") == before.count("\n") + 2
    cards.write_text(after, encoding="utf-8")

    truth = write_log(tmp_path / "runs", runs=("a",), attributes={"x": [f"c{i}" for i in range(30)]}, steps=3)
    with tensorboard_server(tmp_path / "runs") as board:
        wait_for_steps(board, 1, 3)
        page.goto(f"{board}data/plugin_entry.html?name=longtail")
        card = page.locator("[data-card=last]")
        card.locator("td").nth(3).wait_for()
        assert card.locator("h2").inner_text() == "Last values"
        shown = card.locator("td").all_inner_texts()
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
    expected = [truth["a"]["x"].group("f1", group)[-1] for group in ("head", "medium", "tail")]
    assert shown[0] == "a"
    np.testing.assert_allclose([float(text) for text in shown[1:]], expected, atol=1e-3)
