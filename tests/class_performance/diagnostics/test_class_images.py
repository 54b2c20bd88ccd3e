"""The images of each class are those that sorting everything would choose, and the sheet shows them where it says."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, TBMetrics, read_run
from tbmetrics.class_performance.diagnostics import class_images
from tbmetrics.class_performance.diagnostics.class_images import MOST_OF_CLASS, quotas
from tbmetrics.class_performance.diagnostics.gallery import Gallery
from tbmetrics.records import ALL, CLASS_IMAGE_COLUMNS, EVERY_CLASS, class_images_tag, gallery_tag

CLASSES = ClassGroups.from_counts({"x": [900, 300, 50, 9, 2]})["x"]


def _numbered(n):
    """Images that say which sample they are: red is the number's low byte, green its high one."""
    images = torch.zeros(n, 3, 4, 6, dtype=torch.uint8)
    images[:, 0] = (torch.arange(n) % 256).to(torch.uint8)[:, None, None]
    images[:, 1] = (torch.arange(n) // 256).to(torch.uint8)[:, None, None]
    return images


def _recorded(gallery):
    """(sample, label, predicted, probability) of each image, read from the sheet at the place in the table."""
    sheet, table = gallery.by_class.records()
    columns = {name: table.column(name) for name in CLASS_IMAGE_COLUMNS}
    for i in np.flatnonzero(~np.isnan(columns["label"])):
        left, top, width, height = (int(columns[name][i]) for name in ("left", "top", "width", "height"))
        tile = sheet.pixels[top : top + height, left : left + width]
        assert (tile == tile[0, 0]).all()
        facts = (columns["label"][i], columns["predicted"][i], columns["probability"][i])
        yield (int(tile[0, 0, 0]) + 256 * int(tile[0, 0, 1]), *facts)


@pytest.mark.parametrize("batch", [500, 61])
@pytest.mark.parametrize("waits", [True, False])
def test_each_class_has_the_worst_of_each_confusion_then_the_second_worst(batch, waits, monkeypatch):
    if not waits:  # as on an accelerator, whose number of new images would be waited for
        monkeypatch.setattr(class_images, "_most_new", lambda enters, most: min(len(enters), most))
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 5, (500,), generator=generator)
    logits = torch.randn(500, 5, generator=generator) + 3 * torch.eye(5)[labels]
    gallery, images = Gallery(CLASSES, 4, 96), _numbered(500)
    for rows in torch.arange(500).split(batch):
        gallery.add(logits[rows], labels[rows], images[rows], None)
    confidence, predicted = (t.numpy() for t in logits.double().softmax(1).max(1))
    recorded = list(_recorded(gallery))
    for index in range(5):
        turns = []
        for claimed in range(5):
            members = np.flatnonzero((labels.numpy() == index) & (predicted == claimed))
            badness = -confidence[members] if claimed == index else confidence[members]
            turns += [(i, claimed == index, -badness[m], members[m]) for i, m in enumerate(np.argsort(-badness))]
        expected = {int(sample) for *_, sample in sorted(turns)[:MOST_OF_CLASS]}
        assert {sample for sample, label, *_ in recorded if label == index} == expected
    for sample, _, claimed, probability in recorded:
        assert claimed == predicted[sample]
        assert probability == pytest.approx(confidence[sample], rel=1e-5)


def test_with_several_labels_a_sample_belongs_to_the_class_it_was_worst_at_in_each_group():
    logits = torch.tensor([[3.0, -1, -1, -9, -1], [-1, -1, -1, 4, -1], [-1, -1, -1, 0.5, -7]])
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, -1]])
    gallery = Gallery(CLASSES, 4, 96)
    gallery.add(logits, labels, _numbered(3), torch.zeros(5))
    facts = [(sample, label, predicted) for sample, label, predicted, _ in _recorded(gallery)]
    assert facts == [(0, 0, 0), (0, 3, -1), (1, -1, 3), (2, 3, 3)]


@pytest.mark.parametrize(
    ("places", "expected"),
    [(100, [6, 6, 6]), (18, [6, 6, 6]), (7, [2, 2, 3]), (2, [0, 1, 1]), (1, [0, 0, 1])],
)
def test_few_places_go_to_all_classes_alike_and_then_to_the_rarest(places, expected):
    assert quotas(np.array([-1, 9, 2]), places).tolist() == expected


def test_the_memory_is_bounded_and_the_rarest_classes_have_the_places(monkeypatch):
    monkeypatch.setattr(class_images, "MOST_BYTES", 3 * 4 * 6 * 2)
    gallery, labels = Gallery(CLASSES, 4, 96), torch.arange(20) % 5
    gallery.add(torch.eye(5)[labels], labels, _numbered(20), None)
    assert [label for _, label, *_ in _recorded(gallery)] == [3, 4]


def test_they_are_recorded_at_validations_1_2_4_and_at_the_end(tmp_path):
    labels, images = torch.arange(10) % 5, _numbered(10)
    groups = ClassGroups.from_counts({"x": [900, 300, 50, 9, 2]})
    with TBMetrics(tmp_path, classes=groups, diagnostics=True) as tb:
        for _ in tb.epochs(range(7)):
            tb.update(9 * torch.eye(5)[labels], labels, images=images)
    run = read_run(tmp_path)
    assert run.images[gallery_tag("x", EVERY_CLASS, ALL)].steps.tolist() == [0, 1, 3, 6]
    tables = run.tables[class_images_tag("x")]
    assert tables.steps.tolist() == [0, 1, 3, 6]
    assert (~np.isnan(tables[-1].column("label"))).sum() == 10
