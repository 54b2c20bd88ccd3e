"""What becomes of the batches of validations: evaluated, recorded, combined over ranks, saved and restored."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from tbmetrics.class_performance import report
from tbmetrics.class_performance.decisions import DecisionLog
from tbmetrics.class_performance.dense_state import DenseState
from tbmetrics.class_performance.evaluation import ClassNumbers, Evaluation, evaluate
from tbmetrics.class_performance.own_metrics import OwnMetrics
from tbmetrics.class_performance.states import AttributeStates
from tbmetrics.classes.groups import ClassGroups
from tbmetrics.records import ALL, Record
from tbmetrics.records.history import TimedRecord
from tbmetrics.tracking.modes import in_plain_mode
from tbmetrics.tracking.ranks import Ranks, reduce_trackers
from tbmetrics.tracking.state import checked_tracker_state, pack, tracker_state, unpack
from tbmetrics.tracking.tracker import Tracker

logger = logging.getLogger("tbmetrics")


class ValidationTracker(Tracker):
    """A tracker that hands over the validations in `_states` and `_own`.

    Args:
        classes: of all attributes.
        states: of the attributes that are tracked.
        pr_classes: names of classes whose curves are recorded, by attribute.
        decisions: records what was decided on single samples.
    """

    def __init__(
        self,
        classes: ClassGroups,
        states: AttributeStates,
        pr_classes: Mapping[str, Sequence[str]],
        decisions: DecisionLog,
    ) -> None:
        self.classes, self.attributes = classes, tuple(states)
        self.epochs: dict[str, int] = {}
        self._states, self._own = states, OwnMetrics(classes)
        self._pr_classes, self._decisions = pr_classes, decisions
        self._results: dict[str, ClassNumbers] = {}
        self._unevaluated: set[str] = set()  # attributes with batches that `_results` does not know yet
        self._unrecorded: set[str] = set()  # attributes with batches that `records` has not returned
        self._listed: set[str] = set()
        self._sizes: dict[str, int] = {}  # samples of each attribute's last recorded validation

    def records(self, epoch: int) -> list[TimedRecord]:
        """Records of the validation since the last call, at step `epoch`; none without an update.

        Of a run that is interrupted within a validation only whole ones count: as large as the one before, if any.
        """
        if self.is_interrupted:
            self._drop_partial(epoch)
        fresh = [a for a in self.attributes if a in self._unrecorded]
        self._evaluate()
        self._unrecorded.clear()
        self.epochs.update(dict.fromkeys(fresh, epoch))
        now = time.time()
        return [TimedRecord(epoch, now, record) for attribute in fresh for record in self._records_of(attribute)]

    def _drop_partial(self, epoch: int) -> None:
        for attribute in sorted(self._unrecorded):
            state, usual = self._states[attribute], self._sizes.get(attribute, 0)
            if state.n_samples >= usual or not state.has_rows:
                continue
            logger.warning(
                "tbmetrics: attribute %r: the validation of epoch %d was interrupted after %d of %d samples and is not "
                "recorded", attribute, epoch, state.n_samples, usual,
            )  # fmt: skip
            state.reset()
            self._unevaluated.discard(attribute)
            self._unrecorded.discard(attribute)

    def _records_of(self, attribute: str) -> Iterator[Record]:
        result = self._results[attribute]
        self._sizes[attribute] = self._states[attribute].n_samples
        decided = list(self._decisions.records(self._states[attribute]))
        self._states[attribute].reset()
        if attribute not in self._listed:
            self._listed.add(attribute)
            yield report.class_list(result.classes, result.decision, self._decisions.sample_set)
        self._own.settle(attribute, result)
        yield from report.records(result, self._pr_classes.get(attribute, ()))
        yield from decided

    @in_plain_mode
    def _evaluate(self) -> dict[str, ClassNumbers]:
        """The numbers of each attribute, of what came since the last `records` or of the last validation."""
        for attribute in sorted(self._unevaluated):
            measured = self._measure(attribute) if self._states[attribute].has_rows else None
            self._results[attribute] = self._own.joined(attribute, measured)
        self._unevaluated.clear()
        return self._results

    def _measure(self, attribute: str) -> Evaluation:
        state = self._states[attribute]
        state.drop_repeated()
        result = evaluate(state, self.classes[attribute])
        if not isinstance(state, DenseState):
            prevalence = result.columns["support"] / max(state.n_samples, 1)
            state.watch.warn(result.groups[ALL]["ap"] - float(prevalence.mean()))
        return result

    # ------------------------------------------------------------------------------------------ several ranks

    def reduce(self, process_group: Any = None) -> None:
        """Combine the batches of all ranks; a collective, so every rank calls it before asking for metrics.

        Afterwards all ranks give the same results. A session does this in `end_epoch`; outside a distributed job it
        does nothing.

        Args:
            process_group: the ranks that share the validation; None = all.

        Raises:
            InputError: not a process group.
        """
        ranks = Ranks(process_group)
        if ranks.size > 1:
            reduce_trackers([self], ranks, lambda tracker, action, *args, default=None: action(*args))

    def announce(self) -> dict[str, Any] | None:
        """Number and indices of the samples, and the first and last row, which reveal padding."""
        if not self._unrecorded:
            return None
        return self._states.announce()

    def share(self, announced: list[Any], rank: int) -> dict[str, Any] | None:
        """The raw state of each attribute, without the samples that lower ranks count."""
        if all(facts is None for facts in announced):
            return None
        return self._states.share(announced, rank)

    def combine(self, share: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """The states of two blocks of ranks as one."""
        return self._states.combine(share, other)

    def adopt(self, share: dict[str, Any]) -> dict[str, ClassNumbers]:
        """Evaluate what all ranks have seen; returns the results for the other ranks."""
        self._states.restore(share)
        fresh = {a for a, state in self._states.items() if state.has_rows or a in self._own.pending}
        self._unevaluated, self._unrecorded = set(fresh), set(fresh)
        results = self._evaluate()
        return {a: results[a] for a in sorted(fresh)}

    def take_outcome(self, outcome: dict[str, ClassNumbers] | None) -> None:
        """Take over the results of all ranks; None = this validation has none."""
        self._states.reset()
        self._own.clear()
        self._results |= {a: replace(r, classes=self.classes[a]) for a, r in (outcome or {}).items()}
        self._unevaluated, self._unrecorded = set(), set(outcome or ())

    # ----------------------------------------------------------------------------------------------- resuming

    def state_dict(self) -> dict[str, Any]:
        """The last results, and this rank's batches of a validation that is under way."""
        return tracker_state(
            self,
            classes={a: list(self.classes[a].names) for a in self.attributes},
            results={a: pack(replace(r, classes=None)) for a, r in self._results.items()},  # type: ignore[arg-type]
            open={a: self._states[a].share() for a in sorted(self._unrecorded)},
            unevaluated=sorted(self._unevaluated),
            epochs=dict(self.epochs),
            own=self._own.state(),
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: other attributes or classes, or a newer version.
        """
        expected = {a: list(self.classes[a].names) for a in self.attributes}
        saved = checked_tracker_state(self, state, classes=expected)
        for attribute, packed in saved["results"].items():
            kind = Evaluation if "flow" in packed else ClassNumbers
            known = {f.name for f in fields(kind)} - {"classes"}
            values = {name: unpack(value) for name, value in packed.items() if name in known}
            self._results[attribute] = kind(classes=self.classes[attribute], **values)
        self._own.restore(saved.get("own", {"pending": {}, "recorded": {}}))
        self._states.restore(saved["open"])
        self._unevaluated, self._unrecorded = set(saved["unevaluated"]), set(saved["open"])
        self.epochs = dict(saved.get("epochs", {}))
