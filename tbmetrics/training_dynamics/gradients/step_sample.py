"""One sampled optimizer step: what was measured on the device, and the records it becomes once it is on the host."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tbmetrics.records import PARAMETER_COLUMNS, Float32Array, Histogram, histogram_tag
from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.training_dynamics.gradients.activations import ForwardSample
from tbmetrics.training_dynamics.gradients.histograms import MEASURABLE, TensorStatistics, measure, summarise
from tbmetrics.training_dynamics.gradients.norms import Packet

GRADIENT_NORM, WEIGHT_NORM, UPDATE_RATIO, GRADIENT_COSINE = range(len(PARAMETER_COLUMNS))


@dataclass(slots=True)
class StepSample:
    """Measurements of one step, on their way to the host.

    Attributes:
        wall_time: Unix seconds.
        detailed: whether weights, changes and histograms belong to it.
        step: the optimizer step, known when the step is done.
        gradients, weights, changes, cosines: norms and cosines by row.
        statistics: (tag, histogram) of tensors, counted on the device.
        passes: number of backward passes, and the squared gradient norms after the first and after all of them.
        forward: what the step's forward pass showed.
        found_inf: of a fused optimizer under a `GradScaler`: above 0 where it skipped the step.
    """

    detailed: bool
    wall_time: float = field(default_factory=time.time)
    step: int | None = None
    gradients: list[Packet] = field(default_factory=list)
    weights: list[Packet] = field(default_factory=list)
    changes: list[Packet] = field(default_factory=list)
    cosines: list[Packet] = field(default_factory=list)
    statistics: list[tuple[list[tuple[str, torch.dtype]], HostCopy, HostCopy]] = field(default_factory=list)
    passes: tuple[int, HostCopy] | None = None
    forward: ForwardSample | None = None
    found_inf: list[HostCopy] = field(default_factory=list)
    _single: tuple[list[int], list[Tensor]] = field(default_factory=lambda: ([], []))
    _counted: dict[str, TensorStatistics] = field(default_factory=dict)

    def take_gradient(self, row: int, gradient: Tensor, histogram_of: str | None = None) -> None:
        """One gradient, as its backward pass finishes it; with a histogram where its name is given."""
        dense = _dense(gradient)
        rows, found = self._single
        rows.append(row)
        found.append(torch.linalg.vector_norm(dense, dtype=torch.float32))
        if histogram_of is not None and dense.dtype in MEASURABLE and dense.numel():
            self._counted[histogram_of] = measure(dense)

    def take_histograms(self, of: str, named: Iterable[tuple[str, Tensor]]) -> None:
        """Histograms of tensors `of` a kind ("gradients", …); of a sharded tensor its local shard."""
        local = ((name, _dense(tensor)) for name, tensor in named)
        self.take_statistics(of, {name: measure(t) for name, t in local if t.dtype in MEASURABLE and t.numel()})

    def take_statistics(self, of: str, found: dict[str, TensorStatistics]) -> None:
        """Histograms that are counted already."""
        grouped: dict[tuple[torch.dtype, torch.device], list[str]] = {}
        for name, statistics in found.items():
            grouped.setdefault((statistics.dtype, statistics.counts.device), []).append(name)
        for (dtype, _), names in grouped.items():
            counts = HostCopy(torch.stack([found[name].counts for name in names]))
            extremes = HostCopy(torch.stack([found[name].extremes for name in names]))
            self.statistics.append(([(histogram_tag(of, name), dtype) for name in names], counts, extremes))

    def take_found_inf(self, found_inf: Tensor | None) -> None:
        """What a `GradScaler` tells a fused optimizer: above 0 where it has to skip the step."""
        if found_inf is not None:
            self.found_inf.append(HostCopy(found_inf.detach().clone()))

    def finish(self, step: int) -> None:
        """The step is done and has its number; nothing is measured any more."""
        self.step = step
        rows, found = self._single
        if rows:
            self.gradients += [
                Packet([rows[i] for i in at], HostCopy(torch.stack([found[i] for i in at]))) for at in _by_device(found)
            ]
            self._single = ([], [])
        self.take_statistics("gradients", self._counted)
        if self.forward is not None:
            self.take_statistics("activations", self.forward.histograms)

    def arrived(self) -> bool:
        """Whether everything is on the host; never waits."""
        return all(copy.arrived() for copy in self._copies())

    def _copies(self) -> Iterator[HostCopy]:
        for packets in (self.gradients, self.weights, self.changes, self.cosines):
            yield from (packet.values for packet in packets)
        for _, counts, extremes in self.statistics:
            yield from (counts, extremes)
        yield from self.found_inf
        if self.passes is not None:
            yield self.passes[1]
        if self.forward is not None:
            yield from (copy for copy in (self.forward.finite, self.forward.shares) if copy is not None)

    def table(self, n_rows: int) -> Float32Array:
        """Values of shape (rows, columns), columns as `records.PARAMETER_COLUMNS`.

        NaN where not measured; a norm that is not finite is infinite.
        """
        found = np.full((n_rows, len(PARAMETER_COLUMNS)), np.nan, dtype=np.float32)
        columns = (self.gradients, self.weights, self.changes, self.cosines)
        for column, packets in enumerate(columns):
            for packet in packets:
                values = packet.values.get().numpy()
                if column in (GRADIENT_NORM, WEIGHT_NORM):
                    values = np.where(np.isfinite(values), values, np.inf)
                found[packet.rows, column] = values
        with np.errstate(divide="ignore", invalid="ignore"):
            found[:, UPDATE_RATIO] /= found[:, WEIGHT_NORM]
        ratios = found[:, UPDATE_RATIO]
        ratios[~np.isfinite(ratios)] = np.nan  # of a parameter that was zero
        return found

    def histograms(self) -> Iterator[Histogram]:
        """The histograms, finite values only."""
        for tags, counts, extremes in self.statistics:
            rows = zip(tags, counts.get().numpy(), extremes.get().double().tolist(), strict=True)
            for (tag, dtype), of_tensor, its_extremes in rows:
                yield summarise(tag, dtype, of_tensor, its_extremes).histogram

    def skipped(self) -> bool:
        """Whether a fused optimizer found infinities in scaled gradients and left the weights alone."""
        return any(bool((copy.get() > 0).any()) for copy in self.found_inf)


def _dense(tensor: Tensor) -> Tensor:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    local = local.detach()
    if local.is_sparse:
        local = local.coalesce().values()
    return torch.view_as_real(local) if local.is_complex() else local


def _by_device(tensors: Sequence[Tensor]) -> list[list[int]]:
    at: dict[torch.device, list[int]] = {}
    for i, tensor in enumerate(tensors):
        at.setdefault(tensor.device, []).append(i)
    return list(at.values())
