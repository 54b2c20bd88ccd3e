"""The lowest versions, as pyproject.toml declares them; nothing is written down a second time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
#: What the tests need beside the package; the first is compared with, and its lower bound is tested too.
TOOLS = (
    "torchmetrics",
    "hypothesis", "pandas", "psutil", "pytest", "pytest-cov", "pytest-timeout", "pytest-xdist", "torch-tb-profiler",
)  # fmt: skip
COMPARED = TOOLS[:1]
#: The extras that callbacks are for, tested on demand.
FRAMEWORKS = ("lightning", "transformers")
#: What the lowest versions need and do not say: TensorBoard before 2.21 starts with pkg_resources; old matplotlib calls
#: what pyparsing 3.3 warns of, and tests ask that figures are drawn without a warning.
HELD = ("pyparsing<3.3", "setuptools<82")
#: What the table shows.
SHOWN = ("torch", "numpy", "matplotlib", "tensorboard", "protobuf", "pillow", "scikit-learn")


def _section(name: str) -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(name)} = \[(.*?)\] *(?:#.*)?$", text, re.MULTILINE | re.DOTALL)
    if found is None:
        raise LookupError(f"pyproject.toml has no list {name!r}")
    return found[1]


def declared(name: str) -> dict[str, str]:
    """Lower bound of each requirement in a list of pyproject.toml; read by hand, for tomllib came with Python 3.11."""
    return dict(re.findall(r'"([A-Za-z0-9_.-]+)>=([0-9.]+)[^"]*"', _section(name)))


def lowest() -> list[str]:
    """Requirements on just the lower bounds: of the package, frameworks, and what it is compared with, but torch."""
    bounds = {**declared("dependencies"), **{name: declared("dev")[name] for name in COMPARED}}
    for extra in FRAMEWORKS:
        bounds.update(declared(extra))
    return [f"{name}=={bound}" for name, bound in sorted(bounds.items()) if name != "torch"]


def lower_bound(name: str, requirements: Iterable[str]) -> str:
    """The requirement of that name on just its lower bound."""
    found = next(found for found in map(Requirement, requirements) if found.name == name)
    bounds = [bound.version for bound in found.specifier if bound.operator == ">="]
    return f"{name}=={bounds[0]}"


def torch_pin() -> str:
    """The pinned torch, as everywhere in development."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(r"^torch==\S+", text, re.MULTILINE)
    if found is None:
        raise LookupError("constraints.txt does not pin torch")
    return found[0]
