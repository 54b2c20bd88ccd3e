"""Choose parameters and modules by name, with shell patterns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from tbmetrics.errors import InputError

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def plain_name(name: str) -> str:
    """`name` without the parts that DDP, FSDP, `torch.compile` and checkpoint wrappers put into it."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    return ".".join(parts[1:] if parts[:1] == ["module"] and len(parts) > 1 else parts)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether `name`, or a module that contains it, matches one of `patterns`.

    `*` matches anything, dots too: "blocks.*.attn" matches "blocks.0.attn.proj.weight".
    """
    parts = name.split(".")
    prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return any(fnmatchcase(prefix, pattern) for pattern in patterns for prefix in prefixes)


def choose(names: Sequence[str], include: Sequence[str] | None, exclude: Sequence[str] | None, what: str) -> list[str]:
    """The names that match a pattern of `include` (None: all) and none of `exclude`, in their order.

    Raises:
        InputError: patterns are not a sequence of strings, or one of `include` matches nothing.
    """
    for patterns, option in ((include, "include"), (exclude, "exclude")):
        if patterns is not None and (isinstance(patterns, str) or not all(isinstance(p, str) for p in patterns)):
            raise InputError(f"{option} must be a list of patterns such as ['blocks.*.attn'], got {patterns!r}")
    unmatched = [p for p in include or () if not any(matches(name, [p]) for name in names)]
    if unmatched:
        examples = ", ".join(map(repr, names[:8])) or "none"
        raise InputError(f"no {what} fits {', '.join(map(repr, unmatched))}; the first {what}s are {examples}")
    return [name for name in names if (include is None or matches(name, include)) and not matches(name, exclude or ())]
