"""A diagnosis as records for TensorBoard, as Markdown and sentences, and as the dictionaries of `get_metrics()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tbmetrics.class_performance.diagnostics.diagnosis import Diagnosis
from tbmetrics.class_performance.diagnostics.gallery import Picture
from tbmetrics.class_performance.diagnostics.remedies import NONE, SHOWN_GROUPS, RemedyRow, RemedyTable
from tbmetrics.class_performance.diagnostics.remedy import Remedy
from tbmetrics.class_performance.diagnostics.verdict import REMEDY_TITLES, RULES, Finding, Rule
from tbmetrics.records import (
    ALL,
    CLASS_THRESHOLDS,
    DIAGNOSTIC_COLUMNS,
    FINDING_COLUMNS,
    HEAD,
    MULTI_LABEL,
    REMEDIES,
    REMEDY_COLUMNS,
    REMEDY_PARAMETERS,
    SINGLE_LABEL,
    TAIL,
    TAU_NORMALIZATION,
    Record,
    Table,
    Text,
    diagnostics_tag,
    findings_table_tag,
    findings_tag,
    remedies_tag,
    remedy_parameters_tag,
)
from tbmetrics.records.history import to_jsonable

_INDICES = ("nearest_weight_class", "nearest_mean_class", "nearest_head_class")
_SUMMED = ("support", "samples_seen")
_TITLES = {**REMEDY_TITLES, TAU_NORMALIZATION: "τ-normalisation of the classifier"}


def records(
    diagnosis: Diagnosis, findings: Sequence[Finding], aim: str, remedies: Sequence[Remedy] = ()
) -> Iterator[Record]:
    """The records of one validation of one attribute, without the images; `remedies` are those it chose."""
    attribute = diagnosis.classes.attribute
    values = np.stack([diagnosis.columns[c] for c in DIAGNOSTIC_COLUMNS], axis=1).astype(np.float32)
    yield Table(diagnostics_tag(attribute), attribute, "diagnostics", DIAGNOSTIC_COLUMNS, values)
    table = diagnosis.remedies
    names = tuple(row.name for row in table.rows)
    details = {
        "remedies": [row.remedy for row in table.rows],
        "taus": [row.tau for row in table.rows],
        "cross_fitted": [row.cross_fitted for row in table.rows],
        "objective": aim,
    }
    outcomes = table.values.astype(np.float32)
    yield Table(remedies_tag(attribute), attribute, "remedies", REMEDY_COLUMNS, outcomes, names, details)
    yield _parameters(diagnosis, remedies)
    numbers = np.array([finding.row() for finding in findings], dtype=np.float32)
    rules = {rule.name: rule_json(rule) | {"says": rule.says.replace("{objective}", aim)} for rule in RULES}
    details = {"rules": rules, "remedies": list(REMEDY_TITLES.values())}
    yield Table(findings_table_tag(attribute), attribute, "findings", FINDING_COLUMNS, numbers, tuple(rules), details)
    yield Text(findings_tag(attribute), markdown(diagnosis, findings, aim))


def _parameters(diagnosis: Diagnosis, remedies: Sequence[Remedy]) -> Table:
    """What the remedies do to the logits."""
    attribute = diagnosis.classes.attribute
    columns = REMEDY_PARAMETERS[SINGLE_LABEL if diagnosis.is_single_label else MULTI_LABEL]
    known = {f"{r.remedy}_{name}": values.numpy() for r in remedies for name, values in r.state_dict().items()}
    unknown = np.full(len(diagnosis.classes), np.nan, dtype=np.float32)
    values = np.stack([known.get(column, unknown) for column in columns], axis=1)
    return Table(remedy_parameters_tag(attribute), attribute, "remedy_parameters", columns, values)


def sentences(diagnosis: Diagnosis, aim: str) -> list[str]:
    """What each remedy would do, one sentence each."""
    every = (sentence(diagnosis.remedies, remedy, aim) for remedy in REMEDIES)
    return [text for text in every if text]


def caption(picture: Picture, names: Sequence[str]) -> str:
    """Label and prediction of a sample, with the probability."""
    p = f"p\N{NO-BREAK SPACE}{picture.probability:.2f}"
    if picture.label == picture.predicted:
        return f"{names[picture.label]}, {p}"
    if picture.predicted < 0:
        return f"{names[picture.label]} missed, {p}"
    if picture.label < 0:
        return f"no {names[picture.predicted]}, {p}"
    return f"{names[picture.label]} → {names[picture.predicted]}, {p}"


# ------------------------------------------------------------------------------------------------- in words


def markdown(diagnosis: Diagnosis, findings: Sequence[Finding], aim: str) -> str:
    """The verdict as a table, what would help, and what could not be told."""
    reported = [f for f in findings if f.judgement.severity > 0]
    lines = [f"# Why the tail fails: {_cell(diagnosis.classes.attribute)}", ""]
    if reported:
        lines += ["| finding | how sure | evidence | what it rests on | what to try | in simulations | reference |"]
        lines += ["|---|---|---|---|---|---|---|"]
        lines += [_line(finding) for finding in reported]
    else:
        lines.append("Nothing was found.")
    remedies = sentences(diagnosis, aim)
    if remedies:
        lines += ["", "## What would help without training", "", *(f"- {_cell(text)}" for text in remedies)]
        lines.append("")
        lines.append(f"Chosen for: {_cell(aim)}. ± is half of a 95 % interval: other samples of the same classes.")
    untold = [f for f in findings if np.isnan(f.judgement.severity) and f.judgement.applies]
    if untold or diagnosis.left_out:
        lines += ["", "## Could not be told", ""]
        lines += [f"- {f.rule.title}: {_cell(f.says)}" for f in untold]
        listed = {f.says for f in untold}
        rest = {part: why for part, why in diagnosis.left_out.items() if why not in listed}
        lines += [f"- {_cell(part.replace('_', ' '))}: {_cell(why)}" for part, why in rest.items()]
    clear = [f.rule.title.lower() for f in findings if f.judgement.severity == 0]
    if clear:
        lines += ["", f"Looked for and not found: {', '.join(clear)}."]
    return "\n".join(lines)


def _line(finding: Finding) -> str:
    rule = finding.rule
    cells = (
        rule.title, finding.severity, finding.says, rule.rests_on, rule.advice, rule.errors, rule.reference
    )  # fmt: skip
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: Any) -> str:
    """Untrusted text for one table cell of Markdown: no line breaks, no column or HTML characters."""
    text = " ".join(str(value).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, entity)
    return text


def sentence(table: RemedyTable, remedy: str, aim: str) -> str:
    """What the remedy, chosen for `aim`, would do, in one sentence; "" if it was not tried."""
    row = table.row(remedy, None)
    if row is None or np.isnan(table.value(row, "all_recall")):
        return ""
    tau = table.value(row, "tau")
    what = _TITLES[remedy]
    if remedy != CLASS_THRESHOLDS:
        if tau == 0 and table.chosen.get(remedy, (0.0, 0.0)) == (0.0, 0.0):
            return f"{_capital(what)} would not help: no τ gives a better {aim} than the model as trained."
        what += f" with τ = {tau:.2f}"
        if tau == max(r.tau or 0.0 for r in table.rows):
            what += " (the largest tried)"
    metrics = [("recall", g) for g in (TAIL, HEAD)] + ([("f1", ALL)] if remedy == CLASS_THRESHOLDS else [])
    changes = [_change(table, row, metric, group) for metric, group in metrics]
    changes = [change for change in changes if change]
    if not changes:
        return ""
    text = f"{_capital(what)} would {_joined(changes)}"
    if remedy not in table.chosen:
        return f"{text}."
    low, high = table.chosen[remedy]
    return f"{text} (each sample judged with what the others choose: τ = {low:.2f} to {high:.2f})."


def _change(table: RemedyTable, row: RemedyRow, metric: str, group: str) -> str:
    before, after = table.value(table.rows[0], f"{group}_{metric}"), table.value(row, f"{group}_{metric}")
    if np.isnan(before) or np.isnan(after):
        return ""
    low, high = (table.value(row, f"{group}_{metric}{end}") for end in ("_lower", "_upper"))
    spread = "" if np.isnan(low) else f" ± {(high - low) / 2:.2f}"
    name = "F1" if metric == "f1" else metric
    subject = f"{'mean' if group == ALL else group} {name}"
    if abs(after - before) < 0.005:
        return f"leave {subject} at {after:.2f}{spread}"
    return f"{'raise' if after > before else 'lower'} {subject} from {before:.2f} to {after:.2f}{spread}"


def _joined(clauses: Sequence[str]) -> str:
    return clauses[0] if len(clauses) == 1 else f"{', '.join(clauses[:-1])} and {clauses[-1]}"


def _capital(text: str) -> str:
    return text if text.startswith("τ") else text[0].upper() + text[1:]


# -------------------------------------------------------------------------------------------------- as JSON


def finding_json(attribute: str, finding: Finding) -> dict[str, Any]:
    """One finding, JSON-ready."""
    rule, judgement = finding.rule, finding.judgement
    evidence = {name: getattr(judgement, name) for name in FINDING_COLUMNS if name != "severity"}
    return {
        "attribute": attribute,
        "name": rule.name,
        "title": rule.title,
        "severity": finding.severity,
        "says": finding.says,
        "evidence": to_jsonable(evidence),
        **{key: value for key, value in rule_json(rule).items() if key != "title"},
    }


def rule_json(rule: Rule) -> dict[str, str]:
    """The words of a rule that do not depend on its numbers."""
    return {key: getattr(rule, key) for key in ("title", "rests_on", "advice", "reference", "errors")}


def attribute_json(diagnosis: Diagnosis, aim: str) -> dict[str, Any]:
    """`{"classes": {label: {...}}, "groups": {...}, "remedies": {...}, "sentences": [...], "left_out": {...}}`."""
    return {
        "classes": {name: _class_json(diagnosis, i) for i, name in enumerate(diagnosis.classes.names)},
        "groups": {g: _group_json(diagnosis, g) for g in SHOWN_GROUPS if len(diagnosis.members(g))},
        "remedies": _remedies_json(diagnosis),
        "objective": aim,
        "sentences": sentences(diagnosis, aim),
        "left_out": dict(diagnosis.left_out),
    }


def _class_json(diagnosis: Diagnosis, index: int) -> dict[str, Any]:
    entry: dict[str, Any] = to_jsonable({c: float(v[index]) for c, v in diagnosis.columns.items()})
    for column in _INDICES:
        if entry[column] is not None:
            entry[column] = diagnosis.classes.names[int(entry[column])]
    return entry | {"type": diagnosis.classes.groups[index]}


def _group_json(diagnosis: Diagnosis, group: str) -> dict[str, Any]:
    """Means over the group's classes, counts as sums."""
    columns = [c for c in DIAGNOSTIC_COLUMNS if c not in (*_INDICES, *_SUMMED)]
    values = {c: diagnosis.mean(c, group) for c in columns}
    values |= {c: float(diagnosis.columns[c][diagnosis.members(group)].sum()) for c in _SUMMED}
    entry: dict[str, Any] = to_jsonable(values)
    return entry | {"n_classes": len(diagnosis.members(group))}


def _remedies_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """`{"none": {...}, remedy: {"grid": [{"tau", …}], "best": {"tau", …, "tau_range"}}}`."""
    table = diagnosis.remedies
    by_remedy: dict[str, Any] = {}
    for row, values in zip(table.rows, table.values, strict=True):
        numbers = to_jsonable(dict(zip(REMEDY_COLUMNS, values.tolist(), strict=True)))
        if row.remedy == NONE:
            by_remedy[NONE] = numbers
        elif row.cross_fitted:
            best = numbers | {"tau_range": list(table.chosen.get(row.remedy, ()))}
            by_remedy.setdefault(row.remedy, {"grid": []})["best"] = best
        else:
            by_remedy.setdefault(row.remedy, {"grid": []})["grid"].append(numbers)
    return by_remedy
