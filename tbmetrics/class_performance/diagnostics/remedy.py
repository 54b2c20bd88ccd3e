"""Remedy: a remedy with its amount as a module that adjusts logits, and as a JSON file."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tbmetrics.errors import InputError
from tbmetrics.records import (
    MULTI_LABEL,
    REMEDIES,
    REMEDY_KIND,
    REMEDY_VERSION,
    SINGLE_LABEL,
    remedy_content,
    remedy_text,
)
from tbmetrics.tracking.checks import check_choice

_TEXTS, _NUMBERS, _LISTS = ("attribute", "remedy", "decision"), ("tau", "temperature"), ("classes", "offset", "scale")


class Remedy(nn.Module):
    """Adjusts the logits of one attribute: (logits - offset) · scale.

        remedy = tb.diagnostics.remedy("digit", "logit_adjustment")
        decisions = remedy(model(images)).argmax(1)
        remedy.save("remedy.json")

    The adjusted logits are decided as before: by argmax, or by the thresholds of a multi-label attribute (0.5 unless
    others were given). `state_dict` holds `offset` and `scale`; the file holds everything.

    Args:
        attribute: whose logits it takes.
        remedy: "logit_adjustment", "tau_normalization" or "class_thresholds".
        classes: their names, in the order of the logits' columns.
        offset, scale: of each class, (C,), finite.
        decision: "single_label" or "multi_label".
        tau: its amount; NaN for thresholds.
        temperature: of the logits, by which logit adjustment is multiplied; otherwise NaN.
        predicted: what was predicted of it, the row of the table of remedies: a column of `REMEDY_COLUMNS` → value.

    Raises:
        InputError: an argument that cannot be used.
    """

    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        attribute: str,
        remedy: str,
        classes: Sequence[str],
        offset: Any,
        scale: Any,
        *,
        decision: str,
        tau: float = math.nan,
        temperature: float = math.nan,
        predicted: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        check_choice("remedy", remedy, REMEDIES)
        check_choice("decision", decision, (SINGLE_LABEL, MULTI_LABEL))
        self.attribute, self.remedy, self.decision = attribute, remedy, decision
        self.classes = tuple(classes)
        self.tau, self.temperature = tau, temperature
        self.predicted = dict(predicted or {})
        for name, values in (("offset", offset), ("scale", scale)):
            self.register_buffer(name, _one_a_class(name, values, len(self.classes)))

    def forward(self, logits: Tensor) -> Tensor:
        """The adjusted logits, at least float32.

        Args:
            logits: (..., C), as they were given to `update`; of probabilities their logarithm (multi-label: log-odds).

        Raises:
            InputError: not logits of these classes.
        """
        is_float = isinstance(logits, Tensor) and logits.is_floating_point()
        if not is_float or not logits.ndim or logits.shape[-1] != len(self.classes):
            got = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits)
            raise InputError(
                f"the remedy of {self.attribute!r} takes logits, floats of shape (..., {len(self.classes)}), got {got}"
            )
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return (wide - self.offset.to(wide)) * self.scale.to(wide)

    def wrap(self, model: nn.Module) -> RemediedModel:
        """The model with adjusted logits; it returns logits, or a mapping that has them by attribute or as "logits"."""
        return RemediedModel(model, self)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        tau = "" if math.isnan(self.tau) else f", tau={self.tau:g}"
        return f"{self.attribute}: {self.remedy}{tau}, {len(self.classes)} classes"

    # ------------------------------------------------------------------------------------------------- as a file

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; NaN becomes None."""
        return remedy_content(
            self.remedy,
            self.attribute,
            self.decision,
            self.classes,
            self.offset.tolist(),
            self.scale.tolist(),
            self.predicted,
            tau=self.tau,
            temperature=self.temperature,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        Path(path).write_text(remedy_text(self.to_json()), encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Remedy:
        """Read what `save` wrote; the file is data, nothing in it is run.

        Raises:
            InputError: there is no such file, or it is something else, damaged or of a newer version.
        """
        try:
            return cls._from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{os.fspath(path)}: cannot be read as a remedy ({error})") from error

    @classmethod
    def _from_json(cls, content: Any) -> Remedy:
        if not isinstance(content, dict) or content.get("kind") != REMEDY_KIND:
            raise InputError("it is not what Remedy.save() wrote")
        if content.get("version") != REMEDY_VERSION:
            raise InputError(
                f"it is of version {content.get('version')!r}, this tbmetrics reads {REMEDY_VERSION}; update it"
            )
        texts: list[Any] = [content.get(name) for name in _TEXTS]
        lists: list[Any] = [content.get(name) for name in _LISTS]
        if not all(isinstance(text, str) for text in texts) or not all(isinstance(values, list) for values in lists):
            raise InputError(f"{', '.join(_TEXTS)} must be texts, {', '.join(_LISTS)} lists")
        (attribute, remedy, decision), (classes, offset, scale) = texts, lists
        if not all(isinstance(name, str) for name in classes):
            raise InputError("classes must be texts")
        numbers = {name: _number(name, content.get(name)) for name in _NUMBERS}
        predicted = content.get("predicted")
        known = {c: _number(c, v) for c, v in predicted.items()} if isinstance(predicted, dict) else {}
        return cls(attribute, remedy, classes, offset, scale, decision=decision, predicted=known, **numbers)


class RemediedModel(nn.Module):
    """A model whose logits of one attribute are adjusted.

    Args:
        model: returns logits, or a mapping that has them by attribute or as "logits".
        remedy: of the attribute.
    """

    def __init__(self, model: nn.Module, remedy: Remedy) -> None:
        super().__init__()
        self.model, self.remedy = model, remedy

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns, with adjusted logits.

        Raises:
            InputError: it returns neither logits nor a mapping that has them.
        """
        output = self.model(*args, **kwargs)
        if isinstance(output, Tensor):
            return self.remedy(output)
        attribute = self.remedy.attribute
        key = next((k for k in (attribute, "logits") if isinstance(output, Mapping) and k in output), None)
        if key is None:
            what = f"a mapping with {list(output)}" if isinstance(output, Mapping) else type(output).__name__
            raise InputError(f"the model must return logits, or a mapping with {attribute!r} or 'logits', got {what}")
        remedied = copy.copy(output) if isinstance(output, MutableMapping) else dict(output)
        remedied[key] = self.remedy(output[key])
        return remedied


def _one_a_class(name: str, values: Any, size: int) -> Tensor:
    try:
        tensor = torch.as_tensor(values, dtype=torch.float32).detach().cpu().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be numbers ({error})") from error
    if tensor.shape != (size,) or not bool(tensor.isfinite().all()):
        raise InputError(f"{name} must be a finite number for each of {size} classes, got shape {tuple(tensor.shape)}")
    return tensor


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{name} must be a number, got {value!r}")
    return float(value)
