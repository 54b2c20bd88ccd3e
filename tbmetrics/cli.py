"""The `tbmetrics` command.

    tbmetrics export LOGDIR --out DIR      figures, tables, JSON and a page of every run
    tbmetrics evaluate FILE... --counts COUNTS --out RUN    predictions that are there already become a run
    tbmetrics compare RUN_A RUN_B          two runs in the terminal
    tbmetrics demo                         trains two methods on long-tailed numbers, to look at
    tbmetrics doctor [LOGDIR]              checks the installation and a log directory, and suggests fixes

LOGDIR and runs may be URLs (`s3://…`, `gs://…`).

Exit status: 0 all went well; 1 a log was damaged or a run could not be exported (the rest was), or a check failed;
2 wrong usage or bad input; 3 there was nothing to show; 4 a condition of `compare --fail-if` holds or cannot be judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tbmetrics.comparing.conditions import Condition
from tbmetrics.errors import InputError
from tbmetrics.events.places import is_url
from tbmetrics.records import GAP, MEAN_METRICS

if TYPE_CHECKING:
    from tbmetrics.comparing.runs import RunComparison

OK, PARTLY, USAGE, NOTHING, FAILED = 0, 1, 2, 3, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    from tbmetrics.exporting.options import NothingToShowError

    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except NothingToShowError as error:
        return _complain(str(error), NOTHING)
    except InputError as error:
        return _complain(str(error), USAGE)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    return status


def _complain(message: str, status: int) -> int:
    print(f"tbmetrics: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    from tbmetrics import __version__

    parser = argparse.ArgumentParser("tbmetrics", description="Head, medium and tail results of TensorBoard logs.")
    parser.add_argument("--version", action="version", version=f"tbmetrics {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_export(commands.add_parser("export", help="write figures, tables, JSON and a page of every run"))
    _add_evaluate(commands.add_parser("evaluate", help="write predictions in files as a run for TensorBoard"))
    _add_compare(commands.add_parser("compare", help="compare two runs in the terminal"))
    _add_demo(commands.add_parser("demo", help="train two methods on long-tailed numbers, to look at"))
    _add_doctor(commands.add_parser("doctor", help="check the installation, the device and a log directory"))
    return parser


def _add_export(parser: argparse.ArgumentParser) -> None:
    from tbmetrics.exporting.options import DEFAULT_FORMATS, EXPORTED_AREAS, FORMATS

    parser.add_argument("logdir", metavar="LOGDIR", help="directory of one run or of many, or a URL")
    parser.add_argument("--out", required=True, metavar="DIR", help="directory to write to, created if missing")
    parser.add_argument("--runs", metavar="REGEX", help="only runs in whose name REGEX is found")
    parser.add_argument("--attributes", nargs="+", metavar="NAME", help="only these attributes")
    parser.add_argument("--only", metavar="LIST", help=f"some of {','.join(EXPORTED_AREAS)} (default: all)")
    parser.add_argument(
        "--formats",
        default=",".join(DEFAULT_FORMATS),
        metavar="LIST",
        help=f"some of {','.join(FORMATS)} (default: %(default)s)",
    )
    parser.add_argument("--dpi", type=int, default=150, metavar="N", help="dots per inch of PNG (default: %(default)s)")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="processes (default: one per core, up to 4, for large exports)"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    from tbmetrics.exporting import export
    from tbmetrics.figures.progress import progress

    def say(message: str) -> None:
        if not arguments.quiet:
            print(message)

    with progress("export", shown=not arguments.quiet) as show:
        report = export(
            arguments.logdir,
            arguments.out,
            runs=arguments.runs,
            attributes=arguments.attributes,
            only=None if arguments.only is None else _names(arguments.only),
            formats=_names(arguments.formats),
            dpi=arguments.dpi,
            jobs=arguments.jobs,
            progress=show,
        )
    for run in report.skipped:
        say(f"skipped {run}: nothing of what was asked for in it")
    for run, problems in report.problems.items():
        for problem in problems:
            print(f"tbmetrics: {run}: {problem}", file=sys.stderr)
    say(f"{len(report.files)} files in {arguments.out}: {len(report.written)} new, {len(report.removed)} removed")
    return PARTLY if report.problems else OK


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--rule", default="decoupling", help="of head, medium and tail (default: %(default)s)")
    parser.add_argument("--steps", nargs="+", type=int, metavar="N", help="one for each file (default: 0, 1, 2, …)")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")
    parser.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
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
            rule=arguments.rule,
            steps=arguments.steps,
            progress=lambda rows, name: show(rows, 0, name),
        )
    if not arguments.quiet:
        for attribute, groups in metrics.items():
            _print_groups(attribute, groups)
        print(f"See it: tensorboard --logdir {arguments.out}, tab Long Tail")
    return OK


def _print_groups(attribute: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("group", title=Text(attribute), title_justify="left", show_edge=False, pad_edge=False)
    for heading in ("classes", *MEAN_METRICS):
        table.add_column(heading, justify="right")
    for group, metrics in groups.items():
        values = (metrics[m] if metrics.get(f"{m}_n_classes") or group == GAP else None for m in MEAN_METRICS)
        means = ("undefined" if value is None else f"{value:.3f}" for value in values)
        table.add_row(group, "" if group == GAP else f"{metrics['count']:,}", *means)
    Console().print(table)


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_a", metavar="RUN_A", help="a run's directory, or its name below --logdir")
    parser.add_argument("run_b", metavar="RUN_B")
    parser.add_argument("--logdir", default="", metavar="DIR", help="directory that holds both runs")
    parser.add_argument("--attribute", metavar="NAME", help="needed where the runs have several")
    parser.add_argument("--metric", default="f1", choices=MEAN_METRICS, help="default: %(default)s")
    parser.add_argument("--step", type=int, help="the validation to compare (default: the last that both runs have)")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="gains and losses to list (default: 5)")
    parser.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="exit with status 4 if it holds for RUN_B, e.g. 'tail.f1 < baseline - 0.02', or only on evidence: "
        "'tail.f1 significantly < baseline'; may be given again",
    )
    parser.set_defaults(run=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from tbmetrics.comparing.printing import print_comparison
    from tbmetrics.comparing.runs import compare_runs
    from tbmetrics.events.reader import read_run

    conditions = [Condition.parse(text) for text in arguments.fail_if]
    runs = [read_run(_place_of(arguments.logdir, run), run=run) for run in (arguments.run_a, arguments.run_b)]

    def compared(metric: str) -> RunComparison:
        return compare_runs(*runs, attribute=arguments.attribute, metric=metric, step=arguments.step)

    print_comparison(compared(arguments.metric), arguments.run_a, arguments.run_b, arguments.top)
    problems = [f"run {run.run}: {problem}" for run in runs for problem in run.problems]
    for problem in problems:
        print(f"tbmetrics: {problem}", file=sys.stderr)
    failed = [message for c in conditions if (message := c.failure(compared(c.metric))) is not None]
    for message in failed:
        print(f"tbmetrics: {message}", file=sys.stderr)
    return FAILED if failed else PARTLY if problems else OK


def _place_of(logdir: str, run: str) -> str | Path:
    """The directory or URL of a run."""
    if is_url(run) or is_url(logdir):
        return run if is_url(run) else f"{logdir.rstrip('/')}/{run}"
    return Path(logdir, run)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-dir", type=Path, default=Path("runs/demo"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, metavar="N", help="of each run (default: the ones that were tuned)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="runs of each method (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from tbmetrics.demo.command import run_demo

    options = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    run_demo(arguments.log_dir, seeds=arguments.seeds, quiet=arguments.quiet, **options)
    print(f"See it: tbmetrics board {arguments.log_dir}")
    return OK


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("logdir", metavar="LOGDIR", nargs="?", help="also check this log directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_doctor)


def _doctor(arguments: argparse.Namespace) -> int:
    from tbmetrics.doctor import FAILED as ILL
    from tbmetrics.doctor import examine, to_json, to_text, worst

    findings = examine(arguments.logdir)
    print(to_json(findings) if arguments.json else to_text(findings))
    return PARTLY if worst(findings) == ILL else OK
