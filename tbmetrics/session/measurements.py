"""What a session is told and asked: batches, scalars, and the metrics so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tbmetrics.class_performance.preview import open_validation
from tbmetrics.errors import InputError
from tbmetrics.records import ALL
from tbmetrics.records.history import History
from tbmetrics.session.best import BestValidation, GroupMetric
from tbmetrics.session.pairs import SessionPairs
from tbmetrics.tracking.batches import Tensors, TrainingBatch, ValidationBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


class SessionMeasurements(SessionPairs):
    """The calls that bring measurements into a session, and those that ask for them."""

    def update(
        self,
        logits: Tensors,
        labels: Tensors,
        images: Tensor | NDArray[Any] | None = None,
        *,
        indices: Tensor | Sequence[int] | None = None,
        evaluation: str | None = None,
    ) -> None:
        """Pass a validation batch to every tracker; open an epoch if none is open.

        Args:
            logits: (N, C) or, dense, (N, C, …) or (N, …, C), any float type and device, or an array; or one per
                attribute.
            labels: class indices (N,) or (N, …) or multi-hot (N, C), -1 = unknown; or one per attribute.
            images: samples as (N, C, H, W), (N, H, W) or (N, H, W, C); the gallery of `diagnostics` keeps a few.
            indices: integers (N,), the dataset index of each row, so that a sample given to several ranks counts once.
            evaluation: name of an evaluation beside the validation, e.g. "test" or "ema": it becomes the run
                `{log_dir}/{evaluation}`, at the open epoch or else the last one. With several ranks, each gives its
                share.

        Raises:
            InputError: shapes, types or attributes do not fit the classes, or no classes were given.
        """
        if not self._is_running():
            if not self.enabled and self.current_epoch is None:
                self.start_epoch(self._last_epoch + 1)
            return
        if evaluation is not None:
            epoch = max(self._last_epoch, 0) if self.current_epoch is None else self.current_epoch
            self._evaluations.session(evaluation, epoch).update(logits, labels, images, indices=indices)
            return
        if not self._calls.overriding("validate"):
            raise InputError("update() needs classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        if self.current_epoch is None:
            self.start_epoch(self._last_epoch + 1)
        self._calls.each("validate", ValidationBatch(logits, labels, images, indices))

    def log_class_metrics(
        self,
        attribute: str,
        metrics: Mapping[str, Any],
        *,
        support: Any = None,
        lower: Mapping[str, Any] | None = None,
        upper: Mapping[str, Any] | None = None,
    ) -> None:
        """Add metrics of the classes that were computed elsewhere to the validation of the open epoch, or of a new one.

            tb.log_class_metrics("category", {"ap": ap_by_class, "ap50": ap50_by_class})

        With several ranks those of the first rank count. Arguments, and errors, as for
        `ClassPerformanceTracker.log_class_metrics`.
        """
        if not self._is_running():
            return
        if self.class_performance is None:
            raise InputError("class metrics need classes: give TBMetrics(..., classes=ClassGroups.from_counts({...}))")
        if self.current_epoch is None:
            self.start_epoch(self._last_epoch + 1)
        tracker = self.class_performance
        self._call(
            tracker, partial(tracker.log_class_metrics, support=support, lower=lower, upper=upper), attribute, metrics
        )

    def observe(self, logits: Tensors, labels: Tensors, loss: Tensors | None = None) -> None:
        """Pass a training batch to the trackers that use training outputs; preferably before `backward()`.

        Args:
            logits: (N, C), or one per attribute.
            labels: class indices (N,) or multi-hot (N, C), -1 = unknown; soft targets (mixup, label smoothing) as
                floats (N, C) whose rows sum to 1; or one per attribute.
            loss: per sample, (N,), or one per attribute; None computes the cross-entropy.
        """
        if self._is_running():
            self._calls.each("observe", TrainingBatch(logits, labels, loss))

    def log_scalar(self, tag: str, value: float | Tensor, step: int | None = None) -> None:
        """Write one scalar at `step` (default: the optimizer step). A CUDA tensor is copied without waiting."""
        self.log_scalars({tag: value}, step)

    def log_scalars(self, scalars: Mapping[str, float | Tensor], step: int | None = None) -> None:
        """Write several scalars of one step as one event.

        Raises:
            InputError: a value is neither a number nor a tensor of one element.
        """
        if self._is_running():
            self._log.put_scalars(scalars, self.global_step if step is None else step)

    def get_metrics(self) -> dict[str, Any]:
        """Return everything measured so far, JSON-ready: `{"class_performance": …, tracker name: …}`.

        `["class_performance"]["epochs"]` says of which epoch each attribute's numbers are: after a rank was lost there
        are none of later epochs. `["evaluations"]` holds the same of each evaluation by name, if there are any.
        """
        self._step_ends.catch_up()
        metrics: dict[str, Any] = {}
        for tracker in self.trackers:
            if tracker is self.class_performance:
                metrics["class_performance"] = {
                    "class_metrics": self._call(tracker, self.class_performance.get_metrics, default={}),
                    "type_metrics": self._call(tracker, self.class_performance.get_class_type_metrics, default={}),
                    "epochs": dict(self.class_performance.epochs),
                }
            else:
                metrics[tracker.name] = self._call(tracker, tracker.get_metrics, default={})
        if evaluations := self._evaluations.get_metrics():
            metrics["evaluations"] = evaluations
        return metrics

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
