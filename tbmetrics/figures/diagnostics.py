"""Figures of the long-tail diagnostics: classifier, training signal and features by class, remedies, findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tbmetrics.figures.style import (
    COLOURS,
    MARKERS,
    NORMAL,
    SMALL,
    label,
    legend,
    name_points,
    new_figure,
    plain,
    short,
)
from tbmetrics.records import (
    CLASS_THRESHOLDS,
    FINDING_COLUMNS,
    GROUPS,
    LOGIT_ADJUSTMENT,
    TAU_NORMALIZATION,
    UNKNOWN,
    ClassList,
    FloatArray,
    Table,
    diagnostics_tag,
    findings_table_tag,
    remedies_tag,
)
from tbmetrics.records.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES_SHOWN = 24  # points are named if there are no more classes than this
_LINES = {
    LOGIT_ADJUSTMENT: ("logit adjustment", "#7b4ea3", "o", "-"),
    TAU_NORMALIZATION: ("τ-normalisation", "#b8860b", "s", "--"),
    CLASS_THRESHOLDS: ("a threshold a class", "#0072b2", "D", ":"),
}
_RATIOS = (1e-3, 1e3)  # ratios are clipped to this range
_BARS = {0: "#bdbdbd", 1: "#e0a030", 2: "#c8452b"}


@dataclass(frozen=True)
class _View:
    """One attribute of a history at one step."""

    classes: ClassList
    step: int
    table: Table
    remedies: Table | None
    findings: Table | None

    @property
    def title(self) -> str:
        return f"{short(self.classes.attribute)}, step {self.step}"

    def column(self, name: str) -> FloatArray:
        if name not in self.table.columns:
            return np.full(len(self.table.values), np.nan)
        return self.table.column(name).astype(np.float64)


def figures(
    history: History,
    *,
    attributes: Sequence[str] | None = None,
    step: int | None = None,
    classes: Mapping[str, ClassList] | None = None,
) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of every figure that `history` has the data for.

    Args:
        history: from memory or from disk.
        attributes: only these; None = all.
        step: the validation shown; None = the last.
        classes: by attribute, for a history without class lists.

    Raises:
        KeyError: there was no diagnosis at `step`.
    """
    for attribute, class_list in sorted({**(classes or {}), **history.class_lists}.items()):
        series = history.tables.get(diagnostics_tag(attribute))
        if series is None or (attributes is not None and attribute not in attributes):
            continue
        shown = int(series.steps[-1]) if step is None else step
        others = [history.tables.get(tag(attribute)) for tag in (remedies_tag, findings_table_tag)]
        remedies, findings = (s.at(shown) if s is not None and shown in s.steps else None for s in others)
        view = _View(class_list, shown, series.at(shown), remedies, findings)
        for name, draw in _FIGURES.items():
            figure = draw(view)
            if figure is not None:
                yield f"{attribute}/{name}", figure


# ------------------------------------------------------------------------------------------------- per class


class _Quantity(NamedTuple):
    """A quantity of each class and how it is drawn; on a logarithmic scale if `log` and it spans more than 20 times."""

    title: str
    values: FloatArray
    log: bool = False
    line: float | None = None


def classifier_by_class(view: _View) -> Figure | None:
    """Weight norm, bias and mean logits of each class against its training examples."""
    margin = view.column("own_logit") - view.column("other_logit")
    quantities = (
        _Quantity("weight norm", view.column("weight_norm")),
        _Quantity("bias", view.column("bias")),
        _Quantity("mean logit: own − other samples", margin),
    )
    return _by_class(f"Classifier: {view.title}", view, quantities)


def training_signal_by_class(view: _View) -> Figure | None:
    """Gradient ratio, loss and excess accuracy of each class in training, against its training examples."""
    ratio = np.clip(view.column("gradient_ratio"), *_RATIOS)
    excess = view.column("training_accuracy") - view.column("recall")
    quantities = (
        _Quantity("gradient: positive / negative", ratio, log=True, line=1.0),
        _Quantity("mean loss of its training samples", view.column("training_loss")),
        _Quantity("training accuracy − validation recall", excess, line=0.0),
    )
    return _by_class(f"What training gives: {view.title}", view, quantities)


def features_by_class(view: _View) -> Figure | None:
    """Spread of the classifier's input within each class, and distance to the nearest class."""
    nc1 = view.column("nc1")
    quantities = (
        _Quantity("variance within / between classes", np.where(nc1 > 0, nc1, np.nan), log=True),
        _Quantity("distance to the nearest class (std. dev.)", view.column("separation"), line=1.0),
        _Quantity("cosine to the nearest class mean", view.column("nearest_mean_cosine")),
    )
    return _by_class(f"Features: {view.title}", view, quantities)


def _by_class(title: str, view: _View, quantities: Sequence[_Quantity]) -> Figure | None:
    """A panel for each quantity that is known of some class; None if there is none."""
    counts = view.classes.counts
    drawable = counts >= 0 if (counts >= 0).any() else np.full(len(counts), True)
    known = [q for q in quantities if (np.isfinite(q.values) & drawable).any()]
    if not known:
        return None
    figure, axes = new_figure(title, width=max(3.7 * len(known), 4.6), height=3.8, panels=len(known))
    for ax, quantity in zip(axes, known, strict=True):
        _points(ax, view, quantity)
    return figure


def _points(ax: Axes, view: _View, quantity: _Quantity) -> None:
    """Values of the classes against their training examples (or their index if those are unknown)."""
    values = quantity.values
    counts = view.classes.counts.astype(np.float64)
    has_counts = bool((counts >= 0).any())
    x = np.maximum(counts, 0.7) if has_counts else np.arange(len(counts), dtype=np.float64)
    usable = np.isfinite(values) & (counts >= 0 if has_counts else True)
    groups = np.array(view.classes.groups)
    is_sparse = len(counts) <= 200
    if quantity.line is not None:
        ax.axhline(quantity.line, color="#888888", linewidth=0.8, linestyle=":")
    for group in (*GROUPS, UNKNOWN):
        inside = usable & (groups == group)
        if inside.any():
            ax.scatter(
                x[inside], values[inside], s=26 if is_sparse else 7, color=COLOURS[group], marker=MARKERS[group],
                alpha=0.85 if is_sparse else 0.4, linewidths=0, label=f"{group} ({inside.sum():,})",
            )  # fmt: skip
    if has_counts:
        ax.set_xscale("log")
    if quantity.log and values[usable].max() > 20 * values[usable].min():
        ax.set_yscale("log")
    ax.margins(x=0.12, y=0.14)
    if usable.sum() <= NAMES_SHOWN:
        names = [view.classes.names[i] for i in np.flatnonzero(usable)]
        name_points(ax, names, x[usable], values[usable])
    missing = int((~usable).sum())
    x_label = "training examples" if has_counts else "class"
    label(ax, x=f"{x_label} ({missing:,} classes not known)" if missing else x_label, title=quantity.title)
    legend(ax, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.2), handletextpad=0.1, columnspacing=0.8,
           markerscale=1 if is_sparse else 2)  # fmt: skip


# ------------------------------------------------------------------------------------- remedies and findings


def remedy_curves(view: _View) -> Figure | None:
    """Recall of the tail against recall of the head, as trained and under each remedy; None without samples of both."""
    table = view.remedies
    if table is None or np.isnan(table.column("head_recall")).all() or np.isnan(table.column("tail_recall")).all():
        return None
    figure, (ax,) = new_figure(f"What would help without training: {view.title}", width=6.6, height=5.0)
    base = table.rows.index("none")
    _cross(ax, table, base, "#222222", "*", "as trained", size=13)
    for remedy, (name, colour, marker, style) in _LINES.items():
        best_row = f"{remedy}/best"
        if best_row not in table.rows or np.isnan(table.column("tail_recall")[table.rows.index(best_row)]):
            continue
        best = table.rows.index(best_row)
        fixed_rows = [i for i, row in enumerate(table.rows) if row.startswith(f"{remedy}/") and row != best_row]
        fixed = [base, *fixed_rows]
        head, tail = (table.column(f"{g}_recall")[fixed] for g in ("head", "tail"))
        if len(fixed) > 1:
            ax.plot(head, tail, color=colour, linestyle=style, linewidth=1.2, zorder=2)
            for i in fixed[1:]:
                _cross(ax, table, i, colour, marker, "", size=3.5, alpha=0.45)
        tau = table.column("tau")[best]
        title = name if np.isnan(tau) else f"{name}: τ = {tau:.2g}"
        _cross(ax, table, best, colour, marker, f"{title}, cross-fitted", size=8)
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.margins(0.05)
    label(ax, x="mean recall of the head", y="mean recall of the tail")
    legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    note = "small marks: fixed τ; large: each sample judged with what others choose; lines: 95 %, other samples"
    plain(figure.supxlabel(note, fontsize=7))
    return figure


def _cross(
    ax: Axes, table: Table, row: int, colour: str, marker: str, name: str, *, size: float, alpha: float = 1.0
) -> None:
    """Draw one row of the table with its intervals in both directions."""
    errors = []
    for group in ("head", "tail"):
        value, low, high = (float(table.column(f"{group}_recall{end}")[row]) for end in ("", "_lower", "_upper"))
        errors.append(np.nan_to_num(np.clip([[value - low], [high - value]], 0, None)))
    x, y = (float(table.column(f"{g}_recall")[row]) for g in ("head", "tail"))
    ax.errorbar(
        x, y, xerr=errors[0], yerr=errors[1], color=colour, marker=marker, markersize=size, linestyle="none",
        elinewidth=0.7, capsize=0, alpha=alpha, label=name or "_", markeredgecolor="white", markeredgewidth=0.6,
        zorder=4 if name else 3,
    )  # fmt: skip


def findings_by_rule(view: _View) -> Figure | None:
    """The verdict, if there is one: every rule, its severity, and the numbers that it compared."""
    table = view.findings
    if table is None:
        return None
    figure, (ax,) = new_figure(f"Verdict: {view.title}", width=7.2, height=3.6)
    rules = table.details.get("rules", {})
    shown = np.flatnonzero(table.column("applies") != 0) if "applies" in table.columns else np.arange(len(table.rows))
    severity = table.column(FINDING_COLUMNS[0]).astype(np.float64)[shown]
    positions = np.arange(len(shown))[::-1]
    for y, level, numbers in zip(positions, severity, table.values[shown].astype(np.float64), strict=True):
        if np.isnan(level):
            ax.text(0.03, y, "could not be told", va="center", fontsize=SMALL, color="#777777", style="italic")
            continue
        ax.barh(y, max(level, 0.04), 0.62, color=_BARS[int(level)])
        value, noted_at, strong_at = numbers[1:4]
        text = f"{value:.2f} ({'from' if strong_at >= noted_at else 'below'} {noted_at:g})"
        ax.text(max(level, 0.04) + 0.03, y, text, va="center", fontsize=SMALL)
    rows = [table.rows[i] for i in shown]
    names = [_short_title(rules.get(row, {}).get("title", row)) for row in rows]
    ax.set_yticks(positions, names, fontsize=NORMAL)
    for tick in ax.get_yticklabels():
        plain(tick)
    ax.set_xticks([0, 1, 2], ["not found", "noted", "strong"], fontsize=NORMAL)
    ax.set_xlim(0, 2.8)
    ax.grid(visible=False, axis="y")
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    return figure


def _short_title(title: str) -> str:
    """A rule's title on one line."""
    return short(" ".join(title.split()), 44)


_FIGURES: dict[str, Callable[[_View], Figure | None]] = {
    "findings": findings_by_rule,
    "classifier_by_class": classifier_by_class,
    "training_signal_by_class": training_signal_by_class,
    "features_by_class": features_by_class,
    "remedies": remedy_curves,
}
