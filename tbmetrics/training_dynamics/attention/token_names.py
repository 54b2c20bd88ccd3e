"""Names of the queries and keys of attention: given by pattern of modules, or those of the classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.tracking.patterns import matches

#: Module → (queries, keys) of its map.
Sizes = Mapping[str, tuple[int, int]]


class TokenNames:
    """Names of queries and keys, and groups of keys, by module.

    Where none are given, keys (or else queries) are named after the classes of an attribute that has as many, if it can
    be told which attribute that is: by its name in that of the module; by the place of a call, if a module is called
    once per attribute and all numbers fit in order; or, where queries and keys differ in number, because no other
    attribute has as many classes.

    Args:
        query_labels, key_labels, key_groups: names, or groups, by pattern of modules; `vsi#0` is the first call of a
            module that is called several times in a pass, `vsi` stands for all of them.
        classes: of the attributes, or None.
    """

    def __init__(
        self,
        query_labels: Mapping[str, Sequence[str]],
        key_labels: Mapping[str, Sequence[str]],
        key_groups: Mapping[str, Sequence[str]],
        classes: ClassGroups | None = None,
    ) -> None:
        self._given = {"query_labels": query_labels, "key_labels": key_labels, "key_groups": key_groups}
        self._classes = classes
        self._sizes: dict[str, tuple[int, int]] = {}
        self._attributes: dict[str, tuple[str, str]] = {}  # module → attributes of its queries and keys, or ""
        self._mentioned: set[tuple[str, str, str]] = set()

    def learn(self, sizes: Sizes) -> list[str]:
        """Take the sizes of the maps of a pass; return what is wrong with the given names, each said once."""
        self._sizes.update(sizes)
        if self._classes:
            self._attributes = dict(self._matched(self._classes))
        return list(self._misfits(sizes)) if sizes else []

    def queries(self, module: str) -> Sequence[str]:
        """Names of the queries, or none."""
        return self._fitting("query_labels", module) or self._class_names(module, axis=0)

    def keys(self, module: str) -> Sequence[str]:
        """Names of the keys, or none."""
        return self._fitting("key_labels", module) or self._class_names(module, axis=1)

    def groups(self, module: str) -> Sequence[str]:
        """Group of each key, or none."""
        given = self._fitting("key_groups", module)
        attribute = self._attributes.get(module, ("", ""))[1]
        return given or (self._classes[attribute].groups if attribute and self._classes else ())

    def _fitting(self, option: str, module: str) -> Sequence[str]:
        names = self._given[option].get(_pattern(self._given[option], module) or "", ())
        size = self._sizes.get(module)
        return names if size is None or len(names) == size[option != "query_labels"] else ()

    def _class_names(self, module: str, axis: int) -> Sequence[str]:
        attribute = self._attributes.get(module, ("", ""))[axis]
        return self._classes[attribute].names if attribute and self._classes else ()

    def _misfits(self, sizes: Sizes) -> Iterator[str]:
        for option, by_pattern in self._given.items():
            axis = int(option != "query_labels")
            what = ("queries", "keys")[axis]
            chosen = {module: _pattern(by_pattern, module) for module in sizes}
            for module, pattern in chosen.items():
                if pattern is not None and len(by_pattern[pattern]) != sizes[module][axis]:
                    own = f"; if they are of another call, name it, {module!r}" if "#" in module else ""
                    fault = f"{option}[{pattern!r}] has {len(by_pattern[pattern])} names, but {module} has "
                    yield from self._once(option, pattern, module, f"{fault}{sizes[module][axis]} {what}{own}")
            for pattern in by_pattern.keys() - set(chosen.values()):
                seen = ", ".join(map(repr, list(sizes)[:8]))
                yield from self._once(option, pattern, "", f"{option}[{pattern!r}] is for none of the modules: {seen}")

    def _once(self, option: str, pattern: str, module: str, message: str) -> Iterator[str]:
        if (option, pattern, module) not in self._mentioned:
            self._mentioned.add((option, pattern, module))
            yield message

    def _matched(self, classes: ClassGroups) -> Iterator[tuple[str, tuple[str, str]]]:
        by_call = self._by_call(classes)
        for module, (queries, keys) in self._sizes.items():
            attribute = by_call.get(module) or _of_axis(module, keys, queries, classes)
            if attribute:
                yield module, ("", attribute)
            elif attribute := _of_axis(module, queries, keys, classes):
                yield module, (attribute, "")

    def _by_call(self, classes: ClassGroups) -> dict[str, str]:
        """Attributes of the calls of a module that is called once for each, in their order."""
        calls: dict[str, list[str]] = {}
        for module in self._sizes:
            calls.setdefault(module.partition("#")[0], []).append(module)
        expected = [len(attribute_classes) for attribute_classes in classes.values()]
        return {
            module: attribute
            for modules in calls.values()
            if len(modules) > 1 and [self._sizes[module][1] for module in modules] == expected
            for module, attribute in zip(modules, classes, strict=True)
        }


def _of_axis(module: str, size: int, other: int, classes: ClassGroups) -> str:
    """The attribute whose classes a module's `size` queries or keys are, or ""."""
    candidates = [attribute for attribute, listed in classes.items() if len(listed) == size]
    named = [attribute for attribute in candidates if _plain(attribute) in _phrases(module)]
    if named:
        return max(named, key=len)
    return candidates[0] if len(candidates) == 1 and size not in (1, other) else ""


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _phrases(module: str) -> set[str]:
    """The words of a module's name, alone and joined with those that follow."""
    words = re.findall(r"[^\W_]+", module.casefold())
    return {"".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}


def _pattern(by_pattern: Mapping[str, Sequence[str]], module: str) -> str | None:
    """The pattern for `module`: the first of its own call, else the first of all its calls, else None."""
    plain = module.partition("#")[0]
    of_call = (pattern for pattern in by_pattern if "#" in pattern and matches(module, [pattern]))
    of_all = (pattern for pattern in by_pattern if matches(plain, [pattern]))
    return next(of_call, None) or next(of_all, None)
