"""The parameters that are measured, their names, and their rows in a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tbmetrics.tracking.patterns import choose, matches, plain_name


class ParameterRows:
    """Gives each measured parameter a row; rows never move, parameters that appear later are appended.

    Names are the model's, without wrappers; a shared parameter is measured once, under its first name. A parameter
    that only an optimizer knows has the optimizer's name for it, or `optimizer.{number}`.

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
        self._row_by_id: dict[int, int | None] = {}  # by id(parameter); None: not chosen
        self._parameters: list[Tensor] = []  # held so that no id is given to another tensor
        named = [(plain_name(name), parameter) for name, parameter in model.named_parameters()]
        wanted = set(choose([name for name, _ in named], include, exclude, "parameter"))
        for name, parameter in named:
            self._add(name if name in wanted else None, parameter)

    def _add(self, name: str | None, parameter: Tensor) -> None:
        self._parameters.append(parameter)
        self.sharded = self.sharded or isinstance(parameter, DTensor)
        self._row_by_id[id(parameter)] = None if name is None else len(self.names)
        if name is not None:
            self.names.append(name)

    def row(self, parameter: Tensor, name: str | None = None) -> int | None:
        """The row of `parameter`, or None if it was not chosen; a new parameter is looked up in the model or named."""
        if id(parameter) not in self._row_by_id:
            self._add_new(parameter, name)
        return self._row_by_id[id(parameter)]

    def _add_new(self, parameter: Tensor, name: str | None) -> None:
        for other_name, other in self._model.named_parameters():
            if id(other) not in self._row_by_id:
                self._add(self._if_chosen(plain_name(other_name)), other)
        if id(parameter) not in self._row_by_id:
            self._add(self._if_chosen(name or f"optimizer.{len(self._parameters)}"), parameter)

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
        sizes = {row: parameter.numel() for row, parameter in self.chosen()}
        rows = sorted(sorted(sizes, key=lambda row: (-sizes[row], row))[:most])
        return [self.names[row] for row in rows]

    def hookable(self) -> Iterator[Tensor]:
        """The chosen parameters that accumulate gradients; those of lazy modules only once they have a shape."""
        for _, parameter in self.chosen():
            if parameter.requires_grad and parameter.is_leaf and not torch.nn.parameter.is_lazy(parameter):
                yield parameter

    def chosen(self) -> Iterator[tuple[int, Tensor]]:
        """(row, parameter) of each chosen parameter so far."""
        for parameter in self._parameters:
            if (row := self._row_by_id[id(parameter)]) is not None:
                yield row, parameter
