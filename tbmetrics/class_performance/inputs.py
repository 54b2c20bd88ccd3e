"""What is given of an attribute: logits, scaled logits, probabilities or predicted classes; and what it looks like."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tbmetrics.errors import InputError, TBMetricsWarning, caller_level
from tbmetrics.tracking.checks import check_choice

LOGITS, PROBABILITIES, CLASSES = "logits", "probabilities", "classes"
INPUTS = (LOGITS, PROBABILITIES, CLASSES)
#: Fewer scores than this may lie between 0 and 1 by chance.
LEAST_SCORES = 32
#: AP above that of chance from which logits within [-1, 1] are taken for those of a trained, normalised classifier.
COSINE_AP_GAIN = 0.25
#: Greatest logit of a normalised classifier, at least.
LEAST_COSINE = 0.1


@dataclass(frozen=True, slots=True)
class Activation:
    """How scores become probabilities: softmax (single-label) or sigmoid (multi-label) of logits, or as they are.

    Attributes:
        inputs: one of `INPUTS`; predicted classes have no probabilities.
        logit_scale: factor of the logits; None = 1, without the user having said so.
    """

    inputs: str = LOGITS
    logit_scale: float | None = None

    @classmethod
    def checked(cls, inputs: Any, logit_scale: Any) -> Activation:
        """From a user's options.

        Raises:
            InputError: an option cannot be used.
        """
        check_choice("inputs", inputs, INPUTS)
        if logit_scale is None:
            return cls(inputs)
        try:
            scale = float(logit_scale)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"logit_scale must be a number above 0, got {logit_scale!r:.100}") from error
        if not 0 < scale < float("inf"):
            raise InputError(f"logit_scale must be a finite number above 0, got {scale}")
        if inputs != LOGITS:
            raise InputError(f"logit_scale scales logits: leave it out with inputs={inputs!r}")
        return cls(inputs, scale)

    @property
    def takes_probabilities(self) -> bool:
        """Whether scores are probabilities already."""
        return self.inputs == PROBABILITIES

    @property
    def takes_classes(self) -> bool:
        """Whether there are no scores, only decisions."""
        return self.inputs == CLASSES

    @property
    def scale(self) -> float:
        """Factor of the logits."""
        return 1.0 if self.logit_scale is None else self.logit_scale

    def softmax(self, scores: Tensor) -> Tensor:
        """Probabilities of single-label rows in float64, as float32 ties confident ones; on the host for MPS."""
        wide = (scores.cpu() if scores.device.type == "mps" else scores).double()
        return wide if self.takes_probabilities else self._scaled(wide).softmax(dim=1)

    def confidence(self, scores: Tensor, largest: Tensor) -> Tensor:
        """Probability of the largest score of each single-label row, (N,).

        Args:
            scores: float32 or float64 (N, C).
            largest: of each row, (N,).
        """
        if self.takes_probabilities:
            return largest.clamp(0, 1)
        scaled = self._scaled(scores)
        return (self._scaled(largest) - scaled.logsumexp(dim=1)).exp()

    def _scaled(self, logits: Tensor) -> Tensor:
        return logits if self.scale == 1 else logits * self.scale

    def sigmoid(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Probabilities of multi-label scores, at least float32."""
        wide = torch.from_numpy(scores.astype(np.promote_types(scores.dtype, np.float32), copy=False))
        return (wide.clamp(0, 1) if self.takes_probabilities else self._scaled(wide).sigmoid()).numpy()

    def cuts(self, thresholds: NDArray[np.float64], dtype: torch.dtype) -> Tensor:
        """Decision thresholds (probabilities) on the scale of multi-label scores, to compare with scores of `dtype`.

        Half precision compares as float32 would: a threshold between two of its values becomes the upper one.
        """
        p = torch.as_tensor(thresholds)
        exact = p.logit() / self.scale if self.inputs == LOGITS else p
        return exact if dtype == torch.float64 else _rounded_up(exact.float(), dtype)

    def as_logits(self, scores: Tensor, single_label: bool) -> Tensor:
        """Logits with the same probabilities, float32 or float64."""
        wide = scores if scores.dtype == torch.float64 else scores.float()
        if not self.takes_probabilities:
            return self._scaled(wide)
        return wide.clamp(0, 1).log() if single_label else wide.clamp(0, 1).logit()


DEFAULT_ACTIVATION = Activation()


def _rounded_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    """The least value of `dtype` that is not below each of `values`, float32."""
    rounded = values.to(dtype)
    if dtype == torch.float32:
        return rounded
    bits = rounded.view(torch.int16)
    above = torch.where(rounded > 0, bits + 1, torch.where(rounded < 0, bits - 1, torch.ones_like(bits))).view(dtype)
    return torch.where(rounded.float() < values, above, rounded)


class ScoreFacts(NamedTuple):
    """What the scores of a batch look like; NaN if there are NaN scores."""

    least: float
    greatest: float
    row_sum: float  # the one farthest from 1

    @classmethod
    def measured(cls, scores: Tensor, *, with_sums: bool = True) -> ScoreFacts:
        """The facts of a batch with rows, in one wait for its device; without sums `row_sum` is NaN."""
        if not with_sums:
            least, greatest = torch.stack(scores.aminmax()).tolist()
            return cls(least, greatest, float("nan"))
        wide = scores.dtype if scores.dtype == torch.float64 else torch.float32
        ends = (*scores.aminmax(), *scores.sum(dim=1, dtype=wide).aminmax())
        least, greatest, *sums = torch.stack([end.to(wide) for end in ends]).tolist()
        return cls(least, greatest, max(sums, key=lambda row_sum: abs(row_sum - 1)))


def check_probabilities(name: str, facts: ScoreFacts, dtype: torch.dtype, single_label: bool) -> None:
    """Check a batch given with `inputs="probabilities"`.

    Raises:
        InputError: values outside [0, 1], or single-label rows that do not sum to 1, beyond rounding.
    """
    rounding = max(1e-6, torch.finfo(dtype).eps)
    if facts.least < -rounding or facts.greatest > 1 + rounding:
        raise InputError(
            f"{name}: inputs='probabilities' must lie in [0, 1], got {facts.least:.6g} to {facts.greatest:.6g}; "
            "for logits give inputs='logits'"
        )
    if single_label and abs(facts.row_sum - 1) > max(1e-3, 4 * rounding):
        raise InputError(
            f"{name}: the probabilities of a single-label row must sum to 1 (softmax), got {facts.row_sum:.6g}; for a "
            "sigmoid per class give multi-hot labels"
        )


@dataclass(slots=True)
class InputLook:
    """What all scores of a validation, given as logits, have in common with probabilities or cosines.

    Attributes:
        n_scores: seen while there was something.
        in_unit, sums_to_one, within_one: all in [0, 1]; all rows sum to 1; all in [-1, 1].
        least, greatest: of all scores.
    """

    n_scores: int = 0
    in_unit: bool = True
    sums_to_one: bool = True
    within_one: bool = True
    least: float = float("inf")
    greatest: float = float("-inf")

    def add(self, facts: ScoreFacts, n_scores: int) -> None:
        """Take a batch into account."""
        self.n_scores += n_scores
        self.in_unit &= facts.least >= 0 and facts.greatest <= 1
        self.within_one &= facts.least >= -1 and facts.greatest <= 1
        self.sums_to_one &= abs(facts.row_sum - 1) <= 1e-3
        self.least, self.greatest = min(self.least, facts.least), max(self.greatest, facts.greatest)

    def merge(self, other: InputLook) -> None:
        """Take the batches of another rank into account."""
        self.n_scores += other.n_scores
        self.in_unit &= other.in_unit
        self.within_one &= other.within_one
        self.sums_to_one &= other.sums_to_one
        self.least, self.greatest = min(self.least, other.least), max(self.greatest, other.greatest)

    def advice(self, ap_gain: float) -> str:
        """What to say about a validation that was given as logits; "" if nothing.

        Args:
            ap_gain: mean AP less that of chance; an untrained model has small logits too, but ranks by chance.
        """
        if self.n_scores < LEAST_SCORES or self.least == self.greatest:
            return ""
        if self.in_unit or self.sums_to_one:
            return self._as_probabilities("lie in [0, 1]" if self.in_unit else "sum to 1 in each row")
        is_wide = max(-self.least, self.greatest) >= LEAST_COSINE
        if self.within_one and is_wide and ap_gain >= COSINE_AP_GAIN:
            return (
                "all logits lie in [-1, 1], as those of a normalised classifier do, and make nearly equal "
                "probabilities: give logit_scale=… (the factor in your loss), or logit_scale=1.0 if they are logits; a "
                "model that has barely been trained has such logits, too"
            )
        return ""

    def probabilities_advice(self, single_label: bool) -> str:
        """What to say if the scores cannot be told from probabilities; "" if they can."""
        if self.n_scores < LEAST_SCORES or self.least == self.greatest or not self.in_unit:
            return ""
        if single_label:
            return self._as_probabilities("sum to 1 in each row") if self.sums_to_one else ""
        return self._as_probabilities("lie in [0, 1]")

    @staticmethod
    def _as_probabilities(what: str) -> str:
        return (
            f"all logits {what}, as probabilities do: give inputs='probabilities' if they are outputs of a softmax "
            "or sigmoid, logit_scale=… if they are cosines, logit_scale=1.0 if they are logits"
        )


class InputWatch:
    """Checks probabilities, and says once if logits look like probabilities or cosines.

    Args:
        attribute: its name, for messages.
        activation: what the user says the scores are.
    """

    def __init__(self, attribute: str, activation: Activation) -> None:
        self._name, self._activation = f"attribute {attribute!r}", activation
        self.has_warned = False
        self.reset()

    def reset(self) -> None:
        """Begin another validation."""
        self._look = InputLook()

    @property
    def is_needed(self) -> bool:
        """Whether batches should be looked at; the first one of ordinary logits ends it for a validation."""
        return self._activation.takes_probabilities or self._is_suspicious()

    def _is_suspicious(self) -> bool:
        look, is_said = self._look, self._activation.logit_scale is not None
        return not is_said and not self.has_warned and (look.in_unit or look.sums_to_one or look.within_one)

    def look_at(self, scores: Tensor, single_label: bool, n_scores: int) -> None:
        """Look at the defined rows of a batch of `n_scores`.

        Raises:
            InputError: probabilities that are none.
        """
        if not scores.numel():
            return
        if self._activation.takes_probabilities:
            facts = ScoreFacts.measured(scores, with_sums=single_label)
            check_probabilities(self._name, facts, scores.dtype, single_label)
        else:
            self._look.add(ScoreFacts.measured(scores, with_sums=self._look.sums_to_one), n_scores)

    def warn(self, ap_gain: float) -> None:
        """Warn once if the logits of this validation look like something else; see `InputLook.advice`."""
        advice = self._look.advice(ap_gain) if self._is_suspicious() else ""
        if advice:
            self.has_warned = True
            warnings.warn(f"{self._name}: {advice}; this is said once", TBMetricsWarning, stacklevel=caller_level())

    def share(self) -> dict[str, float]:
        """What was seen, for `merge`."""
        return asdict(self._look)

    def merge(self, share: dict[str, Any]) -> None:
        """Take what another rank saw into account."""
        self._look.merge(InputLook(**share))
