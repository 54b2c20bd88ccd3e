"""The examples without a framework run, and do what they say."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import attention_of_vit, plain_loop, predictions_from_a_file, scikit_learn
from tbmetrics import TBMetrics, read_run
from tbmetrics.demo.numbers import load_splits
from tbmetrics.records import class_table_tag
from tests.demo.runs import part_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.*")), ids=lambda path: path.name)
def test_an_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 80


def test_attention_of_a_vision_transformer(tmp_path):
    attention_of_vit.train(tmp_path, epochs=2)
    history = read_run(tmp_path)
    assert {f"training_dynamics/attention/encoder.layers.{i}.self_attn/overlay" for i in (0, 1)} <= set(history.images)
    assert history.tables[class_table_tag("row")].steps.tolist() == [0, 1]


def test_predictions_of_a_scikit_learn_classifier(tmp_path):
    groups = predictions_from_a_file.evaluate(tmp_path)["class"]
    table = read_run(tmp_path / "forest").tables[class_table_tag("class")][0]
    saved = np.load(tmp_path / "predictions.npz")
    decided = saved["probabilities"].argmax(1)
    recall = [(decided == label)[saved["labels"] == label].mean() for label in range(10)]
    assert table.column("recall") == pytest.approx(recall, rel=1e-6)
    assert groups["head"]["recall"] > groups["tail"]["recall"]


def test_a_plain_loop_keeps_the_best_epoch(tmp_path):
    tb = plain_loop.train(tmp_path, splits=part_of(load_splits(), 10), epochs=2)
    assert read_run(tmp_path).tables[class_table_tag("number")].steps.tolist() == [0, 1]
    assert tb.best("recall", group="tail").step in (0, 1)
    assert torch.load(tmp_path / "best.pt", weights_only=True).keys()


def test_two_processes_of_torchrun_count_each_sample_once(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    example = [ROOT / "examples" / "torchrun_digits.py", tmp_path, "1"]
    done = subprocess.run([*command, *example], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("recall of the tail") == 2
    support = read_run(tmp_path).tables[class_table_tag("number")][0].column("support")
    assert support.sum() == len(load_splits().validation)


def test_two_scikit_learn_classifiers_are_compared_in_pairs(tmp_path):
    comparison = scikit_learn.evaluate(tmp_path)
    assert comparison.is_paired
    assert comparison.groups["all"].n_classes == 10


@pytest.mark.parametrize(("worse", "status"), [(False, 0), (True, 4)])
def test_a_gate_fails_on_evidence_alone(tmp_path, worse, status):
    labels = torch.arange(400) % 4
    logits = 4 * torch.nn.functional.one_hot(labels, 4).float() + torch.randn(400, 4)
    for run in ("production", "candidate"):
        if worse and run == "candidate":
            logits[:, 3] -= 8
        with TBMetrics(tmp_path / run, classes={"class": [900, 500, 50, 5]}) as tb:
            tb.update(logits, labels)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", ROOT / "examples" / "gate_in_ci.sh", tmp_path / "production", tmp_path / "candidate"],
        capture_output=True, text=True, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert ("tail.recall" in done.stderr) == worse
