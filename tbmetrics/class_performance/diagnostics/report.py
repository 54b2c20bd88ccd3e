"""A diagnosis as records for TensorBoard, as Markdown, and as the plain dictionaries of `get_metrics()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tbmetrics.class_performance.diagnostics.gallery import Picture
from tbmetrics.class_performance.diagnostics.remedies import NONE, SHOWN_GROUPS
from tbmetrics.class_performance.diagnostics.rules import RULES
from tbmetrics.class_performance.diagnostics.verdict import Diagnosis, Finding
from tbmetrics.class_performance.diagnostics.wording import sentence
from tbmetrics.classes.groups import AttributeClasses
from tbmetrics.records import (
    DIAGNOSTIC_COLUMNS,
    FINDING_COLUMNS,
    GROUPS,
    REMEDIES,
    REMEDY_COLUMNS,
    UNKNOWN,
    ClassList,
    Record,
    Scalar,
    Table,
    Text,
    class_list_tag,
    diagnostics_tag,
    findings_table_tag,
    findings_tag,
    remedies_tag,
    scalar_tag,
)
from tbmetrics.records.history import to_jsonable

#: Columns whose mean over a group's classes becomes a scalar.
GROUP_SCALARS = ("weight_norm", "gradient_ratio", "training_accuracy", "nc1", "separation", "forgetting_events")
_INDICES = ("nearest_weight_class", "nearest_mean_class", "nearest_head_class")
_SUMMED = ("support", "samples_seen")


def records(diagnosis: Diagnosis, findings: Sequence[Finding], aim: str) -> Iterator[Record]:
    """Everything that one validation of one attribute gives TensorBoard, but the images."""
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
    remedies = table.values.astype(np.float32)
    yield Table(remedies_tag(attribute), attribute, "remedies", REMEDY_COLUMNS, remedies, names, details)
    told = np.array([finding.row() for finding in findings], dtype=np.float32)
    rules = {rule.name: {"title": rule.title, "advice": rule.advice, "reference": rule.reference} for rule in RULES}
    yield Table(
        findings_table_tag(attribute), attribute, "findings", FINDING_COLUMNS, told, tuple(rules), {"rules": rules}
    )
    yield Text(findings_tag(attribute), markdown(diagnosis, findings, aim))
    yield from _scalars(diagnosis)


def class_list(classes: AttributeClasses) -> ClassList:
    """The classes as figures need them."""
    tag = class_list_tag(classes.attribute)
    return ClassList(tag, classes.attribute, classes.names, classes.counts, classes.groups, classes.rule, "")


def _scalars(diagnosis: Diagnosis) -> Iterator[Scalar]:
    for column in GROUP_SCALARS:
        for group in (*GROUPS, UNKNOWN):
            value = diagnosis.mean(column, group)
            if value == value:
                yield Scalar(scalar_tag(diagnosis.classes.attribute, column, group), value)


def sentences(diagnosis: Diagnosis, aim: str) -> list[str]:
    """What each remedy would do, one sentence each."""
    said = (sentence(diagnosis.remedies, remedy, aim) for remedy in REMEDIES)
    return [text for text in said if text]


def caption(picture: Picture, names: Sequence[str]) -> str:
    """What a sample is and what it was taken for."""
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
    found = [f for f in findings if f.judgement.severity > 0]
    parts = [f"# Why the tail fails: {_cell(diagnosis.classes.attribute)}", ""]
    if found:
        parts += ["| finding | how sure | evidence | what helps | reference |", "|---|---|---|---|---|"]
        parts += [_line(finding) for finding in found]
    else:
        parts.append("Nothing was found.")
    said = sentences(diagnosis, aim)
    if said:
        parts += ["", "## What would help without training", "", *(f"- {_cell(text)}" for text in said)]
        parts.append("")
        parts.append(f"Chosen for: {_cell(aim)}. ± is half of a 95 % interval: resampling of this validation set.")
    untold = [f for f in findings if np.isnan(f.judgement.severity)]
    if untold or diagnosis.left_out:
        parts += ["", "## Could not be told", ""]
        parts += [f"- {f.rule.title}: {_cell(f.judgement.says)}" for f in untold]
        said_before = {f.judgement.says for f in untold}
        rest = {part: why for part, why in diagnosis.left_out.items() if why not in said_before}
        parts += [f"- {_cell(part.replace('_', ' '))}: {_cell(why)}" for part, why in rest.items()]
    clear = [f.rule.title.lower() for f in findings if f.judgement.severity == 0]
    if clear:
        parts += ["", f"Looked for and not found: {', '.join(clear)}."]
    return "\n".join(parts)


def _line(finding: Finding) -> str:
    rule = finding.rule
    cells = (rule.title, finding.severity, finding.judgement.says, rule.advice, rule.reference)
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(value: Any) -> str:
    """Untrusted text for one table cell of Markdown: no line breaks, no column or HTML characters."""
    text = " ".join(str(value).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, entity)
    return text


# -------------------------------------------------------------------------------------------------- as JSON


def finding_json(attribute: str, finding: Finding) -> dict[str, Any]:
    """One finding, JSON-ready."""
    rule, judgement = finding.rule, finding.judgement
    evidence = {name: value for name, value in judgement._asdict().items() if name not in ("says", "holds")}
    return {
        "attribute": attribute,
        "name": rule.name,
        "title": rule.title,
        "severity": finding.severity,
        "says": judgement.says,
        "evidence": to_jsonable(evidence),
        "advice": rule.advice,
        "reference": rule.reference,
    }


def attribute_json(diagnosis: Diagnosis, aim: str) -> dict[str, Any]:
    """`{"classes": {label: {...}}, "groups": {...}, "remedies": {...}, "sentences": [...], "left_out": {...}}`."""
    return {
        "classes": {name: _class_json(diagnosis, i) for i, name in enumerate(diagnosis.classes.names)},
        "groups": {g: _group_json(diagnosis, g) for g in SHOWN_GROUPS if len(diagnosis.of(g))},
        "remedies": _remedies_json(diagnosis),
        "objective": aim,
        "sentences": sentences(diagnosis, aim),
        "left_out": dict(diagnosis.left_out),
    }


def _class_json(diagnosis: Diagnosis, index: int) -> dict[str, Any]:
    found: dict[str, Any] = to_jsonable({c: float(v[index]) for c, v in diagnosis.columns.items()})
    for column in _INDICES:
        if found[column] is not None:
            found[column] = diagnosis.classes.names[int(found[column])]
    return found | {"type": diagnosis.classes.groups[index]}


def _group_json(diagnosis: Diagnosis, group: str) -> dict[str, Any]:
    """Means over the group's classes, counts as sums."""
    columns = [c for c in DIAGNOSTIC_COLUMNS if c not in (*_INDICES, *_SUMMED)]
    found = {c: diagnosis.mean(c, group) for c in columns}
    found |= {c: float(diagnosis.columns[c][diagnosis.of(group)].sum()) for c in _SUMMED}
    json: dict[str, Any] = to_jsonable(found)
    return json | {"n_classes": len(diagnosis.of(group))}


def _remedies_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """`{"none": {...}, remedy: {"grid": [{"tau", …}], "best": {"tau", …, "tau_of_halves"}}}`."""
    table = diagnosis.remedies
    found: dict[str, Any] = {}
    for row, values in zip(table.rows, table.values, strict=True):
        numbers = to_jsonable(dict(zip(REMEDY_COLUMNS, values.tolist(), strict=True)))
        if row.remedy == NONE:
            found[NONE] = numbers
        elif row.cross_fitted:
            best = numbers | {"tau_of_halves": list(table.halves.get(row.remedy, ()))}
            found.setdefault(row.remedy, {"grid": []})["best"] = best
        else:
            found.setdefault(row.remedy, {"grid": []})["grid"].append(numbers)
    return found
