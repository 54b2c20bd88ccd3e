"""`tbmetrics evaluate`: predictions that are there already become a run."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from tbmetrics.cli.status import OK
from tbmetrics.events.places import how_to_look
from tbmetrics.records import ALL, GAP, mean_metrics


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "predictions", nargs="+", metavar="FILE", help=".npz, .npy, .pt, .safetensors, .csv or .parquet; see the docs"
    )
    parser.add_argument(
        "--counts",
        required=True,
        metavar="COUNTS",
        help="JSON or CSV of counts, training labels, or a folder of images",
    )
    parser.add_argument("--out", required=True, metavar="RUN", help="directory of the run, created if missing")
    parser.add_argument("--labels", metavar="FILE", help="labels, if the predictions are without them")
    parser.add_argument("--attribute", metavar="NAME", help="what is classified (default: class)")
    parser.add_argument(
        "--inputs", metavar="KIND", help="logits, probabilities or classes (default: by the name of the column)"
    )
    parser.add_argument("--logit-scale", metavar="FACTOR", help="of the logits of a normalised classifier")
    parser.add_argument("--threshold", type=float, default=0.5, metavar="P", help="multi-label; default: %(default)s")
    parser.add_argument(
        "--top-k", nargs="+", type=int, default=[], metavar="K", help="also recall at K: the label is among the K first"
    )
    parser.add_argument("--rule", default="decoupling", help="of head, medium and tail (default: %(default)s)")
    parser.add_argument("--steps", nargs="+", type=int, metavar="N", help="one for each file (default: 0, 1, 2, …)")
    parser.add_argument("--remedy", metavar="JSON", help="adjust the scores by what Remedy.save() wrote")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate and print the groups; return the exit status."""
    from tbmetrics.figures.progress import progress
    from tbmetrics.predictions import evaluate

    with progress("evaluate", shown=not arguments.quiet) as show:
        metrics = evaluate(
            arguments.predictions,
            counts=arguments.counts,
            out=arguments.out,
            labels=arguments.labels,
            attribute=arguments.attribute,
            inputs=arguments.inputs,
            logit_scale=arguments.logit_scale,
            thresholds=arguments.threshold,
            top_k=arguments.top_k,
            rule=arguments.rule,
            steps=arguments.steps,
            remedy=arguments.remedy,
            progress=lambda rows, name: show(rows, 0, name),
        )
    if not arguments.quiet:
        for attribute, groups in metrics.items():
            _print_groups(attribute, groups)
        print(how_to_look(arguments.out))
    return OK


def _print_groups(attribute: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("group", title=Text(attribute), title_justify="left", show_edge=False, pad_edge=False)
    columns = mean_metrics(list(groups[ALL]))
    for heading in ("classes", *columns):
        table.add_column(heading, justify="right")
    for group, metrics in groups.items():
        values = (metrics[m] if metrics.get(f"{m}_n_classes") or group == GAP else None for m in columns)
        means = ("undefined" if value is None else f"{value:.3f}" for value in values)
        table.add_row(group, "" if group == GAP else f"{metrics['count']:,}", *means)
    Console().print(table)
