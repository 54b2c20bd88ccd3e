"""Diagnostics in the tab: a real run's findings, remedies and classes, as the log has them."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics
from tbmetrics.events.reader import read_run
from tbmetrics.records import (
    ALL,
    EVERY_CLASS,
    GALLERY_KINDS,
    class_images_tag,
    diagnostics_tag,
    findings_table_tag,
    gallery_tag,
    remedies_tag,
)
from tbmetrics_longtail.diagnosis import WORDS, _sentence
from tests.plugin.logs import get, get_json, tensorboard_server, wait_for_steps
from tests.plugin.tab import card, expect, open_frame, screenshot, shown

pytestmark = pytest.mark.slow

COUNTS = {"a": 400, "b": 200, "c": 60, "d": 30, "<img src=x onerror=alert(1)>": 6, "f": 3}


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Two runs of a linear classifier whose weight norms follow the training counts."""
    root = tmp_path_factory.mktemp("runs")
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(6, 16, generator=generator)
    labels = torch.arange(6).repeat(40)
    inputs = centres[labels] + 0.9 * torch.randn(240, 16, generator=generator)
    images = torch.randint(0, 256, (240, 3, 12, 12), generator=generator, dtype=torch.uint8)
    for run, factor in (("biased", 1.0), ("even", 0.0)):
        model = torch.nn.Linear(16, 6)
        sizes = torch.tensor(list(COUNTS.values())).float() ** (0.3 * factor)
        with torch.no_grad():
            model.weight.copy_(centres / centres.norm(dim=1, keepdim=True) * (sizes / sizes.mean())[:, None])
            model.bias.zero_()
        groups = ClassGroups.from_counts({"x": COUNTS})
        with TBMetrics(root / run, model=model, classes=groups, gradients=False, diagnostics=True) as tb:
            for _ in tb.epochs(range(3)):
                model.train()
                tb.observe(model(inputs[::3]), labels[::3])
                model.eval()
                tb.update(model(inputs), labels, images=images if run == "biased" else None)
    return root


@pytest.fixture(scope="module")
def board(logdir):
    with tensorboard_server(logdir) as url:
        wait_for_steps(url, 2, 3)
        yield url


def _route(board, name, **query):
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return f"{board}data/plugin/longtail/{name}?{text}"


def test_findings_and_remedies_are_the_logs_strongest_first(board, logdir):
    answer = get_json(_route(board, "diagnosis", run="biased", attribute="x", step=2))
    tables = read_run(logdir / "biased").tables
    findings, remedies = tables[findings_table_tag("x")][-1], tables[remedies_tag("x")][-1]
    by_name = {finding["name"]: finding for finding in answer["findings"]}
    assert set(by_name) == set(findings.rows)
    for name, row in zip(findings.rows, findings.values, strict=True):
        expected = row[findings.columns.index("severity")]
        assert by_name[name]["severity"] == (None if np.isnan(expected) else expected)
        about = findings.details["rules"][name]
        assert {key: by_name[name][key] for key in WORDS} == {key: about[key] for key in WORDS}
    bias = by_name["classifier_bias"]
    assert f"balanced accuracy would change by {bias['value']:+.2f} (" in bias["says"]
    assert by_name["remedy_would_help"]["says"].startswith(("logit adjustment", "τ-normalisation"))
    severities = [-1 if f["severity"] is None else f["severity"] for f in answer["findings"]]
    assert severities == sorted(severities, reverse=True)
    assert [f"{r['remedy']}/best" for r in answer["remedies"] if r["best"]] == [
        name for name in remedies.rows if name.endswith("/best")
    ]
    base = answer["remedies"][0]
    assert base["remedy"] == "none"
    assert base["tail_recall"] == pytest.approx(float(remedies.column("tail_recall")[0]))


def test_logs_without_sentences_have_none_and_names_come_from_the_log():
    assert _sentence("", {"value": 1.0}, ()) == ""
    assert _sentence("{remedy} by {value:.1f}", {"value": 1.0, "remedy": 1.0}, ["a", "b"]) == "b by 1.0"
    for odd in (None, ["a"], "ab"):
        assert _sentence("{remedy}by {value:.1f}", {"value": 1.0, "remedy": 1.0}, odd) == "by 1.0"


def test_a_class_is_told_with_other_classes_by_name(board, logdir):
    answer = get_json(_route(board, "class_diagnosis", run="biased", attribute="x", step=2, class_index=5))
    table = read_run(logdir / "biased").tables[diagnostics_tag("x")][-1]
    assert answer["class"] == "f"
    assert answer["values"]["weight_norm"] == pytest.approx(float(table.column("weight_norm")[5]))
    nearest = int(table.column("nearest_weight_class")[5])
    assert answer["values"]["nearest_weight_class"] == list(COUNTS)[nearest]


def test_before_the_first_diagnosis_it_says_so(board):
    status, _, body = get(_route(board, "diagnosis", run="biased", attribute="x", step=-1))
    assert status == 400
    assert "nothing was diagnosed" in json.loads(body)["error"]


@pytest.mark.browser
def test_the_card_shows_findings_and_the_plot_remedies(page, board, tmp_path):
    answer = get_json(_route(board, "diagnosis", run="biased", attribute="x", step=2))
    tab = open_frame(page, board, attribute="x", a="biased", b="even")
    found = card(tab, "diagnosis")
    side = found.locator(".finding-side[data-side=A]")
    titles = [f["title"] for f in answer["findings"] if (f["severity"] or 0) > 0]
    assert titles
    expect(side.locator("[data-finding] strong")).to_have_text(titles)
    best = next(r for r in answer["remedies"] if r["best"])
    before, after = (f"{row['tail_recall']:.2f}" for row in (answer["remedies"][0], best))
    expect(side.locator(".remedy").first).to_contain_text(f"tail recall from {before} to {after}")
    expect(found.locator(".ring").first).to_be_visible()
    screenshot(page, "diagnosis")
    found.get_by_role("button", name="Menu of the card").click()
    with page.expect_download() as download:
        found.get_by_role("menuitem", name="Download SVG").click()
    download.value.save_as(tmp_path / "remedies.svg")
    texts = [element.text for element in ElementTree.parse(tmp_path / "remedies.svg").iter() if element.text]
    assert {"Remedies without training", "attribute x", "biased (step 2)", "● logit adjustment"} <= set(texts)


@pytest.mark.browser
def test_the_drawer_has_the_diagnostics_of_the_class(page, board):
    name = list(COUNTS)[4]
    tab = open_frame(page, board, attribute="x", a="biased", b="even", open=name)
    values = get_json(_route(board, "class_diagnosis", run="biased", attribute="x", step=2, class_index=4))["values"]
    row = tab.locator("[data-table=diagnostics] tr", has_text="Weight norm")
    expect(row.locator("td").first).to_have_text(shown(values["weight_norm"]))
    assert page.title() != "owned"


def test_the_gallery_is_of_the_group_of_the_class_and_its_pictures_are_the_logs(board, logdir):
    of = {"run": "biased", "attribute": "x"}
    found = get_json(_route(board, "gallery", **of, step=2, class_index=5))
    assert (found["class"], found["group"]) == ("f", "tail")
    assert {sheet["kind"] for sheet in found["sheets"]} <= set(GALLERY_KINDS)
    assert found["sheets"]
    images = read_run(logdir / "biased").images
    for sheet in found["sheets"]:
        status, headers, body = get(_route(board, "gallery_image", **of, group="tail", **sheet))
        assert status == 200
        assert headers["Content-Type"] == "image/png"
        series = images[gallery_tag("x", sheet["kind"], "tail")]
        truth = series[list(series.steps).index(sheet["step"])].pixels
        drawn = np.asarray(PIL.Image.open(io.BytesIO(body)))
        np.testing.assert_array_equal(drawn[..., :3], truth[..., :3])
    assert get_json(_route(board, "gallery", run="even", attribute="x", step=2, class_index=5))["sheets"] == []


def test_the_images_of_a_class_are_those_of_the_log(board, logdir):
    about = {"run": "biased", "attribute": "x"}
    answer = get_json(_route(board, "gallery", **about, step=2, class_index=5))["images"]
    run = read_run(logdir / "biased")
    table = run.tables[class_images_tag("x")].at(answer["step"])
    expected = table.values[(table.values[:, :2] == 5).any(axis=1)]
    names = list(COUNTS)
    assert answer["n_stored"] == (~np.isnan(table.column("label"))).sum()
    assert [names.index(image["label"]) for image in answer["images"]] == expected[:, 0].tolist()
    assert [names.index(image["predicted"]) for image in answer["images"]] == expected[:, 1].tolist()
    assert [image["place"] for image in answer["images"]] == expected[:, 3:].tolist()
    sheet = _route(board, "gallery_image", **about, kind=EVERY_CLASS, group=ALL, step=answer["step"])
    _, headers, body = get(sheet)
    assert headers["Content-Type"] == "image/png"
    truth = run.images[gallery_tag("x", EVERY_CLASS, ALL)]
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(body))), truth[-1].pixels)
    assert get_json(_route(board, "gallery", run="even", attribute="x", step=2, class_index=5))["images"] is None


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kind": "../secret"}, "kind '../secret' is unknown"),
        ({"group": "head/../tail"}, "is unknown"),
        ({"step": 77}, "no sheet was drawn at step 77"),
    ],
)
def test_no_other_picture_is_served(board, asked, said):
    query = {"run": "biased", "attribute": "x", "kind": "hardest_correct", "group": "tail", "step": 2} | asked
    status, _, body = get(_route(board, "gallery_image", **query))
    assert status == 400
    assert said in json.loads(body)["error"]


@pytest.mark.browser
def test_the_drawer_shows_the_images_of_the_group_of_the_class(page, board):
    tab = open_frame(page, board, attribute="x", a="biased", b="even", open="f")
    sheets = tab.locator(".gallery img")
    expect(sheets.first).to_be_visible()
    for place in range(sheets.count()):
        expect(sheets.nth(place)).to_have_js_property("complete", True)
        assert sheets.nth(place).evaluate("image => image.naturalWidth") > 100
    expect(tab.locator(".gallery figcaption").first).to_contain_text("most confident mistakes")
    sheets.last.scroll_into_view_if_needed()
    screenshot(page, "drawer-gallery")


@pytest.mark.browser
def test_the_drawer_shows_the_images_of_the_class_and_of_one_confusion(page, board):
    tab = open_frame(page, board, attribute="x", a="biased", b="even", open="f")
    answer = get_json(_route(board, "gallery", run="biased", attribute="x", step=2, class_index=5))["images"]
    tiles = tab.locator(".class-images svg")
    expect(tiles).to_have_count(len(answer["images"]))
    shown_texts = set(tiles.evaluate_all("tiles => tiles.map(tile => tile.getAttribute('aria-label'))"))
    assert shown_texts == {f"true {i['label']}, predicted {i['predicted']}" for i in answer["images"]}
    link = tab.locator(".confused[data-side=A] .images-link").first
    stored = int(link.inner_text().split(" ")[0])
    link.click()
    expect(tiles).to_have_count(stored)
    screenshot(page, "drawer-class-images")
    tab.get_by_role("button", name="Show all").click()
    expect(tiles).to_have_count(len(answer["images"]))


@pytest.mark.browser
def test_a_pair_of_confused_classes_opens_the_images_of_that_confusion(page, board):
    tab = open_frame(page, board, attribute="x", a="biased", b="even")
    pair = card(tab, "flow").locator(".pairs tbody tr").first
    true, predicted = (name.inner_text() for name in pair.locator(".class-link .name").all())
    pair.get_by_role("button", name=f"Images of {true} mistaken for {predicted}").click()
    expect(tab.locator("#drawer-title")).to_have_text(true)
    expect(tab.locator(".images-filter")).to_contain_text(f"{true} → {predicted}")
    expect(tab.get_by_role("heading", name="Images", exact=True)).to_be_in_viewport()
    texts = tab.locator(".class-images svg")
    expect(texts.first).to_have_attribute("aria-label", f"true {true}, predicted {predicted}")
    screenshot(page, "pair-images")
    page.keyboard.press("Escape")
    expect(pair.locator(".images-link")).to_be_focused()


@pytest.mark.browser
def test_without_diagnostics_there_is_no_card(page, tmp_path):
    with TBMetrics(tmp_path / "r", classes=ClassGroups.from_counts({"x": [900, 5]})) as tb:
        tb.update(torch.eye(2), torch.tensor([0, 1]))
    with tensorboard_server(tmp_path) as url:
        wait_for_steps(url, 1, 1)
        tab = open_frame(page, url)
        expect(tab.locator("[data-card=diagnosis]")).to_be_hidden()
        expect(tab.locator(".images-link")).to_have_count(0)
        page.goto("about:blank")
