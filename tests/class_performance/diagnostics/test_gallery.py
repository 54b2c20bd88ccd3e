"""The gallery keeps the samples that sorting everything would, in bounded memory, and its pictures are the images."""

import numpy as np
import pytest
import torch

from tbmetrics import ClassGroups, InputError
from tbmetrics.class_performance.diagnostics.gallery import HARDEST, MISTAKES, Gallery, Picture, checked_images

CLASSES = ClassGroups.from_counts({"x": [900, 300, 50, 9, 2]})["x"]
MEMBERS = {"head": (0, 1), "medium": (2,), "tail": (3, 4)}


def _numbered(n):
    """Images that say which sample they are: red is the number's low byte, green its high one."""
    images = torch.zeros(n, 3, 4, 6, dtype=torch.uint8)
    images[:, 0] = (torch.arange(n) % 256).to(torch.uint8)[:, None, None]
    images[:, 1] = (torch.arange(n) // 256).to(torch.uint8)[:, None, None]
    return images


def _number(picture):
    return int(picture.pixels[0, 0, 0]) + 256 * int(picture.pixels[0, 0, 1])


@pytest.mark.parametrize("batch", [500, 61])
def test_single_label_equals_sorting_everything(batch):
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(500, 5, generator=generator), torch.randint(0, 5, (500,), generator=generator)
    gallery, images = Gallery(CLASSES, 4, 96), _numbered(500)
    for rows in torch.arange(500).split(batch):
        gallery.add(logits[rows], labels[rows], images[rows], None)
    confidence, predicted = logits.double().softmax(1).max(1)
    by_group = {(kind, group): pictures for kind, group, pictures in gallery.pictures()}
    assert set(by_group) == {(kind, group) for kind in (MISTAKES, HARDEST) for group in MEMBERS}
    for (kind, group), pictures in by_group.items():
        inside = np.isin(labels, MEMBERS[group]) & ((predicted != labels).numpy() == (kind == MISTAKES))
        order = np.argsort((confidence if kind == HARDEST else -confidence).numpy()[inside], kind="stable")
        expected = np.flatnonzero(inside)[order][:4]
        assert [_number(p) for p in pictures] == expected.tolist()
        for picture, i in zip(pictures, expected, strict=True):
            assert (picture.label, picture.predicted) == (labels[i], predicted[i])
            assert picture.probability == pytest.approx(float(confidence[i]), rel=1e-5)
            assert picture.pixels.shape == (4, 6, 3)


def test_multi_label_shows_the_worst_class_of_the_group_missed_or_claimed():
    logits = torch.tensor([[3.0, -1, -1, -9, -1], [-1, -1, -1, 4, -1], [-1, -1, -1, 0.5, -7], [2, 2, 2, 9, 9.0]])
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 1, -1], [1, 1, 0, 1, -1]])
    gallery = Gallery(CLASSES, 4, 96)
    gallery.add(logits, labels, _numbered(4), torch.zeros(5))
    by_group = {(kind, group): pictures for kind, group, pictures in gallery.pictures()}
    tail = by_group[MISTAKES, "tail"]
    assert [(_number(p), p.label, p.predicted) for p in tail] == [(0, 3, -1), (1, -1, 3)]
    assert tail[0].probability == pytest.approx(torch.tensor(-9.0).sigmoid().item())
    assert [(_number(p), p.label, p.predicted) for p in by_group[HARDEST, "tail"]] == [(2, 3, 3), (3, 3, 3)]
    assert [_number(p) for p in by_group[MISTAKES, "medium"]] == [3]
    assert (MISTAKES, "head") not in by_group


def test_images_are_shown_as_they_are_or_stretched_and_shrunk_to_the_side():
    gallery = Gallery(CLASSES, 3, 10)
    images = torch.zeros(3, 1, 20, 40)
    images[0, :, :, 20:] = 0.5  # in 0..1: as it is
    images[1] = torch.linspace(-2, 2, 40)  # normalised: stretched
    images[2] = 7.0  # of one value
    gallery.add(torch.eye(5)[[1, 1, 1]] * torch.tensor([[3.0], [2.0], [1.0]]), torch.zeros(3).long(), images, None)
    ((_, _, pictures),) = gallery.pictures()
    assert [p.pixels.shape for p in pictures] == [(5, 10, 3)] * 3
    assert pictures[0].pixels[:, :5].max() == 0
    assert (pictures[0].pixels[:, 5:] == 128).all()
    assert pictures[1].pixels.min() < 16
    assert pictures[1].pixels.max() > 239
    assert (pictures[2].pixels == 0).all()


def test_batches_of_another_size_of_image_fit_the_first():
    gallery = Gallery(CLASSES, 4, 96)
    for side in (8, 20):
        images = torch.rand(2, side, side, 4)
        gallery.add(torch.eye(5)[[1, 1]], torch.zeros(2).long(), checked_images(images, 2), None)
    ((_, _, pictures),) = gallery.pictures()
    assert [p.pixels.shape for p in pictures] == [(8, 8, 3)] * 4


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 3, 5, 7), (2, 3, 5, 7)),
        ((2, 5, 7), (2, 1, 5, 7)),
        ((2, 5, 7, 3), (2, 3, 5, 7)),
        ((2, 1, 5, 7), (2, 1, 5, 7)),
    ],
)
def test_layouts_of_images(shape, expected):
    assert checked_images(torch.zeros(shape), 2).shape == expected
    assert checked_images(np.zeros(shape, dtype=np.uint8), 2).shape == expected


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 3, 5, 7), r"\(2, C, H, W\).* got \(3, 3, 5, 7\)"),
        (torch.zeros(2, 9, 5, 7), r"with 1, 3 or 4 channels, got \(2, 9, 5, 7\)"),
        (torch.zeros(2, 5), r"got \(2, 5\)"),
        (torch.zeros(2, 3, 0, 7), r"got \(2, 3, 0, 7\)"),
        ([1, 2], "must be a tensor or an array of shape .* got list"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, message):
    with pytest.raises(InputError, match=message):
        checked_images(images, 2)


def test_images_are_kept_as_they_were_given_within_the_bytes():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(300, 5, generator=generator), torch.randint(0, 5, (300,), generator=generator)
    originals = torch.arange(300.0)[:, None, None, None].expand(300, 2, 2, 3)
    most = 2 * 3 * 4 * 2 * 2 * 3 * 4  # kinds, groups, samples, values, bytes
    for limit, is_stored in ((most, True), (most - 1, False), (0, False)):
        gallery = Gallery(CLASSES, 4, 96, limit)
        for rows in torch.arange(300).split(71):
            gallery.add(logits[rows], labels[rows], _numbered(300)[rows], None, originals[rows])
        for _, _, pictures in gallery.pictures():
            assert [p.image is not None for p in pictures] == [is_stored] * 4
            if is_stored:
                assert [float(p.image[0, 0, 0]) for p in pictures] == [_number(p) for p in pictures]


def test_images_of_several_sizes_are_not_kept_as_given():
    gallery = Gallery(CLASSES, 4, 96, 10**6)
    for side in (8, 20):
        images = torch.rand(2, 3, side, side)
        gallery.add(torch.eye(5)[[1, 1]], torch.zeros(2).long(), images, None, images)
    ((_, _, pictures),) = gallery.pictures()
    assert [p.image for p in pictures] == [None] * 4


def test_the_class_that_is_judged_is_the_claimed_one_else_the_missed_one():
    pixels = np.zeros((2, 2, 3), dtype=np.uint8)
    assert Picture(pixels, 1, 4, 0.5).claimed == 4
    assert Picture(pixels, 1, -1, 0.5).claimed == 1
