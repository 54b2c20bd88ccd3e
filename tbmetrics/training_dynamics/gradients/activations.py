"""Outputs of modules in sampled forward passes: zeros, dead units, saturation, and where values stop being finite."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tbmetrics.tracking.hooks import Hook, after_forward, before_forward
from tbmetrics.tracking.host_copies import HostCopy
from tbmetrics.tracking.patterns import choose, named_modules
from tbmetrics.tracking.shards import local_shard
from tbmetrics.training_dynamics.gradients.histograms import MEASURABLE, TensorStatistics, measure

#: Lower and upper bound of the outputs of activations that saturate.
_BOUNDS: dict[type[nn.Module], tuple[float, float]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Hardtanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
_ACTIVATIONS: tuple[type[nn.Module], ...] = (
    *_BOUNDS,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Softplus,
    nn.GLU,
)
_SATURATED = 0.01  # share of the range next to a bound


@dataclass(slots=True)
class ForwardSample:
    """Measurements of one forward pass, on their way to the host.

    Attributes:
        order: names of the modules in the order in which they finished; "" is the model's input.
        peaks: largest element of each of these outputs: NaN or infinity if the output holds it. −∞ alone does not
            show: masks hold it.
        modules: names of the watched activations.
        shares: float32 of shape (modules, 4), the columns of `records.ACTIVATION_COLUMNS`.
        histograms: by module.
    """

    order: list[str] = field(default_factory=list)
    peaks: HostCopy | None = None
    modules: list[str] = field(default_factory=list)
    shares: HostCopy | None = None
    histograms: dict[str, TensorStatistics] = field(default_factory=dict)

    def finite_outputs(self) -> tuple[list[str], list[bool]]:
        """(modules in the order of their outputs, whether each was free of NaN and +∞); waits for the values."""
        if self.peaks is None:
            return [], []
        return self.order, [peak < math.inf for peak in self.peaks.get().tolist()]


class ForwardWatch:
    """Watches forward passes of a model in training; between samples there is no hook on it.

    Those on the model are set when a step is to be sampled, those on its modules when a pass to be sampled begins, and
    removed when it ends. A compiled model is not watched: its modules' hooks would not run.

    Args:
        model: the model to watch.
        activations: True = every activation module (ReLU, GELU, sigmoid, …), patterns of module names, or False.
        wanted: called at each training pass: (whether to check outputs for being finite, whether to measure them).
        on_sample: called with each finished sample.
        guard: runs the actions of hooks.

    Attributes:
        names: of the watched activations, in the order of `named_modules`.

    Raises:
        InputError: a pattern matches no module.
    """

    def __init__(
        self,
        model: nn.Module,
        activations: bool | Sequence[str],
        wanted: Callable[[], tuple[bool, bool]],
        on_sample: Callable[[ForwardSample], None],
        guard: Callable[..., Any],
    ) -> None:
        self._model, self._guard = model, guard
        self._wanted, self._on_sample = wanted, on_sample
        self._modules = {name: module for name, module in named_modules(model) if name}
        self.names = self._choose(activations)
        self._is_attached = False
        self._root: list[Any] = []
        self._inner: list[Any] = []
        self._sample: ForwardSample | None = None
        self._peaks: list[Tensor] = []
        self._rows: dict[str, Tensor] = {}

    def _choose(self, activations: bool | Sequence[str]) -> list[str]:
        if isinstance(activations, bool):
            return [n for n, m in self._modules.items() if activations and isinstance(m, _ACTIVATIONS)]
        return choose(list(self._modules), activations, None, "module")

    def attach(self) -> None:
        """Set the hooks on the model."""
        self._is_attached = True
        self.look(True)

    def detach(self) -> None:
        """Remove every hook; idempotent."""
        self.look(False)
        self._is_attached = False

    def look(self, is_wanted: bool) -> None:
        """Set the hooks on the model, or remove all if no pass is to be sampled; not to be called during a pass."""
        if not is_wanted:
            self._remove(self._root)
            self._remove(self._inner)
        elif self._is_attached and not self._root:
            self._root = [
                before_forward(self._model, partial(self._guard, self._begin)),
                after_forward(self._model, partial(self._guard, self._end), always=True),
            ]

    @staticmethod
    def _remove(handles: list[Any]) -> None:
        for handle in handles:
            handle.remove()
        handles.clear()

    def _begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._remove(self._inner)
        self._sample = None
        if module is not self._model or not module.training or not torch.is_grad_enabled():
            return
        check, statistics = self._wanted()
        if not (check or statistics):
            return
        self._sample, self._peaks, self._rows = ForwardSample(), [], {}
        if check:
            self._check("", args)
        for name, submodule in self._modules.items():
            measured = statistics and name in self.names
            if measured or (check and next(submodule.children(), None) is None):
                look = partial(self._guard, self._look, name, check, measured)
                self._inner.append(submodule.register_forward_hook(Hook(look)))  # for this pass only

    def _look(self, name: str, check: bool, measured: bool, module: nn.Module, args: Any, output: Any) -> None:
        """Hook of one module in a sampled pass."""
        if check:
            self._check(name, output)
        if measured:
            self._measure(name, module, output)

    def _check(self, name: str, output: Any) -> None:
        for tensor in _float_tensors(output):
            if self._sample is not None and tensor.numel():
                self._sample.order.append(name)
                # NaN and infinity both come through; a sum would take them for what it overflows to.
                self._peaks.append(tensor.detach().amax())

    def _measure(self, name: str, module: nn.Module, output: Any) -> None:
        tensor = next(_float_tensors(output), None)
        if tensor is None or not tensor.numel() or self._sample is None:
            return
        self._rows[name] = shares(tensor.detach(), _BOUNDS.get(type(module)))
        self._sample.histograms[name] = measure([tensor])

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if module is not self._model or self._sample is None:
            return
        self._remove(self._inner)
        sample, self._sample = self._sample, None
        if self._peaks:
            sample.peaks = HostCopy(_stacked(self._peaks))
        if self._rows:
            sample.modules = list(self._rows)
            sample.shares = HostCopy(_stacked(list(self._rows.values())))
        self._peaks, self._rows = [], {}
        self._on_sample(sample)


def shares(output: Tensor, bounds: tuple[float, float] | None) -> Tensor:
    """Zero, dead, saturated and non-finite share of an output; float32 of shape (4,), see `records.ACTIVATION_COLUMNS`.

    Units are the channels: dimension 1 of (N, C, H, W) and (N, C, D, H, W), the last dimension of anything else.
    """
    zero = output == 0
    units = 1 if output.dim() >= 4 else output.dim() - 1
    others = [d for d in range(output.dim()) if d != units]
    dead = zero.all(dim=others) if others else zero
    if bounds is None:
        saturated = torch.full((), torch.nan, device=output.device)
    else:
        low, high = bounds
        near = _SATURATED * (high - low)
        saturated = ((output <= low + near) | (output >= high - near)).float().mean()
    finite = torch.isfinite(output).float().mean()
    return torch.stack((zero.float().mean(), dead.float().mean(), saturated, 1 - finite))


def _float_tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        local = local_shard(output)
        is_plain = local.layout == torch.strided and not local.is_nested and not local.is_meta
        if is_plain and local.dtype in MEASURABLE:
            yield local
    elif isinstance(output, dict):
        for value in output.values():
            yield from _float_tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _float_tensors(value)


def _stacked(values: Sequence[Tensor]) -> Tensor:
    """Values from all devices of a model, stacked on the first one, in float32 or in float64 if there are such."""
    device = values[0].device
    dtype = torch.float64 if any(value.dtype == torch.float64 for value in values) else torch.float32
    return torch.stack([value.to(device, dtype, non_blocking=True) for value in values])
