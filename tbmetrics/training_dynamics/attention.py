"""AttentionVisualizer: what a model attends to, on the same few samples over training."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.history import History, Stamped, to_jsonable
from tbmetrics.records import ATTENTION, Image, Record, Scalar, dynamics_tag, tag_part
from tbmetrics.tracker import Cadence, Tracker
from tbmetrics.training_dynamics import attention_statistics as statistics
from tbmetrics.training_dynamics.attention_capture import AttentionCapture, CapturedMap, CaptureReport
from tbmetrics.training_dynamics.attention_views import AttentionViews, DrawingTime, Maps, as_images, of_module
from tbmetrics.training_dynamics.attention_weights import Bounds
from tbmetrics.training_dynamics.hooks import Hook, is_compiled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("tbmetrics")

EPOCHS_KEPT = 12  # of maps, evenly spread; the latest always


class AttentionVisualizer(Tracker):
    """Captures attention of any model, without touching it, and draws it.

        visualizer = AttentionVisualizer(model, probe=images[:4])
        with TBMetrics("runs/a", model=model, attention=visualizer) as tb:
            ...

    With a `probe` the model is run on it at the end of every `every`-th epoch: uncompiled, in evaluation mode, without
    gradients, random state and modes restored. The same samples are seen each time, so maps compare. Without a probe
    the first training pass of each such epoch is watched as it happens; compiled models need a probe.

    Args:
        model: the model.
        save_dir: where `visualize` writes its figures.
        probe: input of the model: a tensor, a tuple of arguments, or a dictionary of keyword arguments.
        images: the probe's images (samples, height, width[, channels]) or (samples, channels, height, width), for
            overlays; None = the probe itself where it has that shape.
        grid: (rows, columns) of the patches in an image; None = found from their number.
        sample_names: of the probe's samples, e.g. their class and its group.
        modules: patterns of the modules to keep; None = all.
        query_labels, key_labels: `{pattern of modules: names}` of queries and keys, e.g. class prompts.
        key_groups: `{pattern of modules: group of each key}`: the mass on each group becomes a scalar.
        every: epochs between samples.
        max_samples: first samples kept.
        max_tokens: queries and keys kept; of more, evenly spaced ones.
        max_bytes: of all maps of one pass.

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
        max_bytes: int = 64 * 2**20,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        for option, value in (("max_samples", max_samples), ("max_tokens", max_tokens), ("max_bytes", max_bytes)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{option} must be a whole number of at least 1, got {value!r}")
        if grid is not None and (len(grid) != 2 or min(grid) < 1):
            raise InputError(f"grid must be (rows, columns) of the patches, got {grid!r}")
        self.save_dir = save_dir
        self.attention_maps: list[dict[str, Any]] = []
        self.history = History(bounded=True)
        self._model = _inner(model)
        self._hooked = model
        self._probe = probe
        self._views = AttentionViews(
            as_images(probe if images is None and isinstance(probe, Tensor) else images),
            tuple(sample_names or ()),
            query_labels or {},
            key_labels or {},
            grid,
        )
        self._modules, self._key_groups = modules, key_groups or {}
        self._drawing = DrawingTime()
        self._epochs = Cadence(every, "every")
        self._bounds, self._max_bytes = Bounds(max_samples, max_tokens), max_bytes
        self._statistics: dict[str, list[tuple[int, NDArray[np.floating[Any]], NDArray[np.floating[Any]]]]] = {}
        self._logged: list[CapturedMap] = []
        self._report: CaptureReport | None = None
        self._wanted = False
        self._capture: AttentionCapture | None = None
        self._handles: list[Any] = []
        self._told = False

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
        self._wanted = epoch % self._epochs.every == 0

    def _begin(self, module: nn.Module) -> None:
        self._leave()
        if not self._wanted or module is not self._hooked:
            return
        self._wanted = False
        self._capture = AttentionCapture(self._model, self._bounds, self._max_bytes, self._modules)
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

    def log_attention(self, name: str, weights: Tensor) -> None:
        """Takes weights that cannot be captured, from inside the model; they belong to the epoch that is open.

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
        whole = weights.detach()[:, None] if weights.dim() == 3 else weights.detach()
        self._logged = [m for m in self._logged if m.module != name]
        self._logged.append(CapturedMap(name, self._bounds.cut(whole), (whole.shape[2], whole.shape[3])))

    # ----------------------------------------------------------------------------------------------- probing

    def run_probe(self) -> CaptureReport:
        """Runs the model on the probe; modes, random state and everything else come back as they were.

        Raises:
            InputError: there is no probe.
        """
        if self._probe is None:
            raise InputError("run_probe() needs a probe: give AttentionVisualizer(..., probe=batch)")
        capture = AttentionCapture(self._model, self._bounds, self._max_bytes, self._modules)
        with _undisturbed(self._model), torch.no_grad(), capture:
            _call(self._model, self._probe)
        return capture.report()

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
        if epoch % self._epochs.every:
            return []
        stamped = list(self._take(epoch, None))
        for item in stamped:
            self.history.add(item)
        return stamped

    def _take(self, epoch: int, batch: int | None) -> Iterator[Stamped]:
        report = self.run_probe() if self._probe is not None else self._report
        self._report = None
        maps = [*(report.maps if report is not None else []), *self._logged]
        self._logged = []
        if report is not None and report.fault is not None:
            raise RuntimeError("attention could not be captured; the pass itself was not touched") from report.fault
        if report is not None:
            self._explain(report, maps)
        now = time.time()
        for found in maps:
            weights = found.weights.cpu()
            self._keep(epoch, batch, found.module, weights)
            for record in self._scalars(epoch, found.module, weights.numpy()):
                yield Stamped(epoch, now, record)
        if maps and self._drawing.affordable():
            yield from (Stamped(epoch, now, image) for image in self._images())

    def _images(self) -> list[Image]:
        with self._drawing:
            return [_image(name, figure) for name, figure in self.figures()]

    def closing(self) -> list[Record]:
        """The figures as they are at the end."""
        return list(self._images()) if self.attention_maps else []

    def _keep(self, epoch: int, batch: int | None, module: str, weights: Tensor) -> None:
        entry = {"epoch": epoch, "batch": batch, "module": module, "attention": weights}
        self.attention_maps = [m for m in self.attention_maps if (m["epoch"], m["module"]) != (epoch, module)]
        self.attention_maps.append(entry)
        epochs = sorted({m["epoch"] for m in self.attention_maps})
        if len(epochs) > EPOCHS_KEPT:  # the one whose neighbours are closest goes; first and latest stay
            gaps = {e: epochs[i + 1] - epochs[i - 1] for i, e in enumerate(epochs) if 0 < i < len(epochs) - 1}
            dropped = min(gaps, key=lambda e: (gaps[e], e))
            self.attention_maps = [m for m in self.attention_maps if m["epoch"] != dropped]

    def _scalars(self, epoch: int, module: str, weights: NDArray[Any]) -> Iterator[Record]:
        entropies, sparsities = statistics.entropy(weights), statistics.sparsity(weights)
        kept = self._statistics.setdefault(module, [])
        kept[:] = [row for row in kept if row[0] != epoch] + [(epoch, entropies, sparsities)]
        yield Scalar(dynamics_tag("attention_entropy", module), float(np.nanmean(entropies)))
        yield Scalar(dynamics_tag("attention_keys_for_90_percent", module), float(np.nanmean(sparsities)))
        collapsed = int((entropies < statistics.COLLAPSED_ENTROPY).sum())
        yield Scalar(dynamics_tag("attention_collapsed_heads", module), float(collapsed))
        groups = of_module(self._key_groups, module)
        if groups and len(groups) == weights.shape[-1]:
            for group, mass in statistics.mass_by_group(weights, groups).items():
                yield Scalar(f"{dynamics_tag('attention_mass', module)}/{tag_part(group)}", mass)

    def _explain(self, report: CaptureReport, maps: list[CapturedMap]) -> None:
        """One message where nothing, or not all, could be captured."""
        if report.over_budget:
            names = ", ".join(dict.fromkeys(report.over_budget))
            self._say(f"attention of {names} did not fit into max_bytes; choose modules=[…], or lower max_tokens")
        if maps:
            return
        if report.rejected:
            seen = "; ".join(f"{name}: {why}" for name, why in list(report.rejected.items())[:5])
            self._say(
                f"softmaxes were seen, but none is attention ({seen}); use log_attention(name, weights) for yours"
            )
        else:
            self._say(
                "no attention was found in this model: no fused attention ran, and no softmax (or modules=[…] leaves "
                "all out); attention written in another way can be given with log_attention(name, weights)"
            )

    def _say(self, message: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("tbmetrics: %s", message)

    def get_metrics(self) -> dict[str, Any]:
        """`{"maps": [{"epoch", "batch", "module", "attention"}], "statistics": {module: {"epochs", "entropy", …}}}`.

        The maps are nested lists, entropy and sparsity one list of heads an epoch.
        """
        found: dict[str, Any] = to_jsonable(
            {
                "maps": [{**m, "attention": m["attention"].numpy()} for m in self.attention_maps],
                "statistics": {
                    module: {
                        "epochs": [epoch for epoch, _, _ in rows],
                        "entropy": [e for _, e, _ in rows],
                        "keys_for_90_percent": [s for _, _, s in rows],
                    }
                    for module, rows in self._statistics.items()
                },
            }
        )
        return found

    # -------------------------------------------------------------------------------------------- figures

    def visualize_attention(self, sample_idx: int = 0, head_idx: int | None = None) -> dict[str, Figure]:
        """The heads of every module in the latest epoch for one sample (or one head of it), by name.

        Written to `save_dir` as PNG where one was given.

        Raises:
            InputError: a sample or head that was not captured.
        """
        return self._saved(dict(self._views.heads(self._by_module(), sample_idx, head_idx)))

    def visualize(self) -> dict[str, Figure]:
        """All figures, by name; written to `save_dir` as PNG where one was given."""
        return self._saved(dict(self.figures()))

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """(name, figure) of everything that can be drawn: `{module}/heads`, `…/evolution`, `…/overlay`, `entropy`."""
        entropies = {
            module: ([epoch for epoch, _, _ in rows], np.array([values for _, values, _ in rows]))
            for module, rows in self._statistics.items()
        }
        yield from self._views.figures(self._by_module(), entropies)

    def _saved(self, drawn: dict[str, Figure]) -> dict[str, Figure]:
        if self.save_dir is not None:
            from tbmetrics.figures.saving import save_figures

            save_figures(drawn, self.save_dir)
        return drawn

    def _by_module(self) -> Maps:
        found: Maps = {}
        for entry in self.attention_maps:
            found.setdefault(entry["module"], {})[entry["epoch"]] = entry["attention"].numpy()
        return found


def _image(name: str, figure: Figure) -> Image:
    from tbmetrics.figures.attention import pixels

    module, _, kind = name.rpartition("/")
    return Image(f"{ATTENTION}/{tag_part(module)}/{kind}" if module else f"{ATTENTION}/{kind}", pixels(figure))


def _inner(model: nn.Module) -> nn.Module:
    """The module itself: uncompiled, and without the wrapper of data-parallel training, whose forward is collective."""
    inner = getattr(model, "_orig_mod", model)
    return inner.module if isinstance(inner, nn.parallel.DistributedDataParallel) else inner


def _call(model: nn.Module, probe: Any) -> None:
    if isinstance(probe, Mapping):
        model(**probe)
    elif isinstance(probe, tuple | list):
        model(*probe)
    else:
        model(probe)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, uncompiled, random state and modes restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
