"""Files for TensorBoard's Projector tab, in the format of `SummaryWriter.add_embedding`."""

from __future__ import annotations

import io
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tbmetrics.class_performance.diagnostics.feature_sample import FeatureSample, Point
from tbmetrics.classes.attributes import AttributeClasses
from tbmetrics.events.places import is_url
from tbmetrics.figures.output import clashing, slug
from tbmetrics.tracking.drawing import DrawingTime

if TYPE_CHECKING:
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

logger = logging.getLogger("tbmetrics")

FOLDER, CONFIG = "projector", "projector_config.pbtxt"
TENSORS, METADATA, SPRITE = "tensors.tsv", "metadata.tsv", "sprite.png"
#: Validations of an attribute whose files stay.
KEPT = 5
COLUMNS = ("class", "group", "predicted", "outcome")
#: Largest side of a sprite that browsers take.
_MOST_PIXELS = 8192
_MOST_NAMES = 5


class Unwritten(NamedTuple):
    """A validation that is not written yet: its step, and why there are no features, or ""."""

    step: int
    reason: str


class ProjectorFiles:
    """Writes the samples of the last validation into the run's directory, as often as that stays cheap.

    Attributes:
        unwritten: by attribute.
    """

    def __init__(self) -> None:
        self.unwritten: dict[str, Unwritten] = {}
        self._directory: Path | None = None
        self._time = DrawingTime()
        self._has_warned = False

    def write_to(self, log_dir: str | os.PathLike[str]) -> None:
        """Write to this run from now on; a URL is said to be unsupported."""
        if is_url(log_dir):
            self._warn(f"it needs files on this machine, and log_dir {log_dir!r} is a URL")
        else:
            self._directory = Path(log_dir)

    def are_due(self) -> bool:
        """Whether there is something to write, and time for it."""
        return bool(self.unwritten) and self._time.affordable()

    def write(self, samples: Mapping[str, tuple[AttributeClasses, FeatureSample]]) -> None:
        """Write what is not written yet; a disk that refuses is said once."""
        unwritten, self.unwritten = self.unwritten, {}
        if self._directory is None:
            return
        clashes = clashing(samples)
        try:
            with self._time:
                for attribute, (step, reason) in unwritten.items():
                    classes, sample = samples[attribute]
                    if points := sample.points():
                        write_points(self._directory, slug(attribute, clashes), classes, step, points)
                    else:
                        self._warn(f"there are no features of {attribute!r}: {reason or 'nothing was validated'}")
        except OSError as error:
            self._directory = None
            self._warn(f"its files cannot be written ({error})")

    def _warn(self, reason: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning("tbmetrics: the Projector tab shows nothing: %s", reason)


def write_points(directory: Path, name: str, classes: AttributeClasses, step: int, points: Sequence[Point]) -> None:
    """Write the points of a validation, and enter them into the run's configuration beside those of others.

    A TensorBoard that runs already goes on with the configuration it has read, so that the last few validations stay.

    Args:
        directory: of the run.
        name: of the attribute's folder.
        classes: of the attribute.
        step: of the validation.
        points: its sample.
    """
    place = Path(FOLDER, name)
    folder = directory / place / f"{step:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(folder / TENSORS, _tensors(points))
    _write_whole(folder / METADATA, _metadata(classes, points))
    pixels = [point.pixels for point in points if point.pixels is not None]
    if len(pixels) == len(points) and (sprite := _sprite(pixels)) is not None:
        _write_whole(folder / SPRITE, sprite)
    steps = sorted((path.name for path in (directory / place).iterdir() if path.name.isdigit()), key=int)
    for outdated in steps[:-KEPT]:
        shutil.rmtree(directory / place / outdated)
    entries = [_entry(directory, place / name, classes.attribute, pixels) for name in steps[-KEPT:]]
    _write_whole(directory / CONFIG, _configuration(directory / CONFIG, place, entries))


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _tensors(points: Sequence[Point]) -> bytes:
    lines = ("\t".join(f"{value:.9g}" for value in point.features.tolist()) for point in points)
    return ("\n".join(lines) + "\n").encode()


def _metadata(classes: AttributeClasses, points: Sequence[Point]) -> bytes:
    rows = [COLUMNS, *_rows(classes, points)]
    lines = ("\t".join(" ".join(cell.split()) or "-" for cell in row) for row in rows)
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _rows(classes: AttributeClasses, points: Sequence[Point]) -> Iterator[tuple[str, ...]]:
    for point in points:
        called = ", ".join(classes.names[index] for index in point.called[:_MOST_NAMES])
        more = ", …" if len(point.called) > _MOST_NAMES else ""
        outcome = "right" if point.label in point.called else "wrong"
        yield classes.names[point.label], classes.groups[point.label], (called + more) or "none", outcome


def _sprite(pixels: Sequence[NDArray[np.uint8]]) -> bytes | None:
    """All images in rows of a square, as PNG; None if it would be too large."""
    from PIL import Image

    height, width, _ = pixels[0].shape
    side = math.ceil(math.sqrt(len(pixels)))
    if side * max(height, width) > _MOST_PIXELS:
        return None
    sheet = np.zeros((side * height, side * width, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        row, column = divmod(number, side)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = image
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    return buffer.getvalue()


def _entry(directory: Path, folder: Path, attribute: str, pixels: Sequence[NDArray[np.uint8]]) -> EmbeddingInfo:
    """What the configuration says of one folder; all sprites of an attribute have tiles of one size."""
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

    entry = EmbeddingInfo(tensor_name=f"{attribute}:{folder.name}", tensor_path=(folder / TENSORS).as_posix())
    entry.metadata_path = (folder / METADATA).as_posix()
    if pixels and (directory / folder / SPRITE).exists():
        entry.sprite.image_path = (folder / SPRITE).as_posix()
        entry.sprite.single_image_dim.extend([pixels[0].shape[1], pixels[0].shape[0]])
    return entry


def _configuration(path: Path, place: Path, entries: Sequence[EmbeddingInfo]) -> bytes:
    """The configuration at `path` with these entries instead of those below `place`; what others entered stays."""
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config = ProjectorConfig()
    if path.exists():
        try:
            text_format.Parse(path.read_text(encoding="utf-8"), config)
        except (text_format.ParseError, UnicodeDecodeError):  # nothing could show it
            config = ProjectorConfig()
    others = [e for e in config.embeddings if not e.tensor_path.startswith(f"{place.as_posix()}/")]
    del config.embeddings[:]
    config.embeddings.extend([*others, *entries])
    encoded: bytes = text_format.MessageToString(config).encode()
    return encoded
