"""Draws docs/images from the runs of `tbmetrics demo`: `python -m tests.pictures runs/demo`.

The tab as a reader sees it first, a sheet of four views for the README, the attention of the demo's model, and the
heat map of its gradients.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from PIL import Image, ImageDraw, ImageFont

import tbmetrics
from tests.browser import chromium
from tests.plugin.logs import get_json, plugin_url, tensorboard_server
from tests.processes import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = Path(__file__).parents[1] / "docs" / "images"
RUNS = {"a": "cross_entropy/seed0/test", "b": "logit_adjusted/seed0/test"}
TAB = {"attribute": "number", "metric": "recall", "filter": "test$", "seeds": r"/seed\d+", **RUNS}
TRAINING = {**TAB, "filter": "seed.$", **{side: run.removesuffix("/test") for side, run in RUNS.items()}}
CLASS = {**TRAINING, "full": "classes", "open": "01"}
WIDTH, TILE, GAP, TITLE = 1600, (792, 560), 16, 34
SIDEBAR = 256
#: No card within the window waits for data.
ALL_SHOWN = """() => [...document.querySelectorAll('[aria-busy=true]')].every(
  (card) => card.getBoundingClientRect().top > window.innerHeight || card.getBoundingClientRect().height === 0)"""
FOLDER = "logit_adjusted-seed0"
ATTENTION, HEAT_MAP = "attention/prompt_attention/overlay.png", "training_dynamics/gradient_heatmap.png"
GALLERY = "class_performance/number/gallery/confident_mistakes/tail.png"
FIGURE = "class_performance/number/f1_by_training_count.png"


def view(page: Page, address: str, state: dict[str, str], width: int, height: int, part: str = "body") -> Image.Image:
    """A part of the tab in a state, light, in a window of this size."""
    page.set_viewport_size({"width": width, "height": height})
    page.goto("about:blank")
    page.goto(f"{address}#{'&'.join(f'p.longtail.{key}={quote(value)}' for key, value in state.items())}")
    page.locator("[data-card]").first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_function(ALL_SHOWN)
    return Image.open(io.BytesIO(page.screenshot(clip=page.locator(part).bounding_box()))).convert("RGB")


def sheet(views: dict[str, Image.Image]) -> Image.Image:
    """Four views in two columns, each below its title."""
    rows = (len(views) + 1) // 2
    whole = Image.new("RGB", (WIDTH, rows * (TILE[1] + TITLE + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(22)
    for place, (title, picture) in enumerate(views.items()):
        x, y = place % 2 * (TILE[0] + GAP), place // 2 * (TILE[1] + TITLE + GAP)
        draw.text((x + 4, y + 2), title, fill="#333333", font=font)
        fitted = picture.copy()
        fitted.thumbnail(TILE, Image.Resampling.LANCZOS)
        whole.paste(fitted, (x + (TILE[0] - fitted.width) // 2, y + TITLE))
        draw.rectangle((x, y + TITLE, x + TILE[0] - 1, y + TITLE + TILE[1] - 1), outline="#d0d0d0")
    return whole


def save(picture: Image.Image, name: str) -> None:
    """Write a picture of 256 colours into docs/images."""
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)
    print(f"{name}: {picture.width} × {picture.height}, {(IMAGES / name).stat().st_size // 1000} kB", flush=True)


def draw_all(log_dir: Path, figures: Path) -> None:
    """Draw every picture from the demo's runs and the figures exported from them."""
    with tensorboard_server(log_dir) as board, chromium() as browser:
        wait_until(lambda: get_json(plugin_url(board, "runs"))["runs"], lambda runs: len(runs) >= 12)
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(60_000)
        address = f"{board}data/plugin_entry.html?name=longtail"
        save(view(page, address, TRAINING, 1440, 1190), "long-tail-tab.png")
        views = {
            "All runs, and what can be said of two": view(page, address, TAB, TILE[0] + SIDEBAR, TILE[1], part="main"),
            "Every class, and what it is mistaken for": view(page, address, CLASS, *TILE),
            "Why the tail fails, and what would help": view(page, address, {**TRAINING, "full": "diagnosis"}, *TILE),
            "The same as figures, CSV and JSON": Image.open(figures / FOLDER / FIGURE).convert("RGB"),
        }
    save(sheet(views), "four-views.png")
    for figure, name in (
        (ATTENTION, "attention-overlay.png"), (HEAT_MAP, "gradient-heatmap.png"), (GALLERY, "gallery-attention.png")
    ):  # fmt: skip
        save(Image.open(figures / FOLDER / figure), name)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log_dir", type=Path, help="what `tbmetrics demo` wrote")
    log_dir = parser.parse_args().log_dir
    with tempfile.TemporaryDirectory() as figures:
        tbmetrics.export(log_dir, figures, runs="logit_adjusted/seed0$", formats=["png"])
        draw_all(log_dir, Path(figures))


if __name__ == "__main__":
    main()
