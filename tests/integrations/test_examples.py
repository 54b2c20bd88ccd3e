"""The examples with frameworks run, and all three measure both attributes that they have."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from tbmetrics import read_run
from tbmetrics.demo.numbers import load_splits
from tbmetrics.records import class_table_tag
from tests.demo.runs import part_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore", "error::tbmetrics.errors.TBMetricsWarning")]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])  # as when it is run as a script
    return import_module


@pytest.mark.parametrize(
    ("name", "needs", "attributes"),
    [
        ("lightning_digits", ["pytorch_lightning"], ["number", "digits"]),
        ("transformers_digits", ["transformers", "accelerate"], ["number"]),
        ("accelerate_digits", ["accelerate"], ["number", "digits"]),
    ],
)
def test_an_example_measures_each_validation(name, needs, attributes, example, tmp_path):
    for package in needs:
        pytest.importorskip(package)
    splits = part_of(load_splits(), 10)
    trained = example(name).train(tmp_path, splits=splits, epochs=2)
    history = read_run(getattr(trained, "session", trained).log_dir)
    for attribute in attributes:
        table = history.tables[class_table_tag(attribute)]
        assert table.steps.tolist() == [0, 1]
        known = splits.validation.targets[attribute]
        assert table[-1].column("support").sum() == ((known > 0).sum() if known.ndim > 1 else len(known))
    assert "training_dynamics/gradient_norm" in history.scalars
