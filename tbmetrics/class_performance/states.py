"""The validations that are under way, by attribute, and how those of several ranks become one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from tbmetrics.class_performance.dense import DenseOptions, is_dense
from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.padding import repeats_warning
from tbmetrics.class_performance.state import AttributeState
from tbmetrics.errors import InputError, TBMetricsWarning, caller_level
from tbmetrics.tracking.batches import CheckedBatch

State: TypeAlias = AttributeState | DenseState


class AttributeStates(Mapping[str, State]):
    """The state of each attribute; its first batch settles whether it is dense.

    Args:
        states: by attribute, without samples.
        dense: how dense batches are read.
    """

    def __init__(self, states: Mapping[str, AttributeState], dense: DenseOptions = DenseOptions()) -> None:  # noqa: B008
        self._states: dict[str, State] = dict(states)
        self._dense = dense
        self._warned_of_repeats = False

    def __getitem__(self, attribute: str) -> State:
        return self._states[attribute]

    def __iter__(self) -> Iterator[str]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def add(
        self, attribute: str, logits: Any, labels: Any, indices: torch.Tensor | None
    ) -> tuple[bool, CheckedBatch | None]:
        """Add a batch, see `AttributeState.add`; returns whether it had any rows, and what was checked if not dense."""
        state = self._state_for(attribute, is_dense(logits, labels))
        before = state.n_samples, state.n_skipped
        checked = None
        if isinstance(state, DenseState):
            state.add(logits, labels, indices)
        else:
            checked = state.add(logits, labels, indices)
        self._states[attribute] = state
        return before != (state.n_samples, state.n_skipped), checked

    def _state_for(self, attribute: str, dense: bool) -> State:
        """The state that takes the next batch.

        Raises:
            InputError: the batches before were of the other kind.
        """
        state = self._states[attribute]
        if dense == isinstance(state, DenseState):
            return state
        if isinstance(state, DenseState) or state.decision is not None:
            kinds = ("of single samples", "dense")
            raise InputError(
                f"attribute {attribute!r} was {kinds[not dense]} until now, this batch is {kinds[dense]}; use one "
                "attribute each"
            )
        return DenseState(attribute, state.num_classes, state.activation, self._dense)

    def reset(self) -> None:
        """Forget all validations."""
        for state in self._states.values():
            state.reset()

    # ------------------------------------------------------------------------------------------ several ranks

    def announce(self) -> dict[str, Any]:
        """Number and indices of the samples, and the first and last row, which reveal padding."""
        return {
            attribute: {"n": state.n_samples, "indices": state.indices(), "ends": state.ends()}
            for attribute, state in self._states.items()
        }

    def share(self, announced: Sequence[Mapping[str, Any] | None], rank: int) -> dict[str, Any]:
        """The raw state of each attribute, without the samples that lower ranks count."""
        for attribute, state in self._states.items():
            lower = [facts[attribute]["indices"] for facts in announced[:rank] if facts]
            lower = [indices for indices in lower if indices is not None]
            stuck = state.drop_repeated(torch.cat(lower) if lower else None)
            self._warn_of_repeats(attribute, [facts[attribute] if facts else None for facts in announced], stuck, rank)
        return {attribute: state.share() for attribute, state in self._states.items()}

    def _warn_of_repeats(
        self, attribute: str, announced: Sequence[Mapping[str, Any] | None], stuck: int, rank: int
    ) -> None:
        warning = repeats_warning(announced, stuck, rank)
        if warning and not self._warned_of_repeats:
            self._warned_of_repeats = True
            warnings.warn(
                f"attribute {attribute!r}: {warning}; this is said once", TBMetricsWarning, stacklevel=caller_level()
            )

    def combine(self, share: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        """The states of two blocks of ranks as one."""
        return {a: self._merged(a, [share[a], other[a]]).share() for a in self._states}

    def restore(self, shares: Mapping[str, Any]) -> None:
        """Replace the state of each attribute by what `share` gave of it; those without a share are empty."""
        self._states = {a: self._merged(a, [shares[a]] if a in shares else []) for a in self._states}

    def _merged(self, attribute: str, shares: Sequence[Mapping[str, Any]]) -> State:
        dense = any("pairs" in share for share in shares)
        state = self._state_for(attribute, dense or isinstance(self._states[attribute], DenseState)).empty()
        for share in shares:
            if share["n_samples"] or share["n_skipped"] or not dense:
                state.merge(share)
        return state
