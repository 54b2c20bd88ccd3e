"""The parameters that are measured, their names, and their rows in a table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tbmetrics.tracking.optimizers import accumulates_gradients
from tbmetrics.tracking.patterns import choose, matches, named_parameters
from tbmetrics.tracking.shards import is_sharded
from tbmetrics.training_dynamics.gradients.norms import dense

logger = logging.getLogger("tbmetrics")


class ParameterRows:
    """Gives each measured parameter a row; rows never move, parameters that appear later are appended.

    Names are the model's, without wrappers; a shared parameter is measured once, under its first name. A parameter that
    takes another's place in the model takes its row. A parameter that only an optimizer knows has the optimizer's name
    for it, or `optimizer.{number}`. Integer and quantised parameters have no norm and no row; that is said once.

    Args:
        model: its parameters are the first rows, in the order of `named_parameters`.
        include, exclude: patterns of names, see `patterns.matches`.

    Attributes:
        names: of the rows.
        sharded: whether any parameter is spread over ranks.
    """

    def __init__(
        self, model: nn.Module, include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
    ) -> None:
        self._model, self._include, self._exclude = model, include, exclude
        self.names: list[str] = []
        self.sharded = False
        self._row_by_name: dict[str, int] = {}
        self._row_by_id: dict[int, int | None] = {}  # by id(parameter); None: not chosen
        self._parameters: dict[int, Tensor] = {}  # by id, held so that no id is given to another tensor
        named = list(named_parameters(model))
        wanted = set(choose([name for name, _ in named], include, exclude, "parameter"))
        for name, parameter in named:
            self._add(name if name in wanted else None, parameter)
        self._say_left_out([(name, parameter) for name, parameter in named if name in wanted])

    def _say_left_out(self, named: list[tuple[str, Tensor]]) -> None:
        left_out = [f"{name} ({parameter.dtype})" for name, parameter in named if not _has_norm(parameter)]
        if left_out:
            more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
            logger.warning("tbmetrics: parameters without a norm are not measured: %s%s", ", ".join(left_out[:3]), more)

    def _add(self, name: str | None, parameter: Tensor) -> None:
        self.sharded = self.sharded or is_sharded(parameter)
        row = None
        if name is not None and _has_norm(parameter):
            row = self._row_by_name.setdefault(name, len(self.names))
            if row == len(self.names):
                self.names.append(name)
            else:
                self._forget(row)
        self._parameters[id(parameter)], self._row_by_id[id(parameter)] = parameter, row

    def _forget(self, row: int) -> None:
        """Let go of the parameter whose place in the model another one has taken."""
        for key in [key for key, other in self._row_by_id.items() if other == row]:
            del self._parameters[key], self._row_by_id[key]

    def row(self, parameter: Tensor, name: str | None = None) -> int | None:
        """The row of `parameter`, or None if it was not chosen; a new parameter is looked up in the model or named."""
        if id(parameter) not in self._row_by_id:
            self.look_for_new()
        if id(parameter) not in self._row_by_id:
            if name is None or name in self._row_by_name:
                name = f"optimizer.{len(self._parameters)}"
            self._add(self._if_chosen(name), parameter)
        return self._row_by_id[id(parameter)]

    def look_for_new(self) -> None:
        """Give rows to the model's parameters that have none yet."""
        for name, parameter in named_parameters(self._model):
            if id(parameter) not in self._row_by_id:
                self._add(self._if_chosen(name), parameter)

    def _if_chosen(self, name: str) -> str | None:
        included = self._include is None or matches(name, self._include)
        return name if included and not matches(name, self._exclude or ()) else None

    def stepped_by(self, optimizer: torch.optim.Optimizer) -> Iterator[tuple[int, Tensor]]:
        """(row, parameter) of each chosen parameter that `optimizer` is about to step, that is, with a gradient."""
        for group in optimizer.param_groups:
            names: Iterable[str | None] = group.get("param_names") or [None] * len(group["params"])
            for parameter, name in zip(group["params"], names, strict=False):
                if parameter.grad is not None and parameter.numel() and (row := self.row(parameter, name)) is not None:
                    yield row, parameter

    def largest(self, most: int) -> list[str]:
        """Names of the `most` largest parameters, in the order of their rows."""
        sizes = {row: parameter.numel() for row, parameter in self.measurable()}
        rows = sorted(sorted(sizes, key=lambda row: (-sizes[row], row))[:most])
        return [self.names[row] for row in rows]

    def hookable(self) -> Iterator[Tensor]:
        """The chosen parameters that accumulate gradients; those of lazy modules only once they have a shape."""
        return (parameter for _, parameter in self._chosen() if accumulates_gradients(parameter))

    def measurable(self) -> Iterator[tuple[int, Tensor]]:
        """(row, parameter) of each chosen parameter so far that has a shape and values."""
        return (
            (row, parameter) for row, parameter in self._chosen() if not is_lazy(parameter) and not parameter.is_meta
        )

    def _chosen(self) -> Iterator[tuple[int, Tensor]]:
        for key, parameter in self._parameters.items():
            if (row := self._row_by_id[key]) is not None:
                yield row, parameter


def _has_norm(parameter: Tensor) -> bool:
    """Whether a norm can be taken of `parameter`, once it has a shape and values."""
    if is_lazy(parameter):
        return True
    if parameter.is_quantized or not (parameter.is_floating_point() or parameter.is_complex()):
        return False
    if type(parameter.data) is Tensor or is_sharded(parameter) or parameter.is_meta:
        return True
    try:  # a tensor subclass, as of quantisation libraries
        torch.linalg.vector_norm(dense(parameter))
    except (RuntimeError, NotImplementedError, TypeError):
        return False
    return True
