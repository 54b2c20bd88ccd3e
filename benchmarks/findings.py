"""How often each rule of the verdict is wrong, and how good predicted gains are, where the truth is known.

A cause is planted or absent (see `findings_problems`). False alarms are findings of a cause that is not there; hits are
findings of one that is. Predicted gains are compared with those on a large fresh sample.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.findings_problems import (
    FRESH,
    MULTI_LABEL,
    Problem,
    Validation,
    multi_label,
    single_label_problems,
)
from benchmarks.measuring import Facts, Results, Run
from tbmetrics import LongTailDiagnostics
from tbmetrics.class_performance.diagnostics.multi_label import FOLDS, best_cuts
from tbmetrics.class_performance.diagnostics.verdict import RULES
from tbmetrics.tracking.batches import TrainingBatch

FloatArray = NDArray[np.float64]
SCALES = (1.0, 0.05, 20.0)
SAMPLES = (5, 30)


class Outcome(NamedTuple):
    """One rule's judgement of one validation: 0, 1, 2, or NaN; and whether its cause is there."""

    rule: str
    severity: float
    is_there: bool


class Gain(NamedTuple):
    """A predicted gain of the objective, with its interval, and the gain on fresh data."""

    remedy: str
    predicted: float
    lower: float
    upper: float
    true: float


def diagnosed(problem: Problem, validation: Validation, scale: float = 1.0) -> LongTailDiagnostics:
    """Diagnostics of one validation, all logits times `scale`."""
    head = problem.head if scale == 1 and validation.features is not None else None
    diagnostics = LongTailDiagnostics(head, problem.groups, training_samples=problem.training_samples)
    diagnostics.start()
    if problem.observed is not None:
        diagnostics.observe(TrainingBatch(*problem.observed))
    with torch.no_grad():
        logits = validation.logits if head is None else head(validation.features)
        diagnostics.update(scale * logits, validation.labels)
    diagnostics.stop()
    return diagnostics


def severities(diagnostics: LongTailDiagnostics) -> dict[str, float]:
    """Rule → 0 not found, 1 noted, 2 strong, NaN could not be told."""
    metrics = diagnostics.get_metrics()
    levels = {"not found": 0.0, "noted": 1.0, "strong": 2.0}
    return {f["name"]: levels.get(f["severity"], np.nan) for f in (*metrics["findings"], *metrics["other_rules"])}


def judged(problem: Problem, validation: Validation, diagnostics: LongTailDiagnostics) -> Iterator[Outcome]:
    """The outcomes of the rules whose truth is known."""
    found = severities(diagnostics)
    for rule, is_there in problem.truth.items():
        if rule in found and not (rule == "features_collapsed" and problem.head is None):
            yield Outcome(rule, found[rule], is_there)


# ------------------------------------------------------------------------------------------------------- gains


def gains(problem: Problem, validation: Validation, fresh: Validation, diagnostics: LongTailDiagnostics) -> list[Gain]:
    """The predicted gain of every remedy, and what it gains on fresh data as it would be deployed."""
    remedies = diagnostics.get_metrics()["attributes"]["x"]["remedies"]
    pairs = []
    for remedy, rows in remedies.items():
        best = rows.get("best") if remedy != "none" else None
        if best is not None and best["objective_gain_lower"] is not None:
            ends = (best[f"objective_gain{end}"] for end in ("", "_lower", "_upper"))
            pairs.append(Gain(remedy, *ends, true=_true_gain(problem, remedy, best, validation, fresh)))
    return pairs


def _true_gain(problem: Problem, remedy: str, best: dict[str, float], seen: Validation, fresh: Validation) -> float:
    counts = torch.from_numpy(problem.groups["x"].counts).float()
    if not problem.is_single:
        rows = problem.training_samples or 0
        shift = best["tau"] or 0.0
        cuts = torch.zeros(len(counts))
        if remedy == "logit_adjustment":
            cuts = shift * best["temperature"] * torch.log(counts / (rows - counts))
        elif remedy == "class_thresholds":
            nowhere = torch.full((len(seen.labels),), FOLDS)
            cuts = best_cuts(seen.logits, seen.labels > 0, seen.labels >= 0, cuts, nowhere)[0]
        judged_classes = (seen.labels > 0).sum(0) >= 10
        before, after, blind = (
            _f1(decided, fresh.labels)[judged_classes].mean()
            for decided in (fresh.logits >= 0, fresh.logits >= cuts, torch.ones_like(fresh.labels, dtype=torch.bool))
        )
        return float(after - max(before, blind))
    if remedy == "logit_adjustment":
        remedied = fresh.logits - best["tau"] * best["temperature"] * torch.log(counts / counts.sum())
    elif problem.head is not None and best["tau"]:
        weight, bias = problem.head.weight.detach(), problem.head.bias.detach()
        remedied = (fresh.logits - bias) * weight.norm(dim=1) ** -best["tau"]
    else:
        remedied = fresh.logits
    hits = [(logits.argmax(1) == fresh.labels).float() for logits in (fresh.logits, remedied)]
    return float((hits[1] - hits[0]).mean())  # classes are equally frequent


def _f1(decided: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    hits = (decided & (labels > 0)).sum(0)
    return 2 * hits / (decided.sum(0) + (labels > 0).sum(0))


# ------------------------------------------------------------------------------------------------------ tables

Outcomes = dict[tuple[str, str], list[Outcome]]  # (rule, cell)
Gains = dict[tuple[str, str], list[Gain]]  # (remedy, cell)


def rates(outcomes: Outcomes) -> Facts:
    """False alarms and hits of each rule in each cell."""
    rows = []
    for rule in (r.name for r in RULES):
        for cell in dict.fromkeys(cell for name, cell in outcomes if name == rule):
            by_truth = {t: [o.severity for o in outcomes[rule, cell] if o.is_there == t] for t in (False, True)}
            absent, there = (np.array(by_truth[t]) for t in (False, True))
            rows.append([f"`{rule}`", cell, *_shares(absent, (1, 2)), *_shares(there, (1, 2)), _count(absent, there)])
    columns = ["rule", "validation", "noted without cause", "of these strong", "undecided", "found where planted",
               "of these strong ", "undecided ", "validations"]  # fmt: skip
    return Facts("False alarms and hits", columns, rows, "shares of validations; 'noted' and 'found' include 'strong'")


def _shares(severity: FloatArray, levels: tuple[int, ...]) -> list[str]:
    if not severity.size:
        return [""] * (len(levels) + 1)
    return [*(f"{np.mean(severity >= level):.1%}" for level in levels), f"{np.mean(np.isnan(severity)):.1%}"]


def _count(absent: FloatArray, there: FloatArray) -> str:
    return f"{len(absent)} + {len(there)}"


def gain_table(every: Gains) -> Facts:
    """Bias and coverage of predicted gains."""
    rows = []
    for (remedy, cell), pairs in every.items():
        predicted, true = (np.array([getattr(p, name) for p in pairs]) for name in ("predicted", "true"))
        covers = np.mean([p.lower <= p.true <= p.upper for p in pairs])
        ours, fresh = f"{predicted.mean():+.3f}", f"{true.mean():+.3f}"
        rows.append([remedy, cell, ours, fresh, f"{(predicted - true).mean():+.3f}", f"{covers:.2f}", str(len(pairs))])
    columns = ["remedy", "validation", "predicted", "on fresh data", "bias", "95 % intervals that cover", "validations"]
    return Facts("Predicted gains", columns, rows, "in balanced accuracy, or mean F1 of multi-label attributes")


def measure(run: Run) -> Results:
    """All problems, in every size."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    outcomes: Outcomes = defaultdict(list)
    predicted: Gains = defaultdict(list)
    notes: dict[tuple[str, int], list[dict[str, float]]] = defaultdict(list)
    differing = [0, 0]
    for classes in run.choose((10,), (10, 100)):
        repetitions = run.choose(10, {10: 100, 100: 12}.get(classes), {10: 400, 100: 60}.get(classes))
        for number, (name, problem) in enumerate(
            single_label_problems(run.choose({10: 1}, {10: 12, 100: 2}, {10: 48, 100: 12}), repetitions, classes)
        ):
            if problem.notes:
                notes[name, classes].append(problem.notes)
            fresh = problem.draw(max(2, FRESH // classes))
            for samples in SAMPLES:
                for _ in range(1 if name.startswith("exact") else run.choose(1, 4)):
                    _one(problem, name, classes, samples, fresh, outcomes, predicted, differing, number)
        for cause in MULTI_LABEL:
            for seed in range(run.choose(3, {10: 40, 100: 6}.get(classes), {10: 160, 100: 30}.get(classes))):
                problem = multi_label(classes, cause, seed)
                fresh = problem.draw(FRESH // 50)
                for samples in SAMPLES:
                    _one(
                        problem, f"multi-label: {cause}", classes, samples, fresh, outcomes, predicted, differing, seed
                    )
    unlike = Facts("Logits × 0.05 and × 20", ["validations", "with other findings"], [[str(n) for n in differing]])
    return [rates(outcomes), gain_table(predicted), unlike, gradient_table(notes)]


def _one(
    problem: Problem,
    name: str,
    classes: int,
    samples: int,
    fresh: Validation,
    outcomes: Outcomes,
    predicted: Gains,
    differing: list[int],
    number: int,
) -> None:
    """Diagnose one validation set, and now and then the same with other units."""
    validation = problem.draw(samples)
    diagnostics = diagnosed(problem, validation)
    kind = "network" if name.startswith("network") else "multi-label" if not problem.is_single else "exact"
    cell = f"{kind}, {classes} classes × {samples}"
    for outcome in judged(problem, validation, diagnostics):
        outcomes[outcome.rule, cell].append(outcome)
    if problem.truth.get("remedy_would_help", True):
        for gain in gains(problem, validation, fresh, diagnostics):
            predicted[gain.remedy, cell].append(gain)
    if number % 5 == 0 and problem.is_single:
        found = [severities(diagnosed(problem, validation._replace(features=None), scale)) for scale in SCALES]
        differing[0] += 1
        differing[1] += any(not _is_same(found[0], other) for other in found[1:])


def _is_same(a: dict[str, float], b: dict[str, float]) -> bool:
    return all(np.array_equal(a[rule], b[rule], equal_nan=True) for rule in a)


def gradient_table(notes: dict[tuple[str, int], list[dict[str, float]]]) -> Facts:
    """Why no rule judges the gradient: cure and disease are alike after some epochs."""
    rows = []
    for (name, classes), every in notes.items():
        for what in every[0]:
            values = [note[what] for note in every]
            rows.append([name, str(classes), what, f"{np.mean(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"])
    columns = ["training", "classes", "positive ÷ negative gradient on the tail", "mean", "range"]
    return Facts("Gradient since the start of training (not judged)", columns, rows)
