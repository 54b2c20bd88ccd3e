"""Which epoch of a session is best by a metric of a group: for checkpoints, while it runs and when it ends."""

from __future__ import annotations

from tbmetrics.class_performance.preview import open_validation
from tbmetrics.errors import InputError
from tbmetrics.records import ALL
from tbmetrics.records.history import History
from tbmetrics.session.best import BestValidation, GroupMetric
from tbmetrics.session.pairs import SessionPairs


class SessionChoices(SessionPairs):
    """`best` and `is_best`."""

    def best(self, metric: str, *, group: str = ALL, attribute: str | None = None) -> BestValidation | None:
        """The validation with the best value of a group metric, and which others cannot be told from it.

            tb.best("recall", group="tail").step

        Takes the validations of this session, those that `load_state_dict` restored, and the one under way. With
        several ranks ask after `end_epoch()`. Every other validation is compared with the best, which takes some
        milliseconds each: ask when the run ends, and in between `is_best`.

        Args:
            metric: "precision", "recall", "f1", "ap", or another metric of a group of which more is better, such as
                "accuracy", a recall at k or one of your own; or "ece", of which less is.
            group: "head", "medium", "tail", "all", or "gap" (head minus tail; the smallest is best).
            attribute: may be left out if there is one.

        Returns:
            None if no validation has a defined value.

        Raises:
            InputError: an unknown metric, group or attribute, or no classes.
        """
        chosen = self._group_metric(attribute, metric, group)
        return None if chosen is None else chosen.best(self._validations())

    def is_best(
        self, metric: str, *, group: str = ALL, attribute: str | None = None, beyond_interval: bool = False
    ) -> bool:
        """Whether the validation of this epoch has the best value so far, so that its checkpoint is worth keeping.

            if tb.is_best("recall", group="tail"):
                torch.save(model.state_dict(), "best.pt")

        The first defined value is the best so far; an equal one is not better, an undefined one never best. Without a
        validation in this epoch (the open one, or the last) the answer is False.

        Args:
            metric, group, attribute: as for `best`.
            beyond_interval: only if it is better than the best one before beyond chance: the 95 % interval of their
                difference excludes 0. It is paired where both validated the same samples.

        Raises:
            InputError: as `best`; or `beyond_interval` for a metric without intervals.
        """
        chosen = self._group_metric(attribute, metric, group)
        epoch = self._last_epoch if self.current_epoch is None else self.current_epoch
        return chosen is not None and chosen.is_best(self._validations(), epoch, beyond_interval=beyond_interval)

    def _group_metric(self, attribute: str | None, metric: str, group: str) -> GroupMetric | None:
        if not self.enabled:
            return None
        if self.class_performance is None:
            raise InputError("best() needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        return GroupMetric(attribute, metric, group, self.class_performance.attributes)

    def _validations(self) -> list[History]:
        """What was validated, and what is being validated."""
        tracker, epoch = self.class_performance, self.current_epoch
        if tracker is None or epoch is None:
            return [self.history]
        if self._ranks.size > 1:
            raise InputError("with several ranks call end_epoch() first: this rank has seen a part of the validation")
        return [self.history, self._call(tracker, open_validation, tracker, epoch, default=History())]
