"""Every Python sample of the README and of docs/ runs as written, page by page, in an empty directory."""

import argparse
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

import tbmetrics

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
COMMANDS = ("board", "compare", "demo", "doctor", "evaluate", "export", "table")
PICTURE = re.compile(r"!\[[^]]*\]\(([^)]+\.png)\)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


#: Pages whose samples use frameworks that warn of this and that.
NOISY = pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")


def _with_samples():
    for page in PAGES:
        if SAMPLE.search(page.read_text(encoding="utf-8")):
            yield pytest.param(page, id=page.name, marks=NOISY if page.stem == "integrations" else ())


def _names_of_a_training():
    """What the README takes for granted: a model, its optimizer, data of three classes, and a step."""
    model = torch.nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    labels = torch.arange(90) % 3
    loader = [(torch.randn(90, 8) + labels[:, None], labels)]

    def train_step(images, labels):
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return {
        "model": model,
        "optimizer": optimizer,
        "train_loader": loader,
        "val_loader": loader,
        "train_step": train_step,
    }


@pytest.mark.parametrize("page", list(_with_samples()))
def test_the_samples_of_a_page_run_in_order(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = _names_of_a_training() if page.stem == "README" else {"__name__": "__main__"}
    for number, sample in enumerate(SAMPLE.findall(page.read_text(encoding="utf-8")), start=1):
        exec(compile(sample, f"{page.name}, sample {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_picture_is_small_and_shown():
    shown = {Path(name).name for page in PAGES for name in PICTURE.findall(page.read_text(encoding="utf-8"))}
    pictures = list((ROOT / "docs/images").glob("*.png"))
    assert {picture.name for picture in pictures} == shown
    assert max(picture.stat().st_size for picture in pictures) < 400_000


def test_the_site_lists_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert set(re.findall(r": ([\w-]+\.md)$", navigation, re.MULTILINE)) == {page.name for page in PAGES[1:]}


def test_the_reference_has_every_public_name():
    documented = re.findall(r"^::: tbmetrics\.(\w+)$", (ROOT / "docs/reference.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(set(tbmetrics.__all__) - {"__version__"})


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_page_has_every_option(command):
    parser = argparse.ArgumentParser()
    import_module(f"tbmetrics.cli.{command}").add_arguments(parser)
    page = (ROOT / "docs/command-line.md").read_text("utf-8").partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    options = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    assert set(re.findall(r"`(?:[^`]* \[?)?(--[a-z-]+)", page)) == options - {"--help"}
