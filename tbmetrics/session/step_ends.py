"""What a session does when an optimizer step ends: most steps need nothing."""

from __future__ import annotations

from collections.abc import Callable

from tbmetrics.session.learning_rates import LearningRates
from tbmetrics.session.overhead import OverheadBudget
from tbmetrics.session.run_log import RunLog
from tbmetrics.session.tracker_calls import TrackerCalls


class StepEnds:
    """Tells trackers of the steps that they want to hear of, and writes what arrives.

    Args:
        log: where measurements go.
        calls: calls into the trackers.
        learning_rates: recorded now and then.
        budget: judges sampled steps, or None.
        count_costs: reports the time that trackers took.
    """

    def __init__(
        self,
        log: RunLog,
        calls: TrackerCalls,
        learning_rates: LearningRates,
        budget: OverheadBudget | None,
        count_costs: Callable[[], None],
    ) -> None:
        self._log, self._calls, self._learning_rates = log, calls, learning_rates
        self._budget, self._count_costs = budget, count_costs
        self._last = self._told = 0  # the last step, and the last that trackers have heard of
        self._next: float = 0  # the next step that anything is to be done about

    def after_step(self, step: int) -> None:
        """Handle the end of `step`."""
        self._last = step
        if step >= self._next:
            self._tell(step)

    def catch_up(self) -> None:
        """Tell trackers of the last step, if it was left out."""
        if self._last != self._told:
            self._tell(self._last)

    def ask_anew(self) -> None:
        """Let trackers hear of the next step, whatever they said they want to."""
        self._next = 0

    def _tell(self, step: int) -> None:
        self._told = step
        if self._learning_rates.due(step):
            self._log.put_scalars(self._learning_rates.scalars(), step)
        self._calls.after_step(step)
        for tracker in self._calls.overriding("arrived"):
            if tracker.has_arrivals and (arrived := self._calls.collect(tracker, tracker.arrived)):
                self._log.write(arrived)
        if self._budget is not None and self._budget.concerns(step):
            self._count_costs()
            self._budget.after_step(step)
        self._next = min(self._calls.next_step(), self._learning_rates.next_after(step))
