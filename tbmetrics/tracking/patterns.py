"""Names of parameters and modules, and how they are chosen with shell patterns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from tbmetrics.errors import InputError

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
#: Classes that hold the model they wrap as `module`, by name: most come from libraries that need not be installed.
_HOLDERS = {"DataParallel", "DistributedDataParallel", "AveragedModel", "DeepSpeedEngine", "FullyShardedDataParallel"}


def named_parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """(name, parameter) as `model.named_parameters()` gives them, without the parts that wrappers put into names."""
    plain = _plain_names(model)
    for name, parameter in model.named_parameters():
        module, _, own = name.rpartition(".")
        yield (f"{plain[module]}.{own}" if plain[module] else own), parameter


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) as `model.named_modules()` gives them, without the parts that wrappers put into names."""
    plain = _plain_names(model)
    return ((plain[name], module) for name, module in model.named_modules())


def _plain_names(model: nn.Module) -> dict[str, str]:
    """Names of modules without the parts that DDP, FSDP, `torch.compile` and checkpoint wrappers put into them."""
    modules = dict(model.named_modules(remove_duplicate=False))
    plain = {"": ""}
    for name in modules:
        if name:
            parent, _, own = name.rpartition(".")
            is_wrapper = own in _WRAPPERS or (own == "module" and _is_holder(modules[parent]))
            plain[name] = plain[parent] if is_wrapper else f"{plain[parent]}.{own}".lstrip(".")
    return plain


def _is_holder(module: nn.Module) -> bool:
    return any(kind.__name__ in _HOLDERS for kind in type(module).__mro__)


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
