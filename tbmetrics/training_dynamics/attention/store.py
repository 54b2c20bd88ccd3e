"""The maps of a few epochs on the host, within a byte budget, and the numbers that are recorded of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from tbmetrics.records import COLLAPSED_HEADS_TAG, Record, Scalar, Text, dynamics_tag, tag_part
from tbmetrics.records.history import to_jsonable
from tbmetrics.tracking.patterns import matches
from tbmetrics.training_dynamics.attention import statistics as statistics

if TYPE_CHECKING:
    from tbmetrics.training_dynamics.attention.weights import Kept

Array: TypeAlias = NDArray[Any]

EPOCHS_KEPT = 12  # of maps, evenly spread; the latest always
_NUMBERS_LISTED = 1_000_000  # of raw maps in `as_json`
_NONE_COLLAPSED = "No head looks at a single key."


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A map on the host: `Kept` as numpy."""

    weights: Array  # (samples, heads, queries, keys)
    mean: Array  # (samples, keys)
    rows: Array  # (samples, rows, keys)
    row_step: int
    steps: tuple[int, int]
    tokens: tuple[int, int]
    batch: int

    @classmethod
    def of(cls, kept: Kept) -> StoredMap:
        """The map on the host; waits for it."""
        weights, mean, rows = (t.cpu().numpy() for t in (kept.weights, kept.mean, kept.rows))
        return cls(weights, mean, rows, kept.row_step, kept.steps, kept.tokens, kept.batch)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.weights.nbytes + self.mean.nbytes + self.rows.nbytes

    @property
    def has_all_rows(self) -> bool:
        """Whether `rows` holds every query."""
        return self.rows.shape[1:] == self.tokens

    def row(self, sample: int, query: int | None) -> Array:
        """What one query looks at, of all keys, heads averaged; the mean of all queries for None."""
        found: Array = self.mean[sample] if query is None else self.rows[sample, query // self.row_step]
        return found

    def has_row(self, query: int) -> bool:
        """Whether the row of a query is among those that are kept."""
        return query % self.row_step == 0 and query // self.row_step < self.rows.shape[1]


#: Module → epoch → map.
Maps: TypeAlias = dict[str, dict[int, StoredMap]]


class MapStore:
    """The maps of at most 12 epochs, fewer where they take more than `max_bytes`; first and latest stay.

    Args:
        max_bytes: of all maps together, unless two epochs alone take more.
        key_groups: group of each key by pattern of modules.

    Attributes:
        maps: by module and epoch.
        attention_maps: `{"epoch", "batch", "module", "attention"}`, oldest first.
    """

    def __init__(self, max_bytes: int, key_groups: Mapping[str, Sequence[str]]) -> None:
        self.maps: Maps = {}
        self.attention_maps: list[dict[str, Any]] = []
        self._max_bytes, self._key_groups = max_bytes, key_groups
        self._statistics: dict[str, list[tuple[int, Array, Array]]] = {}
        self._collapsed: dict[str, list[int]] = {}
        self._said = _NONE_COLLAPSED

    def put(self, epoch: int, batch: int | None, module: str, stored: StoredMap) -> None:
        """Keeps the map of a module in an epoch; one that was there is replaced."""
        self.maps.setdefault(module, {})[epoch] = stored
        entry = {"epoch": epoch, "batch": batch, "module": module, "attention": torch.from_numpy(stored.weights)}
        self.attention_maps = [m for m in self.attention_maps if (m["epoch"], m["module"]) != (epoch, module)]
        self.attention_maps.append(entry)

    def state(self) -> dict[str, Any]:
        """Everything held as plain containers and arrays, for `restore`."""
        batches = [(m["epoch"], m["batch"], m["module"]) for m in self.attention_maps]
        return {
            "maps": {
                module: {
                    epoch: {f.name: getattr(stored, f.name) for f in fields(stored)} for epoch, stored in kept.items()
                }
                for module, kept in self.maps.items()
            },
            "batches": batches,
            "statistics": {module: list(rows) for module, rows in self._statistics.items()},
            "collapsed": {module: list(heads) for module, heads in self._collapsed.items()},
            "said": self._said,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` gave."""
        self.maps, self.attention_maps = {}, []
        for epoch, batch, module in state["batches"]:
            self.put(epoch, batch, module, StoredMap(**state["maps"][module][epoch]))
        self._statistics = {module: [tuple(row) for row in rows] for module, rows in state["statistics"].items()}
        self._collapsed, self._said = dict(state["collapsed"]), state["said"]

    def thin(self) -> None:
        """Keeps few epochs, within the bytes: the one whose neighbours are closest goes; first and latest stay."""
        epochs = sorted({epoch for by_epoch in self.maps.values() for epoch in by_epoch})
        while len(epochs) > 2 and (len(epochs) > EPOCHS_KEPT or self._size() > self._max_bytes):
            gaps = {e: epochs[i + 1] - epochs[i - 1] for i, e in enumerate(epochs) if 0 < i < len(epochs) - 1}
            dropped = min(gaps, key=lambda e: (gaps[e], e))
            epochs.remove(dropped)
            self.attention_maps = [m for m in self.attention_maps if m["epoch"] != dropped]
            for by_epoch in self.maps.values():
                by_epoch.pop(dropped, None)
        self.maps = {module: by_epoch for module, by_epoch in self.maps.items() if by_epoch}

    def _size(self) -> int:
        return sum(stored.size for by_epoch in self.maps.values() for stored in by_epoch.values())

    def scalars(self, epoch: int, module: str, stored: StoredMap) -> Iterator[Record]:
        """How spread out each head is, and where the mass goes."""
        entropies, needed = statistics.entropy(stored.weights), statistics.sparsity(stored.weights)
        kept = self._statistics.setdefault(module, [])
        kept[:] = [row for row in kept if row[0] != epoch] + [(epoch, entropies, needed)]
        for quantity, of_heads in (("attention_entropy", entropies), ("attention_keys_for_90_percent", needed)):
            tag = dynamics_tag(quantity, module)
            yield Scalar(tag, float(of_heads[~np.isnan(of_heads)].mean()) if not np.isnan(of_heads).all() else np.nan)
            yield from (Scalar(f"{tag}/head_{head}", float(value)) for head, value in enumerate(of_heads))
        collapsed = np.flatnonzero(entropies < statistics.COLLAPSED_ENTROPY).tolist()
        self._collapsed[module] = collapsed
        yield Scalar(dynamics_tag("attention_collapsed_heads", module), float(len(collapsed)))
        groups = of_module(self._key_groups, module)
        if groups and len(groups) == stored.tokens[1]:
            for group, mass in statistics.mass_by_group(stored.mean, groups).items():
                yield Scalar(f"{dynamics_tag('attention_mass', module)}/{tag_part(group)}", mass)

    def collapses(self) -> Iterator[Record]:
        """The names of the heads that look at one key only, where there are any or were any."""
        lines = [f"- `{name}`: {', '.join(map(str, heads))}" for name, heads in self._collapsed.items() if heads]
        text = "Heads that look at a single key:\n\n" + "\n".join(lines) if lines else _NONE_COLLAPSED
        if text != self._said:
            self._said = text
            yield Text(COLLAPSED_HEADS_TAG, text)

    def entropies(self) -> dict[str, tuple[list[int], Array]]:
        """Module → (epochs, entropies of shape (epochs, heads))."""
        return {
            module: ([epoch for epoch, _, _ in rows], np.array([values for _, values, _ in rows]))
            for module, rows in self._statistics.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Maps and statistics as plain values; of the maps the latest, up to a million numbers."""
        listed, left = [], _NUMBERS_LISTED
        for entry in reversed(self.attention_maps):
            left -= entry["attention"].numel()
            if left < 0:
                break
            listed.append({**entry, "attention": entry["attention"].numpy()})
        of_modules = {
            module: {
                "epochs": [epoch for epoch, _, _ in rows],
                "entropy": [entropy for _, entropy, _ in rows],
                "keys_for_90_percent": [needed for _, _, needed in rows],
                "collapsed_heads": self._collapsed[module],
            }
            for module, rows in self._statistics.items()
        }
        found: dict[str, Any] = to_jsonable({"maps": listed, "statistics": of_modules})
        return found


def of_module(by_pattern: Mapping[str, Sequence[str]], module: str) -> Sequence[str]:
    """The names given for `module`, by the first pattern that fits; none where no pattern does."""
    plain = module.partition("#")[0]
    return next((names for pattern, names in by_pattern.items() if matches(plain, [pattern])), ())
