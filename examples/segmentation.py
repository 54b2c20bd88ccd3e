"""Semantic segmentation with rare classes: IoU of head, medium and tail while training.

Images are drawn here: coloured blobs of six kinds on a background, the last of which are rare. The lines with `groups`,
`tb` and `tb.update` are all that tbmetrics needs.

    python examples/segmentation.py runs/blobs && tensorboard --logdir runs
"""

import sys

import torch

from tbmetrics import ClassGroups, TBMetrics

NAMES = ["background", "road", "car", "tree", "sign", "bicycle"]
SHARES = torch.tensor([0.0, 0.6, 0.25, 0.1, 0.04, 0.01])  # of the blobs
SIZE, BLOBS = 48, 6


def draw(images: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (N, 3, H, W) and the class of each pixel (N, H, W); the border of each image is unlabelled (255)."""
    labels = torch.zeros(images, SIZE, SIZE, dtype=torch.long)
    rows, columns = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    for image in labels:
        for kind in torch.multinomial(SHARES, BLOBS, replacement=True, generator=generator):
            y, x, radius = (torch.rand(3, generator=generator) * torch.tensor([SIZE, SIZE, 8])).tolist()
            image[(rows - y) ** 2 + (columns - x) ** 2 < (radius + 3) ** 2] = kind
    colours = torch.rand(len(NAMES), 3, generator=torch.Generator().manual_seed(1))
    noise = 0.15 * torch.randn(images, SIZE, SIZE, 3, generator=generator)
    pixels = (colours[labels] + noise).movedim(-1, 1)
    labels[:, [0, -1]] = 255
    return pixels, labels


def main(log_dir: str, epochs: int = 5, images: int = 32) -> None:
    """Train a small network, and validate it after each epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    training, validation = draw(images, generator), draw(images, generator)
    pixels_of_class = torch.bincount(training[1].flatten(), minlength=256)[: len(NAMES)]
    groups = ClassGroups.from_counts(
        {"pixel": dict(zip(NAMES, pixels_of_class.tolist(), strict=True))}, head_above=5000, tail_below=1000
    )
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 24, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(24, len(NAMES), 3, padding=1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=255)
    with TBMetrics(log_dir, model=model, optimizer=optimizer, classes=groups, ignore_index=255) as tb:
        for _ in tb.epochs(range(epochs)):
            for pixels, labels in zip(training[0].split(8), training[1].split(8), strict=True):
                optimizer.zero_grad()
                loss_of(model(pixels), labels).backward()
                optimizer.step()
            with torch.no_grad():
                for pixels, labels in zip(validation[0].split(8), validation[1].split(8), strict=True):
                    tb.update(model(pixels), labels)


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["runs/blobs"])
