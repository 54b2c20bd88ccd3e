"""When the component times of an epoch are worth an image, and the images."""

from __future__ import annotations

from collections.abc import Callable

from tbmetrics.records import Image
from tbmetrics.records.history import History
from tbmetrics.resource_usage.epoch import TAG

#: Drawing may take this share of the time between two drawings; the first is taken to need so many nanoseconds. From
#: one drawing to the next the run grows by this factor, so that images stay few however long it is.
_DRAWING_SHARE, _FIRST_DRAWING, _GROWTH = 0.01, 500_000_000, 1.25


class ComponentDrawing:
    """Draws the component times of an epoch as images, at ever longer distances and a small share of the time."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._took = _FIRST_DRAWING
        self._began = self._done_at = clock()
        self._epoch: int | None = None

    def images(self, history: History, epoch: int) -> list[Image]:
        """The images of `epoch`; none where the last drawing is too short ago."""
        now = self._clock()
        affordable = self._took <= _DRAWING_SHARE * (now - self._done_at)
        due = now - self._began >= _GROWTH * (self._done_at - self._began)
        return self.draw(history, epoch) if affordable and due else []

    def draw(self, history: History, epoch: int) -> list[Image]:
        """The images of `epoch`; none where they were drawn before."""
        if epoch == self._epoch:
            return []
        from tbmetrics.figures.resource_usage import component_images

        began = self._clock()
        drawn = [Image(f"{TAG}/{name}", pixels) for name, pixels in component_images(history, epoch)]
        self._epoch, self._done_at = epoch, self._clock()
        self._took = self._done_at - began
        return drawn
