"""The tab's modules as one, put together when asked for: one request instead of sixty, and one script for a file.

No build step: each module becomes a function that is called once and gives back what it exports. Only the plain forms
that the modules use are understood (named imports from neighbours, exported declarations); anything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: The address that a script outside of modules goes by.
OFFLINE = "file:///longtail/static/bundle.js"

_IMPORT = re.compile(r"^import \{([^}]*)\} from '\./([\w-]+\.js)';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function\*?|function\*?|class|const) (\w+))", re.MULTILINE)
_EMPTY_EXPORT = re.compile(r"^export \{\};\n", re.MULTILINE)
_ANY = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


class BundleError(ValueError):
    """A module has an import or export of another form, lacks a neighbour, or imports itself in a circle."""


def bundle(modules: Mapping[str, str], entry: str, *, exports: bool = True) -> str:
    """One script that does what the module `entry` does.

    Args:
        modules: text by file name.
        entry: name of the module that begins.
        exports: whether the result is a module that exports what `entry` does, else a script with the same in a
            constant called `longtail`.

    Raises:
        BundleError: something in the modules is not understood.
    """
    parts = [_as_function(name, modules[name]) for name in _in_order(modules, entry)]
    if not exports:  # a script has no address of its own
        parts = [part.replace("import.meta.url", f"'{OFFLINE}'") for part in parts]
    names = _EXPORT.findall(modules[entry])
    shared = f"{{ {', '.join(names)} }}"
    end = f"export const {shared} = {_variable(entry)};" if exports else f"const longtail = {_variable(entry)};"
    return "\n".join([*parts, end, ""])


def _in_order(modules: Mapping[str, str], entry: str) -> list[str]:
    """The modules that `entry` needs, each after those it imports."""
    found: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in open_:
            raise BundleError(f"modules import each other: {' → '.join([*open_, name])}")
        if name in found:
            return
        if name not in modules:
            raise BundleError(f"{open_[-1] if open_ else 'the entry'} imports {name}, which is not there")
        open_.append(name)
        for _, neighbour in _IMPORT.findall(modules[name]):
            visit(neighbour)
        found.append(open_.pop())

    visit(entry)
    return found


def _as_function(name: str, text: str) -> str:
    exported = _EXPORT.findall(text)
    body = _EMPTY_EXPORT.sub("", _EXPORT.sub("", _IMPORT.sub(_as_constant, text)))
    if strange := _ANY.search(body):
        raise BundleError(f"{name}: cannot put together {strange[0]!r}; use named imports and exported declarations")
    return f"const {_variable(name)} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();"


def _as_constant(found: re.Match[str]) -> str:
    names = " ".join(found[1].replace(" as ", ": ").split())
    return f"const {{ {names} }} = {_variable(found[2])};\n"


def _variable(name: str) -> str:
    return "$" + name.removesuffix(".js").replace("-", "_")
