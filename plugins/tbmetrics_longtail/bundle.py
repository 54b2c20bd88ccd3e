"""The tab's modules as one script, put together when asked for: one request for the tab, one script for a file.

No build step: each module becomes a function that is called once and returns its exports. Only the plain forms that the
modules use are understood (named imports by relative path, exported declarations); anything else is refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Traversable

#: Address of a script outside of modules.
OFFLINE = "file:///longtail/static/bundle.js"

_IMPORT = re.compile(r"^import \{([^}]*)\} from '((?:\./|(?:\.\./)+)(?:[\w-]+/)*[\w-]+\.js)';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) (\w+))", re.MULTILINE)
_EMPTY_EXPORT = re.compile(r"^export \{\};\n", re.MULTILINE)
_ANY = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class BundleError(ValueError):
    """A module has an import or export of another form, imports a missing module, or is part of a circle."""


def files_below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """Every file below `folder` with its path from there, as in `cards/card.js`."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from files_below(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def module_texts(static: Traversable) -> dict[str, str]:
    """Text of every module below `static`, by path."""
    return {path: file.read_text(encoding="utf-8") for path, file in files_below(static) if path.endswith(".js")}


def bundle(modules: Mapping[str, str], entry: str, *, exports: bool = True) -> str:
    """One script that does what the module `entry` does.

    Args:
        modules: text by path.
        entry: path of the module to begin with.
        exports: whether the result is a module that exports what `entry` does, else a script with the same in a
            constant called `longtail`.

    Raises:
        BundleError: something in the modules is not understood.
    """
    parts = [_as_function(path, modules[path]) for path in _in_order(modules, entry)]
    if not exports:  # a script has no address of its own
        parts = [part.replace("import.meta.url", f"'{OFFLINE}'") for part in parts]
    names = _EXPORT.findall(modules[entry])
    shared = f"{{ {', '.join(names)} }}"
    end = f"export const {shared} = {_variable(entry)};" if exports else f"const longtail = {_variable(entry)};"
    return "\n".join([*parts, end, ""])


def _in_order(modules: Mapping[str, str], entry: str) -> list[str]:
    """The modules that `entry` needs, each after those it imports."""
    ordered: list[str] = []
    importing: list[str] = []

    def visit(path: str) -> None:
        if path in importing:
            raise BundleError(f"modules import each other: {' → '.join([*importing, path])}")
        if path in ordered:
            return
        if path not in modules:
            raise BundleError(f"{importing[-1] if importing else 'the entry'} imports {path}, which is not there")
        importing.append(path)
        for _, target in _IMPORT.findall(modules[path]):
            visit(_resolved(path, target))
        ordered.append(importing.pop())

    visit(entry)
    return ordered


def _resolved(path: str, target: str) -> str:
    """Path of the module that the module at `path` calls `target`."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _as_function(path: str, text: str) -> str:
    def as_constant(statement: re.Match[str]) -> str:
        names = " ".join(statement[1].replace(" as ", ": ").split())
        return f"const {{ {names} }} = {_variable(_resolved(path, statement[2]))};\n"

    exported = _EXPORT.findall(text)
    body = _EMPTY_EXPORT.sub("", _EXPORT.sub("", _IMPORT.sub(as_constant, text)))
    if unknown := _ANY.search(body):
        raise BundleError(f"{path}: cannot put together {unknown[0]!r}; use named imports and exported declarations")
    return f"const {_variable(path)} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();"


def _variable(path: str) -> str:
    return "$" + path.removesuffix(".js").replace("-", "_").replace("/", "$")
