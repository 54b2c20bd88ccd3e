"""The measurements of one sampled optimizer step, taken on the device and read once they are on the host."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tbmetrics.records import PARAMETER_COLUMNS, FloatArray, Histogram, histogram_tag
from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.training_dynamics.gradients.activations import ForwardSample
from tbmetrics.training_dynamics.gradients.histograms import TensorStatistics, measure, summarise
from tbmetrics.training_dynamics.gradients.norms import Kind, Packet, dense, kind_of, local_norms, reduced_packets

GRADIENT_NORM, WEIGHT_NORM, UPDATE_RATIO, GRADIENT_COSINE = range(len(PARAMETER_COLUMNS))


@dataclass(slots=True)
class StepSample:
    """Measurements of one step, on their way to the host.

    Attributes:
        detailed: whether weights, changes and histograms belong to it.
        wall_time: Unix seconds.
        step: number of the optimizer step, known when the step is done.
        gradients, weights, changes, cosines: norms and cosines by row.
        statistics: (tags of tensors, their dtype, bucket counts, extremes).
        passes: number of backward passes, and the squared gradient norms after the first and after all of them.
        forward: measurements of the step's forward pass.
        found_inf: from a fused optimizer under a `GradScaler`: above 0 if it skipped the step.
    """

    detailed: bool
    wall_time: float = field(default_factory=time.time)
    step: int | None = None
    gradients: list[Packet] = field(default_factory=list)
    weights: list[Packet] = field(default_factory=list)
    changes: list[Packet] = field(default_factory=list)
    cosines: list[Packet] = field(default_factory=list)
    statistics: list[tuple[list[str], torch.dtype, HostCopy, HostCopy]] = field(default_factory=list)
    passes: tuple[int, HostCopy] | None = None
    forward: ForwardSample | None = None
    found_inf: list[HostCopy] = field(default_factory=list)
    _norm_by_row: dict[int, tuple[Kind, Tensor]] = field(default_factory=dict)  # of a gradient's local shard
    _gradient_statistics: dict[str, TensorStatistics] = field(default_factory=dict)

    def take_gradient(self, row: int, gradient: Tensor, histogram_name: str | None = None) -> None:
        """Measure one gradient as its backward pass finishes it; with a histogram if it is given a name."""
        self._norm_by_row[row] = kind_of(gradient), local_norms([gradient])[0]
        if histogram_name is not None and (local := dense(gradient)).numel():
            self._gradient_statistics[histogram_name] = measure([local])

    def take_histograms(self, kind: str, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        """Count histograms of tensors of a kind ("gradients", …); of a sharded tensor, its local shard."""
        grouped: dict[tuple[torch.dtype, torch.device], tuple[list[str], list[Tensor]]] = {}
        for name, tensor in zip(names, map(dense, tensors), strict=True):
            if tensor.numel():
                group = grouped.setdefault((tensor.dtype, tensor.device), ([], []))
                group[0].append(name)
                group[1].append(tensor)
        for group_names, group_tensors in grouped.values():
            self._send(kind, group_names, measure(group_tensors))

    def take_statistics(self, kind: str, by_name: Mapping[str, TensorStatistics]) -> None:
        """Send histograms of single tensors, counted before, to the host."""
        grouped: dict[tuple[torch.dtype, torch.device], list[str]] = {}
        for name, statistics in by_name.items():
            grouped.setdefault((statistics.dtype, statistics.counts.device), []).append(name)
        for (dtype, _), names in grouped.items():
            counts, extremes = zip(*((by_name[name].counts, by_name[name].extremes) for name in names), strict=True)
            self._send(kind, names, TensorStatistics(dtype, torch.cat(counts), torch.cat(extremes)))

    def _send(self, kind: str, names: Sequence[str], statistics: TensorStatistics) -> None:
        tags = [histogram_tag(kind, name) for name in names]
        counts, extremes = HostCopy(statistics.counts), HostCopy(statistics.extremes)
        self.statistics.append((tags, statistics.dtype, counts, extremes))

    def take_found_inf(self, found_inf: Tensor | None) -> None:
        """Copy what a `GradScaler` gives a fused optimizer: above 0 if the optimizer has to skip the step."""
        if found_inf is not None:
            self.found_inf.append(HostCopy(found_inf.detach().clone()))

    def finish(self, step: int) -> None:
        """End the measurement; the step is done and has its number."""
        self.step = step
        if self._norm_by_row:
            kinds, norms = zip(*self._norm_by_row.values(), strict=True)
            self.gradients += reduced_packets(list(self._norm_by_row), kinds, norms)
        self._norm_by_row = {}
        self.take_statistics("gradients", self._gradient_statistics)
        if self.forward is not None:
            self.take_statistics("activations", self.forward.histograms)

    def arrived(self) -> bool:
        """Whether everything is on the host; never waits."""
        return all(copy.arrived() for copy in self._copies())

    def _copies(self) -> Iterator[HostCopy]:
        for packets in (self.gradients, self.weights, self.changes, self.cosines):
            yield from (packet.values for packet in packets)
        for _, _, counts, extremes in self.statistics:
            yield from (counts, extremes)
        yield from self.found_inf
        if self.passes is not None:
            yield self.passes[1]
        if self.forward is not None:
            yield from (copy for copy in (self.forward.peaks, self.forward.shares) if copy is not None)

    def table(self, n_rows: int) -> FloatArray:
        """Values of shape (rows, columns), columns as `records.PARAMETER_COLUMNS`.

        NaN if not measured; a norm that is not finite is infinite.
        """
        table = np.full((n_rows, len(PARAMETER_COLUMNS)), np.nan)
        for column, packets in enumerate((self.gradients, self.weights, self.changes, self.cosines)):
            for packet in packets:
                values = packet.values.get().numpy()
                if column in (GRADIENT_NORM, WEIGHT_NORM):
                    values = np.where(np.isfinite(values), values, np.inf)
                table[packet.rows, column] = values
        with np.errstate(divide="ignore", invalid="ignore"):
            table[:, UPDATE_RATIO] /= table[:, WEIGHT_NORM]
        ratios = table[:, UPDATE_RATIO]
        ratios[~np.isfinite(ratios)] = np.nan  # of a parameter that was zero
        return table

    def histograms(self) -> Iterator[Histogram]:
        """The histograms, finite values only."""
        for tags, dtype, counts, extremes in self.statistics:
            yield from summarise(tags, dtype, counts.get().numpy(), extremes.get().double().numpy())

    def skipped(self) -> bool:
        """Whether a fused optimizer saw infinities in scaled gradients and left the weights alone."""
        return any(bool((copy.get() > 0).any()) for copy in self.found_inf)
