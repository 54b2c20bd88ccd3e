"""From what a diagnosis found of a remedy to the module that applies it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.errors import InputError
from tbmetrics.records import (
    CLASS_THRESHOLDS,
    LOGIT_ADJUSTMENT,
    MULTI_LABEL,
    REMEDY_COLUMNS,
    SINGLE_LABEL,
    TAU_NORMALIZATION,
)


def chosen_remedy(diagnosis: Diagnosis, remedy: str, tau: float | None, logit_scale: float) -> Remedy:
    """A remedy as judged in a diagnosis.

    Args:
        diagnosis: of the validation.
        remedy: one of `REMEDIES`.
        tau: its amount; None = the one that was chosen.
        logit_scale: factor by which the logits given were multiplied before they were judged.

    Raises:
        InputError: it does not apply to the attribute, or could not be judged.
    """
    attribute = diagnosis.classes.attribute
    if (remedy == CLASS_THRESHOLDS) == diagnosis.is_single_label and remedy != LOGIT_ADJUSTMENT:
        this, other = ("single-label", "multi-label") if diagnosis.is_single_label else ("multi-label", "single-label")
        others = TAU_NORMALIZATION if diagnosis.is_single_label else CLASS_THRESHOLDS
        raise InputError(
            f"{remedy} is for {other} attributes and {attribute!r} is {this}; use {LOGIT_ADJUSTMENT!r} or {others!r}"
        )
    amount = _amount(diagnosis, remedy, tau)
    temperature = diagnosis.remedies.best(remedy, "temperature")
    offset, scale = _parameters(diagnosis, remedy, amount, temperature)
    row = diagnosis.remedies.row(remedy, tau)
    predicted = {} if row is None else {c: diagnosis.remedies.value(row, c) for c in REMEDY_COLUMNS}
    return Remedy(
        attribute,
        remedy,
        diagnosis.classes.names,
        offset / logit_scale,
        scale,
        decision=SINGLE_LABEL if diagnosis.is_single_label else MULTI_LABEL,
        tau=amount,
        temperature=temperature,
        predicted=predicted,
    )


def _amount(diagnosis: Diagnosis, remedy: str, tau: float | None) -> float:
    """The amount of the remedy, NaN for thresholds."""
    table, attribute = diagnosis.remedies, diagnosis.classes.attribute
    if np.isnan(table.best(remedy, "all_recall")):
        reason = next((diagnosis.left_out[part] for part in (remedy, "logits") if part in diagnosis.left_out), "")
        raise InputError(f"{remedy} of {attribute!r} could not be judged: {reason or 'nothing was validated'}")
    if remedy == CLASS_THRESHOLDS:
        if tau is not None:
            raise InputError(f"{CLASS_THRESHOLDS} have no amount; leave out tau={tau!r}")
        return math.nan
    if tau is None:
        return table.best(remedy, "tau")
    if isinstance(tau, bool) or not isinstance(tau, int | float) or not 0 <= tau < 100:
        raise InputError(f"tau must be a number from 0 (as trained) to 100, got {tau!r}")
    return float(tau)


def _parameters(diagnosis: Diagnosis, remedy: str, tau: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Offset and scale of each class, float32 (C,)."""
    inputs, nothing = diagnosis.inputs, torch.zeros(len(diagnosis.classes))
    if tau == 0:
        return nothing, nothing + 1
    if remedy == CLASS_THRESHOLDS and diagnosis.remedies.shifts is not None:
        return torch.from_numpy(diagnosis.remedies.shifts).float(), nothing + 1
    if remedy == LOGIT_ADJUSTMENT and inputs.log_prior is not None:
        return inputs.log_prior.cpu().float() * (tau * temperature), nothing + 1
    if remedy == TAU_NORMALIZATION and inputs.norms is not None:
        bias = nothing if inputs.bias is None else inputs.bias.cpu().float()
        return bias, inputs.norms.cpu().float().clamp(min=1e-12).pow(-tau)
    raise InputError(f"{remedy} of {diagnosis.classes.attribute!r} could not be judged")
