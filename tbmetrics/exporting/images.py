"""Images of a log as PNG files: every step, and the last one under the plain name of its tag."""

from __future__ import annotations

import io
from collections.abc import Iterator

from tbmetrics.events.decoding import encoded_image
from tbmetrics.events.file_index import StoredRecord
from tbmetrics.exporting.files import tag_path
from tbmetrics.exporting.options import OTHER
from tbmetrics.records import Image
from tbmetrics.records.history import Series

_PNG = b"\x89PNG\r\n\x1a\n"


def image_paths(tag: str, area: str, steps: list[int]) -> list[str]:
    """The path below the run's folder of the image of each step; the last step's comes once more, without a step."""
    path = f"{OTHER}/images/{tag_path(tag, encoded=False)}" if area == OTHER else tag_path(tag, encoded=True)
    several = [f"{path}/step={step:08d}.png" for step in steps] if len(steps) > 1 else []
    return [*several, f"{path}.png"]


def images(tag: str, area: str, series: Series[Image]) -> Iterator[tuple[str, bytes]]:
    """(path below the run's folder, content) of each image of a tag."""
    *several, last = image_paths(tag, area, series.steps.tolist())
    content = b""
    for i, stored in enumerate(series.stored()):
        content = _png(stored)
        if several:
            yield several[i], content
    yield last, content


def _png(stored: StoredRecord) -> bytes:
    """The image as the log holds it; one of another format, such as JPEG, anew."""
    from PIL import Image as Picture

    found = encoded_image(stored.value())
    if found.startswith(_PNG):
        return found
    image: Image = stored()
    content = io.BytesIO()
    Picture.fromarray(image.pixels).save(content, format="PNG")
    return content.getvalue()
