"""The maps of a few epochs on the host, within a byte budget, and the statistics that are recorded of each map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.records import (
    ATTENTION_HEAD_COLUMNS,
    COLLAPSED_HEADS_TAG,
    Record,
    Scalar,
    Table,
    Text,
    attention_heads_tag,
    dynamics_tag,
    tag_part,
)
from tbmetrics.records.history import to_jsonable
from tbmetrics.training_dynamics.attention.token_names import TokenNames

if TYPE_CHECKING:
    from tbmetrics.training_dynamics.attention.weights import AttentionSample

Array: TypeAlias = NDArray[Any]
FloatArray: TypeAlias = NDArray[np.floating]

EPOCHS_KEPT = 12  # with maps, evenly spread; the latest always
COLLAPSED_ENTROPY = 0.05  # of the largest possible; a head below looks at one key
_NUMBERS_LISTED = 1_000_000  # of raw maps in `as_json`
_NONE_COLLAPSED = "No head looks at a single key."


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A map on the host: an `AttentionSample` as numpy."""

    weights: Array  # (samples, heads, queries, keys)
    mean: Array  # (samples, keys)
    rows: Array  # (samples, rows, keys)
    row_step: int
    steps: tuple[int, int]
    tokens: tuple[int, int]
    batch: int

    @classmethod
    def from_sample(cls, sample: AttentionSample) -> StoredMap:
        """Copy a map to the host; waits for it."""
        weights, mean, rows = (t.cpu().numpy() for t in (sample.weights, sample.mean, sample.rows))
        return cls(weights, mean, rows, sample.row_step, sample.steps, sample.tokens, sample.batch)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.weights.nbytes + self.mean.nbytes + self.rows.nbytes

    @property
    def has_all_rows(self) -> bool:
        """Whether `rows` holds every query."""
        return self.rows.shape[1:] == self.tokens

    def row(self, sample: int, query: int | None) -> Array:
        """Attention of one query on all keys, heads averaged; None = the mean of all queries."""
        row: Array = self.mean[sample] if query is None else self.rows[sample, query // self.row_step]
        return row

    def has_row(self, query: int) -> bool:
        """Whether `rows` holds the row of a query."""
        return query % self.row_step == 0 and query // self.row_step < self.rows.shape[1]


#: Module → epoch → map.
Maps: TypeAlias = dict[str, dict[int, StoredMap]]


class MapStore:
    """The maps of at most 12 epochs, fewer if they exceed `max_bytes`; the first and latest stay.

    Args:
        max_bytes: of all maps together, unless two epochs alone exceed it.
        names: of queries and keys.

    Attributes:
        maps: by module and epoch.
        attention_maps: `{"epoch", "batch", "module", "attention"}`, oldest first.
    """

    def __init__(self, max_bytes: int, names: TokenNames) -> None:
        self.maps: Maps = {}
        self.attention_maps: list[dict[str, Any]] = []
        self._max_bytes, self._names = max_bytes, names
        self._statistics: dict[str, list[tuple[int, Array, Array]]] = {}
        self._collapsed: dict[str, list[int]] = {}
        self._last_text = _NONE_COLLAPSED

    def put(self, epoch: int, batch: int | None, module: str, stored: StoredMap) -> None:
        """Store the map of a module in an epoch, in the place of an earlier one."""
        self.maps.setdefault(module, {})[epoch] = stored
        entry = {"epoch": epoch, "batch": batch, "module": module, "attention": torch.from_numpy(stored.weights)}
        self.attention_maps = [m for m in self.attention_maps if (m["epoch"], m["module"]) != (epoch, module)]
        self.attention_maps.append(entry)

    def state(self) -> dict[str, Any]:
        """Maps and statistics as plain containers and arrays, for `restore`."""
        batches = [(m["epoch"], m["batch"], m["module"]) for m in self.attention_maps]
        return {
            "maps": {
                module: {
                    epoch: {f.name: getattr(stored, f.name) for f in fields(stored)}
                    for epoch, stored in by_epoch.items()
                }
                for module, by_epoch in self.maps.items()
            },
            "batches": batches,
            "statistics": {module: list(rows) for module, rows in self._statistics.items()},
            "collapsed": {module: list(heads) for module, heads in self._collapsed.items()},
            "said": self._last_text,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.maps, self.attention_maps = {}, []
        for epoch, batch, module in state["batches"]:
            self.put(epoch, batch, module, StoredMap(**state["maps"][module][epoch]))
        self._names.learn({module: max(by_epoch.items())[1].tokens for module, by_epoch in self.maps.items()})
        self._statistics = {module: [tuple(row) for row in rows] for module, rows in state["statistics"].items()}
        self._collapsed, self._last_text = dict(state["collapsed"]), state["said"]

    def thin(self) -> None:
        """Drop epochs beyond the limits, those with the closest neighbours first; the first and latest stay."""
        epochs = sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})
        while len(epochs) > 2 and (len(epochs) > EPOCHS_KEPT or self._size() > self._max_bytes):
            gaps = {e: epochs[i + 1] - epochs[i - 1] for i, e in enumerate(epochs) if 0 < i < len(epochs) - 1}
            dropped = min(gaps, key=gaps.__getitem__)  # of several the earliest
            epochs.remove(dropped)
            self.attention_maps = [m for m in self.attention_maps if m["epoch"] != dropped]
            for by_epoch in self.maps.values():
                by_epoch.pop(dropped, None)
        self.maps = {module: by_epoch for module, by_epoch in self.maps.items() if by_epoch}

    def _size(self) -> int:
        return sum(stored.size for by_epoch in self.maps.values() for stored in by_epoch.values())

    def scalars(self, epoch: int, module: str, stored: StoredMap) -> Iterator[Record]:
        """How spread out each head is, and where its mass goes."""
        entropies, shares = entropy(stored.weights), sparsity(stored.weights)
        earlier = [row for row in self._statistics.get(module, ()) if row[0] != epoch]
        self._statistics[module] = [*earlier, (epoch, entropies, shares)]
        for quantity, by_head in (("attention_entropy", entropies), ("attention_keys_for_90_percent", shares)):
            known = by_head[~np.isnan(by_head)]
            yield Scalar(dynamics_tag(quantity, module), float(known.mean()) if known.size else np.nan)
        by_head = np.stack([entropies, shares], axis=1).astype(np.float32)
        rows = tuple(f"head {head}" for head in range(len(by_head)))
        yield Table(attention_heads_tag(module), "", "attention_heads", ATTENTION_HEAD_COLUMNS, by_head, rows)
        collapsed = np.flatnonzero(entropies < COLLAPSED_ENTROPY).tolist()
        self._collapsed[module] = collapsed
        yield Scalar(dynamics_tag("attention_collapsed_heads", module), float(len(collapsed)))
        groups = self._names.groups(module)
        if len(groups) == stored.tokens[1]:
            for group, mass in mass_by_group(stored.mean, groups).items():
                yield Scalar(f"{dynamics_tag('attention_mass', module)}/{tag_part(group)}", mass)

    def collapses(self) -> Iterator[Record]:
        """The names of the heads that look at a single key, if they have changed."""
        lines = [f"- `{name}`: {', '.join(map(str, heads))}" for name, heads in self._collapsed.items() if heads]
        text = "Heads that look at a single key:\n\n" + "\n".join(lines) if lines else _NONE_COLLAPSED
        if text != self._last_text:
            self._last_text = text
            yield Text(COLLAPSED_HEADS_TAG, text)

    def entropies(self) -> dict[str, tuple[list[int], Array]]:
        """Module → (epochs, entropies of shape (epochs, heads))."""
        return {
            module: ([epoch for epoch, _, _ in rows], np.array([values for _, values, _ in rows]))
            for module, rows in self._statistics.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Maps and statistics as plain values; of the maps, the latest up to a million numbers."""
        listed, room = [], _NUMBERS_LISTED
        for entry in reversed(self.attention_maps):
            room -= entry["attention"].numel()
            if room < 0:
                break
            listed.append({**entry, "attention": entry["attention"].numpy()})
        statistics = {
            module: {
                "epochs": [epoch for epoch, _, _ in rows],
                "entropy": [entropies for _, entropies, _ in rows],
                "keys_for_90_percent": [shares for _, _, shares in rows],
                "collapsed_heads": self._collapsed[module],
            }
            for module, rows in self._statistics.items()
        }
        metrics: dict[str, Any] = to_jsonable({"maps": listed, "statistics": statistics})
        return metrics


def entropy(weights: FloatArray) -> FloatArray:
    """Normalised entropy by head, shape (heads,): 0 = every query looks at one key, 1 = at all visible keys alike.

    A key is visible to a query if any head or sample gives it weight, so that causal masks are respected.

    Args:
        weights: (samples, heads, queries, keys), rows that do not sum to 1 (cut, or of padding) are scaled to.
    """
    total = weights.sum(axis=-1, keepdims=True, dtype=np.float64)
    p = np.divide(weights, total, out=np.zeros(weights.shape), where=total > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        nats = -np.where(p > 0, p * np.log(p), 0.0).sum(axis=-1)
    visible = (weights > 0).any(axis=(0, 1)).sum(axis=-1)
    return _mean_where(np.abs(nats) / np.log(np.maximum(visible, 2)), total[..., 0] > 0)


def sparsity(weights: FloatArray, share: float = 0.9) -> FloatArray:
    """The smallest share of the keys that holds `share` of a query's mass; mean over queries, shape (heads,)."""
    ordered = np.sort(weights.astype(np.float64), axis=-1)[..., ::-1]
    total = ordered.sum(axis=-1, keepdims=True)
    reached = np.cumsum(ordered, axis=-1) >= share * total
    shares = (reached.argmax(axis=-1) + 1) / weights.shape[-1]
    return _mean_where(shares, total[..., 0] > 0)


def mass_by_group(mean: FloatArray, groups: Sequence[str]) -> Mapping[str, float]:
    """Mean share of attention that goes to the keys of each group.

    Args:
        mean: (samples, keys): the mean over heads and queries.
        groups: group of each key.
    """
    named = np.asarray(groups)
    return {group: float(mean[..., named == group].sum(axis=-1).mean()) for group in dict.fromkeys(groups)}


def _mean_where(values: FloatArray, where: NDArray[np.bool_]) -> FloatArray:
    """Mean over samples and queries of (samples, heads, queries), by head; NaN if there are none."""
    count = where.sum(axis=(0, 2))
    total = np.where(where, values, 0).sum(axis=(0, 2))
    means: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means
