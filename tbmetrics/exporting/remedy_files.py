"""The chosen remedies of a run, a JSON file each, for `Remedy.load` and `tbmetrics evaluate --remedy`."""

from __future__ import annotations

from collections.abc import Iterator

from tbmetrics.exporting.contents import CLASS_LISTS, TABLES, Entry
from tbmetrics.records import recorded_remedies, remedies_tag, remedy_parameters_tag, remedy_text
from tbmetrics.records.history import History


def remedy_entries(entries: list[Entry], classes: Entry) -> tuple[Entry, ...]:
    """What the remedies of an attribute are made of, or nothing if some of it is missing."""
    tags = (remedies_tag(classes.attribute), remedy_parameters_tag(classes.attribute))
    tables = tuple(entry for entry in entries if entry.kind == TABLES and entry.tag in tags)
    return (classes, *tables) if len(tables) == len(tags) else ()


def remedy_files(history: History, entries: tuple[Entry, ...]) -> Iterator[tuple[str, str]]:
    """Name and text of the file of each remedy at the last validation."""
    attribute = next(entry.tag for entry in entries if entry.kind == CLASS_LISTS)
    parameters, remedies = (history.tables[t(attribute)] for t in (remedy_parameters_tag, remedies_tag))
    if parameters.steps[-1] == remedies.steps[-1]:
        for content in recorded_remedies(parameters[-1], remedies[-1], history.class_lists[attribute]):
            yield f"remedy_{content['remedy']}.json", remedy_text(content)
