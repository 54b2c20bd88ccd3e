"""Evaluations beside the validation, such as a test set or an averaged model: each is a run below the session's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from tbmetrics.errors import InputError
from tbmetrics.tracking.isolation import Isolation
from tbmetrics.tracking.ranks import Ranks

if TYPE_CHECKING:
    from tbmetrics.session.session import TBMetrics

_FORBIDDEN = frozenset('/\\:*?"<>|')


class Evaluations:
    """The sessions of a run's evaluations by name; one without a model of its own opens with its first batch.

    Args:
        open_session: opens the session of an evaluation, given its name and its model or None.
        models: models of evaluations whose features are looked at, by name.
        ranks: of the run's session; an evaluation that any of them has is ended on all.
        exchange: between the ranks; what goes wrong in it does not reach training.
    """

    def __init__(
        self,
        open_session: Callable[[str, nn.Module | None], TBMetrics],
        models: Mapping[str, nn.Module | None],
        ranks: Ranks,
        exchange: Isolation,
    ) -> None:
        self._open_session, self._ranks, self._exchange = open_session, ranks, exchange
        self._models = {checked_evaluation_name(name): model for name, model in models.items()}
        self._sessions: dict[str, TBMetrics] = {}
        self._is_final = False
        self._saved: dict[str, Any] = {}  # states of evaluations that have had no batch yet

    def __iter__(self) -> Iterator[tuple[str, TBMetrics]]:
        return iter(sorted(self._sessions.items()))

    def open(self) -> None:
        """Open the evaluations with a model, whose hooks must be set before its forward pass."""
        for name, model in self._models.items():
            if model is not None:
                self._session(name).start()

    def session(self, name: str, epoch: int) -> TBMetrics:
        """The session of evaluation `name`, with `epoch` open.

        Raises:
            InputError: `name` cannot be that of a directory.
        """
        session = self._session(checked_evaluation_name(name))
        if session.current_epoch != epoch:
            session.start_epoch(epoch)
        return session

    def _session(self, name: str) -> TBMetrics:
        if name not in self._sessions:
            session = self._open_session(name, self._models.get(name))
            if name in self._saved:
                session.load_state_dict(self._saved.pop(name))
            self._sessions[name] = session
        return self._sessions[name]

    def end_epoch(self, epoch: int, *, alone: bool = False) -> None:
        """Write the evaluations that have had batches; with several ranks a collective, unless `alone`."""
        with_batches = [name for name, session in self if session.current_epoch is not None]
        if self._ranks.size > 1 and not alone and not self._exchange.stopped:
            by_rank = self._exchange.call(self._ranks.all_gather, with_batches)
            self._exchange.stopped = by_rank is None
            with_batches = sorted({name for names in by_rank or [with_batches] for name in names})
        for name in with_batches:
            session = self._session(name)
            if session.current_epoch is None:  # another rank has batches
                session.start_epoch(epoch)
            session.end_epoch()

    def finalize(self, epoch: int, *, alone: bool = False) -> None:
        """End every evaluation, once; arguments as for `end_epoch`."""
        if not self._is_final:
            self._is_final = True
            self.end_epoch(epoch, alone=alone)
            for _, session in self:
                session.finalize()

    def fail(self) -> None:
        """Remove all hooks, and wait for no other rank."""
        for _, session in self:
            session._fail()

    def get_metrics(self) -> dict[str, Any]:
        """The metrics of each evaluation by name."""
        return {name: session.get_metrics() for name, session in self}

    def state_dict(self) -> dict[str, Any]:
        """The state of each evaluation by name."""
        return {**self._saved, **{name: session.state_dict() for name, session in self}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; evaluations that are not open take their state when they are."""
        self._saved = dict(state)
        for name, session in self:
            if name in self._saved:
                session.load_state_dict(self._saved.pop(name))


def models_by_name(evaluations: Mapping[str, nn.Module | None] | Iterable[str]) -> dict[str, nn.Module | None]:
    """The argument `evaluations` of `TBMetrics` as `{name: model or None}`.

    Raises:
        InputError: it is neither names nor `{name: model}`.
    """
    if isinstance(evaluations, str):
        raise InputError(f"evaluations must be a list of names or {{name: model}}, got the string {evaluations!r}")
    models = dict(evaluations) if isinstance(evaluations, Mapping) else dict.fromkeys(evaluations)
    for name, model in models.items():
        if model is not None and not isinstance(model, nn.Module):
            raise InputError(f"evaluations[{name!r}] must be a torch.nn.Module or None, got {type(model).__name__}")
    return models


def checked_evaluation_name(name: Any) -> str:
    """`name`, if it can be that of a directory below the run's.

    Raises:
        InputError: it cannot.
    """
    if not isinstance(name, str) or not name.strip(". ") or _FORBIDDEN & set(name) or not name.isprintable():
        raise InputError(
            f"evaluation must be a name such as 'test', which becomes a directory below the run's, got {name!r:.100}"
        )
    return name
