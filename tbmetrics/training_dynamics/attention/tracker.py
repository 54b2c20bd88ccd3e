"""AttentionVisualizer: what a model attends to, on the same few samples over training."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.records import ATTENTION, Image, Record, tag_part
from tbmetrics.records.history import Stamped
from tbmetrics.tracking.cadence import Cadence, DrawingTime
from tbmetrics.tracking.checks import check_whole_numbers
from tbmetrics.tracking.hooks import Hook, is_compiled
from tbmetrics.tracking.state import checked_tracker_state, pack, tracker_state, unpack
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention import probe as attention_probe
from tbmetrics.training_dynamics.attention.arguments import check_names
from tbmetrics.training_dynamics.attention.capture import AttentionCapture, CapturedMap, CaptureReport
from tbmetrics.training_dynamics.attention.store import MapStore, StoredMap
from tbmetrics.training_dynamics.attention.views import (
    AttentionViews,
    Plan,
    as_images,
    drawn,
    images_of_probe,
)
from tbmetrics.training_dynamics.attention.weights import Bounds, keep_explicit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("tbmetrics")

_TOKENS_LOOKED_AT = 32  # queries and keys of the maps that `look_at` makes; it uses their rows, of all keys
_SHARE_OF_A_PASS = 4  # of the bytes a pass gets a quarter, so that a few epochs always fit


class AttentionVisualizer(Tracker):
    """Captures attention of any model, without touching it, and draws it.

        visualizer = AttentionVisualizer(model, probe=images[:4])
        with TBMetrics("runs/a", model=model, attention=visualizer) as tb:
            ...

    With a `probe` the model is run on it at the end of every `every`-th epoch: uncompiled, in evaluation mode, without
    gradients; modes, buffers and random states are restored. The same samples are seen each time, so maps compare.
    Without a probe the first pass of each such epoch is watched as it happens; compiled models need a probe.

    Args:
        model: the model.
        save_dir: where `visualize` writes its figures.
        probe: input of the model: a tensor, a tuple of arguments, or a dictionary of keyword arguments.
        images: the probe's images (samples, height, width[, channels]) or (samples, channels, height, width), for
            overlays; None = the probe itself where it has that shape.
        sample_names: of the probe's samples, e.g. their class and its group.
        grid: (rows, columns) of the patches in an image; None = found from their number.
        modules: patterns of the modules to keep; None = all. In a module named exactly, without wildcards, a softmax
            that feeds a matrix product is taken for attention whatever its scores come from.
        query_labels, key_labels: `{pattern of modules: names}` of queries and keys, e.g. class prompts.
        key_groups: `{pattern of modules: group of each key}`: the mass on each group becomes a scalar.
        every: epochs between samples.
        max_samples: first samples kept.
        max_tokens: queries and keys kept of a map; of more, every 2nd, 4th, …. Overlays and masses use all keys.
        max_bytes: of all maps kept; one pass gets a quarter. Where that is too little, fewer tokens, then fewer samples
            are kept, then fewer epochs.
        max_images: pictures written to the log at a time; class prompts and overlays come first.
        quiet: no message where there is no attention, and a model without any is watched for one pass only.

    Attributes:
        attention_maps: `{"epoch", "batch", "module", "attention": float32 (samples, heads, queries, keys)}`; of at most
            12 epochs.
        history: scalars and images.

    Raises:
        InputError: an argument that cannot work; the message says which and why.
    """

    name = "attention"

    def __init__(
        self,
        model: nn.Module,
        save_dir: str | os.PathLike[str] | None = None,
        *,
        probe: Any = None,
        images: Tensor | NDArray[Any] | None = None,
        grid: tuple[int, int] | None = None,
        sample_names: Sequence[str] | None = None,
        modules: Sequence[str] | None = None,
        query_labels: Mapping[str, Sequence[str]] | None = None,
        key_labels: Mapping[str, Sequence[str]] | None = None,
        key_groups: Mapping[str, Sequence[str]] | None = None,
        every: int = 1,
        max_samples: int = 4,
        max_tokens: int = 256,
        max_bytes: int = 256 * 2**20,
        max_images: int = 8,
        quiet: bool = False,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        check_whole_numbers(max_samples=max_samples, max_tokens=max_tokens, max_bytes=max_bytes)
        check_whole_numbers(at_least=0, max_images=max_images)
        check_names(grid, sample_names, probe)
        self.save_dir = save_dir
        self._model = attention_probe.inner_module(model)
        self._hooked = model
        self._probe = probe
        self._views = AttentionViews(
            images_of_probe(probe) if images is None else as_images(images),
            tuple(sample_names or ()),
            query_labels or {},
            key_labels or {},
            grid,
        )
        self._modules = modules
        self._drawing = DrawingTime()
        self._epochs = Cadence(every, "every")
        self._bounds, self._max_bytes = Bounds(max_samples, max_tokens), max_bytes
        self._max_images, self._quiet = max_images, quiet
        self._store = MapStore(max_bytes, key_groups or {})
        self._logged: list[CapturedMap] = []
        self._report: CaptureReport | None = None
        self._wanted = False
        self._capture: AttentionCapture | None = None
        self._handles: list[Any] = []
        self._told = self._found_nothing = False

    @property
    def attention_maps(self) -> list[dict[str, Any]]:
        """`{"epoch", "batch", "module", "attention": float32 (samples, heads, queries, keys)}`, oldest first."""
        return self._store.attention_maps

    # ------------------------------------------------------------------------------------------------- hooks

    def register_hooks(self) -> None:
        """Sets the hooks on the model (none with a probe); idempotent."""
        self._wanted = True
        if self._handles or self._probe is not None:
            return
        if is_compiled(self._hooked):
            self._say("a compiled model's attention cannot be watched as it trains: give AttentionVisualizer a probe")
            return
        begin = Hook(lambda module, args: self.guard(self._begin, module))
        end = Hook(lambda module, args, output: self.guard(self._end, module))
        self._handles = [
            self._hooked.register_forward_pre_hook(begin),
            self._hooked.register_forward_hook(end, always_call=True),
        ]

    def remove_hooks(self) -> None:
        """Removes every hook; idempotent."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._leave()
        self._wanted = False

    def start(self) -> None:
        """Sets the hooks."""
        self.register_hooks()
        self._wanted = False

    def stop(self) -> None:
        """Removes every hook."""
        self.remove_hooks()

    def start_epoch(self, epoch: int) -> None:
        """Arms the watch for the first training pass of a sampled epoch."""
        self._wanted = epoch % self._epochs.every == 0 and not (self._quiet and self._found_nothing)

    def _begin(self, module: nn.Module) -> None:
        self._leave()
        if not self._wanted or module is not self._hooked:
            return
        self._wanted = False
        self._capture = self._new_capture()
        self._capture.__enter__()  # type: ignore[no-untyped-call]

    def _end(self, module: nn.Module) -> None:
        if module is self._hooked and self._capture is not None:
            self._report = self._leave()

    def _leave(self) -> CaptureReport | None:
        capture, self._capture = self._capture, None
        if capture is None:
            return None
        capture.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return capture.report()

    def _new_capture(self) -> AttentionCapture:
        return AttentionCapture(self._model, self._bounds, self._max_bytes // _SHARE_OF_A_PASS, self._modules)

    def log_attention(self, name: str, weights: Tensor) -> None:
        """Takes weights that cannot be captured, from inside the model, in passes that are sampled; free in all others.

        Args:
            name: of the module.
            weights: (samples, heads, queries, keys), or without heads (samples, queries, keys).

        Raises:
            InputError: another shape.
        """
        if weights.dim() not in (3, 4):
            raise InputError(
                f"attention {name!r}: expected (samples, [heads,] queries, keys), got {tuple(weights.shape)}"
            )
        sampled = self._capture is not None or (self._probe is None and self._wanted)
        if not sampled or any(logged.module == name for logged in self._logged):
            return
        whole = weights[:, None] if weights.dim() == 3 else weights
        with torch.no_grad():
            self._logged.append(CapturedMap(name, keep_explicit(whole, self._bounds)))

    # ----------------------------------------------------------------------------------------------- probing

    def run_probe(self) -> CaptureReport:
        """Runs the model on the probe; modes, buffers and random states come back as they were.

        Raises:
            InputError: there is no probe.
        """
        if self._probe is None:
            raise InputError("run_probe() needs a probe: give AttentionVisualizer(..., probe=batch)")
        self._capture = capture = self._new_capture()
        try:
            with attention_probe.undisturbed(self._model), capture:
                attention_probe.run(self._model, self._probe)
        finally:
            self._capture = None
        return capture.report()

    def look_at(self, images: Tensor, queries: Sequence[str] = ()) -> NDArray[np.floating] | None:
        """Where the model looks in each of `images`, run on them as on a probe.

        Args:
            images: (samples, ...), the model's input.
            queries: for each sample the name of the class prompt to ask, as in `query_labels`, where there are prompts.

        Returns:
            (samples, rows, columns), attention on the patches: of the class prompt, else of the class token, else of
            the mean query; of the last module that has it, heads averaged. None where no keys are patches of images.
        """
        bounds = Bounds(len(images), min(self._bounds.max_tokens, _TOKENS_LOOKED_AT))
        capture = AttentionCapture(self._model, bounds, self._max_bytes // _SHARE_OF_A_PASS, self._modules)
        with attention_probe.undisturbed(self._model), capture:
            attention_probe.run(self._model, images)
        maps = {found.module: StoredMap.of(found.kept) for found in capture.report().maps}
        size = images.shape[-2:] if images.shape[-1] not in (3, 4) else images.shape[-3:-1]
        return self._views.on_images(maps, tuple(size), queries or [""] * len(images))

    # --------------------------------------------------------------------------------------------- results

    def update(self, epoch: int, batch: int | None = None) -> None:
        """Takes what was captured since the last call as belonging to `epoch` (with a probe: runs it now).

        Args:
            epoch: of the maps.
            batch: index of the batch, kept beside them.
        """
        for stamped in self._take(epoch, batch):
            self.history.add(stamped)
        self._wanted = True

    def records(self, epoch: int) -> list[Stamped]:
        """Scalars and images of a sampled epoch."""
        return [] if epoch % self._epochs.every else list(self._take(epoch, None))

    def _take(self, epoch: int, batch: int | None) -> Iterator[Stamped]:
        report = self.run_probe() if self._probe is not None else self._report
        logged, self._logged, self._report = self._logged, [], None
        maps = [*(report.maps if report is not None else []), *logged]
        if report is not None and report.fault is not None:
            raise RuntimeError("attention could not be captured; the pass itself went on") from report.fault
        self._explain(report, maps)
        now = time.time()
        for found in maps:
            stored = StoredMap.of(found.kept)
            self._store.put(epoch, batch, found.module, stored)
            self._drawing.due = True
            yield from (Stamped(epoch, now, record) for record in self._store.scalars(epoch, found.module, stored))
        self._store.thin()
        yield from (Stamped(epoch, now, record) for record in self._store.collapses())
        if maps and self._drawing.affordable():
            yield from (Stamped(epoch, now, image) for image in self._images())

    def _images(self) -> list[Image]:
        """The pictures that are worth most, drawn now."""
        with self._drawing:
            return [_image(*pair) for pair in drawn(sorted(self._plans(), key=lambda p: p.rank)[: self._max_images])]

    def closing(self) -> list[Record]:
        """The figures as they are at the end, where they were not drawn since."""
        return list(self._images()) if self._drawing.due else []

    def _explain(self, report: CaptureReport | None, maps: list[CapturedMap]) -> None:
        """One message where nothing, or not all, could be captured."""
        if report is not None and report.over_budget:
            names = ", ".join(dict.fromkeys(report.over_budget))
            self._say(f"attention of {names} did not fit into max_bytes; choose modules=[…], or raise max_bytes")
        if maps:
            return
        if report is not None:
            self._found_nothing = not report.rejected
        if report is None:
            if self._wanted:
                self._say(
                    "no forward pass of the model was seen, so no attention: give AttentionVisualizer the module that "
                    "is called, or a probe if it runs compiled"
                )
        elif report.rejected:
            seen = "; ".join(f"{name}: {why}" for name, why in list(report.rejected.items())[:5])
            self._say(
                f"attention was looked for, but nothing that was seen is taken for it ({seen}); if one of them is, "
                "name its module exactly, modules=['…'], or give its weights with log_attention(name, weights)"
            )
        else:
            self._say(
                "no attention was found in this model: no fused attention ran, and no softmax (or modules=[…] leaves "
                "all out); attention written in another way can be given with log_attention(name, weights)"
            )

    def _say(self, message: str) -> None:
        if not self._told and not self._quiet:
            logger.warning("tbmetrics: %s", message)
        self._told = True

    def state_dict(self) -> dict[str, Any]:
        """The maps, their statistics, and what was said of them."""
        return tracker_state(self, store=pack(self._store.state()), told=(self._told, self._found_nothing))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes what `state_dict` gave.

        Raises:
            InputError: it is not a visualizer's state, or of a newer version.
        """
        found = checked_tracker_state(self, state)
        self._store.restore(unpack(found["store"]))
        self._told, self._found_nothing = found["told"]

    def get_metrics(self) -> dict[str, Any]:
        """`{"maps": [{"epoch", "batch", "module", "attention"}], "statistics": {module: {"epochs", "entropy", …}}}`.

        Entropy and sparsity are one list of heads an epoch, `collapsed_heads` those of the latest. Maps are nested
        lists, the latest first, up to a million numbers; all of them are in `attention_maps`, as tensors.
        """
        return self._store.as_json()

    # -------------------------------------------------------------------------------------------- figures

    def visualize_attention(self, sample_idx: int = 0, head_idx: int | None = None) -> dict[str, Figure]:
        """The heads of every module in the latest epoch for one sample (or one head of it), by name.

        Written to `save_dir` as PNG where one was given.

        Raises:
            InputError: a sample or head that was not captured.
        """
        return self._saved(self._views.heads(self._store.maps, sample_idx, head_idx))

    def visualize(self) -> dict[str, Figure]:
        """All figures, by name; written to `save_dir` as PNG where one was given."""
        return self._saved(self.figures())

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """(name, figure) of everything that can be drawn: `{module}/heads`, `…/evolution`, `…/overlay`, `entropy`."""
        return drawn(self._plans())

    def _plans(self) -> Iterator[Plan]:
        return self._views.plans(self._store.maps, self._store.entropies())

    def _saved(self, figures: Iterable[tuple[str, Figure]]) -> dict[str, Figure]:
        from tbmetrics.figures.output import Figures

        drawn = Figures(figures)
        if self.save_dir is not None:
            from tbmetrics.figures.output import save_figures

            save_figures(drawn, self.save_dir)
        return drawn


def _image(name: str, figure: Figure) -> Image:
    from tbmetrics.figures.style import pixels

    module, _, kind = name.rpartition("/")
    return Image(f"{ATTENTION}/{tag_part(module)}/{kind}" if module else f"{ATTENTION}/{kind}", pixels(figure))
