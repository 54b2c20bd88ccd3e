"""The Projector tab: a real TensorBoard serves the features, classes and images of the last validation."""

import io
import json
import logging

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from tbmetrics import ClassGroups, InputError, LongTailDiagnostics, TBMetrics, read_run
from tbmetrics.class_performance.diagnostics.projector import KEPT
from tbmetrics.records import class_table_tag
from tests.plugin.logs import get, tensorboard_server

COUNTS = {"a": 900, "b\t\n": 300, "c": 50, "d": 30, "e": 5, "f": 2}
GROUPS = ClassGroups.from_counts({"x": COUNTS})
LABELS = torch.arange(60) % 6


def _run(path, projector=True, epochs=1, images=None, model=None, **options):
    """A run whose classifier gets the inputs themselves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 6)).eval() if model is None else model
    inputs = torch.randn(60, 4)
    diagnostics = LongTailDiagnostics(projector=projector)
    with TBMetrics(
        path, model=model, classes=GROUPS, diagnostics=diagnostics, gradients=False, resources=False, **options
    ) as tb:
        for _ in tb.epochs(range(epochs)):
            with torch.no_grad():
                logits = model(inputs)
                tb.update(logits, LABELS, images=images)
    return inputs, logits


def _config(run):
    return text_format.Parse((run / "projector_config.pbtxt").read_text(), ProjectorConfig())


def _rows(run, entry):
    """Features by row, and the rows of the metadata as dictionaries."""
    heading, *lines = (run / entry.metadata_path).read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(heading.split("\t"), line.split("\t"), strict=True)) for line in lines]
    return np.loadtxt(run / entry.tensor_path, delimiter="\t", dtype=np.float32, ndmin=2), rows


def test_a_real_tensorboard_serves_features_classes_and_images(tmp_path):
    images = torch.rand(60, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    inputs, logits = _run(tmp_path / "a", images=images)
    with tensorboard_server(tmp_path) as base:
        route = f"{base}data/plugin/projector/"
        assert json.loads(get(f"{route}runs")[2]) == ["a"]
        (entry,) = json.loads(get(f"{route}info?run=a")[2])["embeddings"]
        query = f"run=a&name={entry['tensorName']}"
        tensors = np.frombuffer(get(f"{route}tensor?{query}")[2], dtype=np.float32).reshape(-1, 4)
        metadata = get(f"{route}metadata?{query}")[2].decode()
        sprite = np.asarray(Image.open(io.BytesIO(get(f"{route}sprite_image?{query}")[2])))
    assert entry["tensorName"] == "x:00000"
    assert (entry["tensorShape"], entry["sprite"]["singleImageDim"]) == ([60, 4], [7, 5])
    order = [int((inputs == torch.from_numpy(row.copy())).all(1).nonzero()[0, 0]) for row in tensors]
    assert sorted(order) == list(range(60))
    names, groups, predicted = list(COUNTS), GROUPS["x"].groups, logits.argmax(1).tolist()
    heading, *lines = metadata.splitlines()
    assert heading.split("\t") == ["class", "group", "predicted", "outcome"]
    for line, row in zip(lines, order, strict=True):
        label = int(LABELS[row])
        outcome = "right" if predicted[row] == label else "wrong"
        assert line.split("\t") == [names[label].strip(), groups[label], names[predicted[row]].strip(), outcome]
    assert sprite.shape == (8 * 5, 8 * 7, 3)
    expected = (images[order[9]][0] * 255).round().byte().numpy()  # the tenth tile: second row, second column
    np.testing.assert_array_equal(sprite[5:10, 7:14, 0], expected)


def test_the_last_validations_stay_and_what_others_entered_too(tmp_path, monkeypatch):
    writer = SummaryWriter(str(tmp_path))
    writer.add_embedding(torch.eye(3), tag="mine")
    writer.close()
    monkeypatch.setattr("tbmetrics.tracking.drawing.DrawingTime.affordable", lambda self: True)
    _run(tmp_path, epochs=KEPT + 2)
    names = [entry.tensor_name for entry in _config(tmp_path).embeddings]
    assert names == ["mine:00000", *(f"x:{epoch:05d}" for epoch in range(2, KEPT + 2))]
    assert sorted(path.name for path in (tmp_path / "projector" / "x").iterdir()) == [n[2:] for n in names[1:]]
    _, rows = _rows(tmp_path, _config(tmp_path).embeddings[-1])
    assert {row["class"] for row in rows} == {"a", "b", "c", "d", "e", "f"}
    assert not (tmp_path / "projector" / "x" / "00006" / "sprite.png").exists()


def test_attributes_whose_folders_would_be_one_stay_apart(tmp_path):
    groups = ClassGroups.from_counts({"Shape": COUNTS, "shape": COUNTS})
    model = nn.Sequential(nn.Identity(), nn.Linear(4, 6)).eval()
    diagnostics = LongTailDiagnostics(projector=True, classifiers={"Shape": "1", "shape": "1"})
    with TBMetrics(tmp_path, model=model, classes=groups, diagnostics=diagnostics) as tb, torch.no_grad():
        logits = model(torch.randn(60, 4))
        tb.update({"Shape": logits, "shape": logits}, {"Shape": LABELS, "shape": LABELS})
    folders = {entry.tensor_path.split("/")[1].lower() for entry in _config(tmp_path).embeddings}
    assert len(folders) == len(_config(tmp_path).embeddings) == 2


def test_so_many_samples_as_were_asked_for(tmp_path):
    _run(tmp_path / "some", projector=12)
    features, rows = _rows(tmp_path / "some", _config(tmp_path / "some").embeddings[0])
    assert features.shape == (12, 4)
    assert [row["class"] for row in rows] == [name.strip() for name in COUNTS for _ in range(2)]
    _run(tmp_path / "none", projector=False)
    assert not (tmp_path / "none" / "projector_config.pbtxt").exists()
    for wrong in (-1, 2.5, "all"):
        with pytest.raises(InputError, match="projector must be a whole number of at least 0"):
            LongTailDiagnostics(projector=wrong)


def test_what_is_missing_is_said_once_and_stops_nothing(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="tbmetrics")

    class Scaled(nn.Module):  # no layer makes the logits
        def forward(self, inputs):
            return inputs.repeat(1, 2)[:, :6]

    _run(tmp_path / "a", model=Scaled(), epochs=2, strict=True)
    assert [r.getMessage() for r in caplog.records] == [
        "tbmetrics: the Projector tab shows nothing: there are no features of 'x': no layer has 6 outputs; name the "
        "module: classifiers={attribute: name}"
    ]
    caplog.clear()
    LongTailDiagnostics(classes=GROUPS, projector=True).write_projector_to("s3://bucket/run")
    assert "log_dir 's3://bucket/run' is a URL" in caplog.text
    caplog.clear()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "projector").write_text("in the way")
    _run(tmp_path / "b", epochs=2, strict=True)
    assert caplog.text.count("the Projector tab shows nothing: its files cannot be written") == 1
    assert read_run(tmp_path / "b").tables[class_table_tag("x")].steps.tolist() == [0, 1]


def test_only_the_rank_that_writes_writes(tmp_path, monkeypatch):
    monkeypatch.setattr("tbmetrics.tracking.ranks.Ranks.writes", False)
    _run(tmp_path)
    assert not (tmp_path / "projector_config.pbtxt").exists()


def test_without_a_session_the_directory_is_named(tmp_path):
    model = nn.Linear(4, 6).eval()
    tracker = LongTailDiagnostics(model, GROUPS, projector=True, classifiers={"x": ""})
    tracker.write_projector_to(tmp_path)
    tracker.start()
    with torch.no_grad():
        tracker.update(model(torch.randn(60, 4)), LABELS)
    tracker.collect(3)
    tracker.closing()
    tracker.stop()
    assert [entry.tensor_name for entry in _config(tmp_path).embeddings] == ["x:00003"]
