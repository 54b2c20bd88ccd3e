"""The contact sheets of the gallery, drawn as often as drawing stays cheap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.class_performance.diagnostics import report
from tbmetrics.class_performance.diagnostics.attribute import AttributeDiagnostics
from tbmetrics.class_performance.diagnostics.gallery import Picture
from tbmetrics.records import Image, gallery_tag
from tbmetrics.tracking.drawing import DrawingTime

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("tbmetrics")

#: From images (n, ...) and the class in question of each, the attention on them, or None.
AttentionLookup = Callable[[Tensor, Sequence[str]], "NDArray[np.floating] | None"]


class ContactSheets:
    """Draws the galleries of all attributes.

    Attributes:
        look: gives the attention on the images, or None.
        undrawn: attributes whose last gallery has not become images yet.
    """

    def __init__(self) -> None:
        self.look: AttentionLookup | None = None
        self.undrawn: set[str] = set()
        self._drawing = DrawingTime()

    def are_due(self) -> bool:
        """Whether there is something to draw, and time for it."""
        return bool(self.undrawn) and self._drawing.affordable()

    def images(self, attributes: Mapping[str, AttributeDiagnostics]) -> Iterator[Image]:
        """The sheets of the last validation that are not drawn yet."""
        from tbmetrics.figures.output import pixels

        with self._drawing:
            for attribute in sorted(self.undrawn):
                for kind, group, figure in self._sheets(attributes, attribute):
                    yield Image(gallery_tag(attribute, kind, group), pixels(figure))
            self.undrawn.clear()

    def figures(self, attributes: Mapping[str, AttributeDiagnostics]) -> Iterator[tuple[str, Figure]]:
        """Every sheet, by name."""
        for attribute in attributes:
            for kind, group, figure in self._sheets(attributes, attribute):
                yield f"{attribute}/{kind}_{group}", figure

    def _sheets(
        self, attributes: Mapping[str, AttributeDiagnostics], attribute: str
    ) -> Iterator[tuple[str, str, Figure]]:
        from tbmetrics.figures.panels import contact_sheet

        names = attributes[attribute].classes.names
        for kind, group, pictures in attributes[attribute].gallery.pictures():
            title = f"{attribute}: {kind.replace('_', ' ')}, {group}"
            captions = [report.caption(picture, names) for picture in pictures]
            is_watched = self.look is not None
            attention = self._attention_on(pictures, names)
            if is_watched:
                _forget_passes(attributes)
            yield kind, group, contact_sheet([p.pixels for p in pictures], captions, title, attention)

    def _attention_on(self, pictures: Sequence[Picture], names: Sequence[str]) -> NDArray[np.floating] | None:
        """Where the model looks in each picture, (pictures, rows, columns), or None if unknown."""
        originals = [picture.image for picture in pictures if picture.image is not None]
        if self.look is None or len(originals) < len(pictures):
            return None
        try:
            return self.look(torch.stack(originals), [names[picture.claimed] for picture in pictures])
        except Exception as error:  # the model takes more, or other, than the images given to update()
            self.look = None
            logger.warning(
                "tbmetrics: the gallery shows no attention: the model did not run on the images that update() was "
                "given (%s: %s)", type(error).__name__, error,
            )  # fmt: skip
            return None


def _forget_passes(attributes: Mapping[str, AttributeDiagnostics]) -> None:
    """Drop the forward passes of the model that looked at images."""
    for diagnostics in attributes.values():
        if diagnostics.classifier is not None:
            diagnostics.classifier.forget()
