"""AttentionVisualizer: what a model attends to, on the same few samples over training."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.records import ATTENTION_PREFIX, Image, tag_part
from tbmetrics.records.history import TimedRecord
from tbmetrics.tracking.cadence import Cadence
from tbmetrics.tracking.checks import check_whole_numbers, whole_epoch
from tbmetrics.tracking.drawing import DrawingTime
from tbmetrics.tracking.state import checked_tracker_state, pack, tracker_state, unpack
from tbmetrics.tracking.tracker import Tracker
from tbmetrics.training_dynamics.attention.capture import CapturedMap, CaptureReport
from tbmetrics.training_dynamics.attention.passes import AttentionPasses
from tbmetrics.training_dynamics.attention.store import MapStore, StoredMap
from tbmetrics.training_dynamics.attention.token_names import TokenNames
from tbmetrics.training_dynamics.attention.views import AttentionViews, Plan, as_images, drawn, images_of_probe
from tbmetrics.training_dynamics.attention.weights import Bounds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tbmetrics.classes.groups import ClassGroups

logger = logging.getLogger("tbmetrics")

_TOKENS_LOOKED_AT = 32  # queries and keys of the maps in `look_at`, which uses their rows, with all keys
FEWEST_IMAGES = 3  # of a drawing, however short the run
_PASSES_IN_BUDGET = 4  # each pass gets a quarter of the bytes, so that a few epochs always fit


class AttentionVisualizer(Tracker):
    """Captures attention of any model, without changing it, and draws it.

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
            overlays; None = the probe itself, if it has that shape.
        sample_names: of the probe's samples, e.g. class and group.
        grid: (rows, columns) of the patches in an image; None = found from their number.
        modules: patterns of the modules to keep; None = all. In a module named exactly, without wildcards, a softmax
            that feeds a matrix product counts as attention whatever its scores come from.
        query_labels, key_labels: `{pattern of modules: names}` of queries and keys, e.g. class prompts; of a module
            that runs several times in a pass, `vsi#0` is the first call. Lists that do not fit are said, not used.
        key_groups: `{pattern of modules: group of each key}`: the mass on each group becomes a scalar.
        classes: names and groups of keys where none are given and an attribute with as many classes can be told.
        every: epochs between samples.
        max_samples: first samples of a batch to keep.
        max_tokens: queries and keys of a map to keep; of more, every 2nd, 4th, …. Overlays and masses use all keys.
        max_bytes: of all maps; one pass gets a quarter. If that is too little, fewer tokens, then fewer samples, then
            fewer epochs are kept.
        max_images: pictures written to the log at a time; class prompts and overlays come first. In a short run 3,
            and as many more as take 0.5 % of its time.
        quiet: do not warn if there is no attention, and watch a model without any for one pass only.

    Attributes:
        attention_maps: `{"epoch", "batch", "module", "attention": float32 (samples, heads, queries, keys)}`; of at most
            12 epochs.
        history: scalars and images.
        names: of the queries and keys of each module.

    Raises:
        InputError: an argument cannot work; the message says which and why.
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
        classes: ClassGroups | None = None,
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
        _check_names(grid, sample_names, probe)
        self.save_dir = save_dir
        self._bounds = Bounds(max_samples, max_tokens)
        self._passes = AttentionPasses(model, probe, self._bounds, max_bytes // _PASSES_IN_BUDGET, modules, self.guard)
        self.names = TokenNames(query_labels or {}, key_labels or {}, key_groups or {}, classes)
        self._views = AttentionViews(
            images_of_probe(probe) if images is None else as_images(images),
            tuple(sample_names or ()),
            self.names,
            grid,
        )
        self._drawing = DrawingTime()
        self._epochs = Cadence(every, "every")
        self._max_images, self._quiet = max_images, quiet
        self._store = MapStore(max_bytes, self.names)
        self._has_warned = self._has_no_attention = False

    @property
    def attention_maps(self) -> list[dict[str, Any]]:
        """`{"epoch", "batch", "module", "attention": float32 (samples, heads, queries, keys)}`, oldest first."""
        return self._store.attention_maps

    # ------------------------------------------------------------------------------------------------- hooks

    def register_hooks(self) -> None:
        """Set the hooks on the model (none with a probe); idempotent."""
        self._passes.is_due = True
        if not self._passes.attach():
            self._warn("a compiled model's attention cannot be watched as it trains: give AttentionVisualizer a probe")

    def remove_hooks(self) -> None:
        """Remove every hook; idempotent."""
        self._passes.detach()

    def start(self) -> None:
        """Set the hooks."""
        self.register_hooks()
        self._passes.is_due = False

    def stop(self) -> None:
        """Remove every hook."""
        self.remove_hooks()

    def start_epoch(self, epoch: int) -> None:
        """Capture the first training pass of the epoch, if it is sampled."""
        self._passes.is_due = epoch % self._epochs.every == 0 and not (self._quiet and self._has_no_attention)

    def log_attention(self, name: str, weights: Tensor) -> None:
        """Take weights that cannot be captured, from inside the model; free in passes that are not sampled.

        Args:
            name: of the module.
            weights: (samples, heads, queries, keys), or without heads (samples, queries, keys).

        Raises:
            InputError: the weights have another shape.
        """
        if weights.dim() not in (3, 4):
            raise InputError(
                f"attention {name!r}: expected (samples, [heads,] queries, keys), got {tuple(weights.shape)}"
            )
        self._passes.log(name, weights[:, None] if weights.dim() == 3 else weights)

    # ----------------------------------------------------------------------------------------------- probing

    def run_probe(self) -> CaptureReport:
        """Run the model on the probe; modes, buffers and random states are restored.

        Raises:
            InputError: there is no probe.
        """
        return self._passes.run_probe()

    def look_at(self, images: Tensor, queries: Sequence[str] = ()) -> NDArray[np.floating] | None:
        """Where the model looks in each of `images`, run on them as on a probe.

        Args:
            images: (samples, ...), the model's input.
            queries: with class prompts, the name of the prompt for each sample, as in `query_labels`.

        Returns:
            (samples, rows, columns), attention of the class prompt, the class token or the mean query on the patches,
            in the last module that has it, heads averaged. None if no keys are patches of images.
        """
        bounds = Bounds(len(images), min(self._bounds.max_tokens, _TOKENS_LOOKED_AT))
        report = self._passes.run_on(images, bounds)
        maps = {captured.module: StoredMap.from_sample(captured.sample) for captured in report.maps}
        size = images.shape[-2:] if images.shape[-1] not in (3, 4) else images.shape[-3:-1]
        return self._views.on_images(maps, tuple(size), queries or [""] * len(images))

    # --------------------------------------------------------------------------------------------- results

    def update(self, epoch: int, batch: int | None = None) -> None:
        """Take what was captured since the last call as belonging to `epoch`; with a probe, run it now.

        Args:
            epoch: of the maps.
            batch: index of the batch, stored with them.
        """
        for timed in self._take(whole_epoch(epoch), batch):
            self.history.add(timed)
        self._passes.is_due = True

    def records(self, epoch: int) -> list[TimedRecord]:
        """Scalars and images of a sampled epoch."""
        return [] if epoch % self._epochs.every else list(self._take(epoch, None))

    def _take(self, epoch: int, batch: int | None) -> Iterator[TimedRecord]:
        report, logged = self._passes.take()
        maps = [*(report.maps if report is not None else []), *logged]
        if report is not None and report.fault is not None:
            raise RuntimeError("attention could not be captured; the pass itself went on") from report.fault
        self._explain(report, maps)
        now = time.time()
        stored_maps = {captured.module: StoredMap.from_sample(captured.sample) for captured in maps}
        for misfit in self.names.learn({module: stored.tokens for module, stored in stored_maps.items()}):
            logger.warning("tbmetrics: attention: %s", misfit)
        for module, stored in stored_maps.items():
            self._store.put(epoch, batch, module, stored)
            self._drawing.due = True
            yield from (TimedRecord(epoch, now, record) for record in self._store.scalars(epoch, module, stored))
        self._store.thin()
        yield from (TimedRecord(epoch, now, record) for record in self._store.collapses())
        if maps and not self.is_interrupted and self._drawing.affordable():
            yield from (TimedRecord(epoch, now, image) for image in self._images())

    def _images(self) -> list[Image]:
        """The most telling figures, drawn now; a short run has few, as they would take a large part of its time."""
        images: list[Image] = []
        with self._drawing:
            plans = sorted(self._plans(), key=attrgetter("rank"))
            for name, figure in drawn(plans[: self._max_images]):
                images.append(_image(name, figure))
                if len(images) >= FEWEST_IMAGES and self._drawing.is_long():
                    break
        return images

    def closing(self) -> list[Image]:
        """The final figures, if they have not been drawn yet."""
        return self._images() if self._drawing.due else []

    def _explain(self, report: CaptureReport | None, maps: list[CapturedMap]) -> None:
        """Warn once if nothing, or not all, could be captured."""
        if report is not None and report.over_budget:
            names = ", ".join(dict.fromkeys(report.over_budget))
            self._warn(f"attention of {names} did not fit into max_bytes; choose modules=[…], or raise max_bytes")
        if maps:
            return
        if report is not None:
            self._has_no_attention = not report.rejected
            self._warn(report.why_no_maps())
        elif self._passes.is_due:
            self._warn(
                "no forward pass of the model was seen, so no attention: give AttentionVisualizer the module that "
                "is called, or a probe if it runs compiled"
            )

    def _warn(self, message: str) -> None:
        if not self._has_warned and not self._quiet:
            logger.warning("tbmetrics: %s", message)
        self._has_warned = True

    def state_dict(self) -> dict[str, Any]:
        """The maps, their statistics, and the warnings that were given."""
        return tracker_state(self, store=pack(self._store.state()), told=(self._has_warned, self._has_no_attention))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: the state is not a visualizer's, or of a newer version.
        """
        entries = checked_tracker_state(self, state)
        self._store.restore(unpack(entries["store"]))
        self._has_warned, self._has_no_attention = entries["told"]

    def get_metrics(self) -> dict[str, Any]:
        """`{"maps": [{"epoch", "batch", "module", "attention"}], "statistics": {module: {"epochs", "entropy", …}}}`.

        Entropy and sparsity have a list of heads per epoch, `collapsed_heads` are those of the latest epoch. Maps are
        nested lists, the latest first, up to a million numbers; `attention_maps` has all of them as tensors.
        """
        return self._store.as_json()

    # -------------------------------------------------------------------------------------------- figures

    def visualize_attention(self, sample_idx: int = 0, head_idx: int | None = None) -> dict[str, Figure]:
        """The heads of every module in the latest epoch for one sample (or one head of it), by name.

        Also written to `save_dir` as PNG, if given.

        Raises:
            InputError: a sample or head that was not captured.
        """
        return self._saved(self._views.heads(self._store.maps, sample_idx, head_idx))

    def visualize(self) -> dict[str, Figure]:
        """All figures, by name; also written to `save_dir` as PNG, if given."""
        return self._saved(self.figures())

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """(name, figure) of everything that can be drawn: `{module}/heads`, `…/evolution`, `…/overlay`, `entropy`."""
        return drawn(self._plans())

    def _plans(self) -> Iterator[Plan]:
        return self._views.plans(self._store.maps, self._store.entropies())

    def _saved(self, figures: Iterable[tuple[str, Figure]]) -> dict[str, Figure]:
        from tbmetrics.figures.output import collect_figures

        return collect_figures(figures, self.save_dir)


def _image(name: str, figure: Figure) -> Image:
    from tbmetrics.figures.output import pixels

    module, _, kind = name.rpartition("/")
    return Image(ATTENTION_PREFIX + (f"{tag_part(module)}/{kind}" if module else kind), pixels(figure))


def _check_names(grid: Any, sample_names: Any, probe: Any) -> None:
    """Refuse a malformed grid, and names that cannot be those of the probe's samples."""
    if grid is not None and not (len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)):
        raise InputError(f"grid must be (rows, columns) of the patches, got {grid!r}")
    if isinstance(sample_names, str):
        raise InputError(f"sample_names must be one name a sample, got the string {sample_names!r}")
    if isinstance(probe, Tensor) and sample_names is not None and len(sample_names) > len(probe):
        raise InputError(f"sample_names has {len(sample_names)} names for a probe of {len(probe)} samples")
