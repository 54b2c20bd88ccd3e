"""What the directory of a run already holds when a session continues it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from tbmetrics.classes.groups import ClassGroups
from tbmetrics.errors import InputError
from tbmetrics.records import OPTIMIZER_STEP_TAG, visible
from tbmetrics.session.run_page import RUN_TEXT_TAG

_PARAMETERS = re.compile(r"^\| model parameters \| ([\d,]+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class EarlierRun:
    """A run that is continued.

    Attributes:
        log_dir: its directory.
        epochs, steps: the epochs it finished, and the optimizer steps done at the end of each.
        classes: names of the classes, in order, by attribute.
        model_parameters: number of values in the model's parameters, or None.
    """

    log_dir: str
    epochs: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    model_parameters: int | None = None

    @classmethod
    def read(cls, log_dir: str) -> EarlierRun:
        """The run in `log_dir`, as far as it can be read."""
        from tbmetrics.events.reader import read_run

        try:
            history = read_run(log_dir)
            done = history.scalars.get(OPTIMIZER_STEP_TAG)
            texts = history.texts.get(RUN_TEXT_TAG)
            classes = {a: tuple(listed.names) for a, listed in history.class_lists.items()}
            page = texts[len(texts) - 1].markdown if texts is not None and len(texts) else ""
        except (InputError, OSError):  # damaged or gone; the new records stand by themselves
            return cls(log_dir)
        number = _PARAMETERS.search(page)
        return cls(
            log_dir,
            tuple(done.steps.tolist()) if done is not None else (),
            tuple(np.asarray(done.values).astype(int).tolist()) if done is not None else (),
            classes,
            int(number[1].replace(",", "")) if number is not None else None,
        )

    def steps_before(self, epoch: int) -> int:
        """Optimizer steps done at the end of the last epoch before `epoch`, or 0."""
        return next((step for e, step in zip(self.epochs[::-1], self.steps[::-1], strict=True) if e < epoch), 0)

    def restart_step(self, epoch: int, first_new_step: int) -> int:
        """The step from which on the log is superseded; where no steps were counted, the log has epochs alone."""
        return epoch if self.epochs and not any(self.steps) else first_new_step

    def conflicts(
        self, epoch: int, first_new_step: int, classes: ClassGroups | None, model_parameters: int | None
    ) -> Iterator[str]:
        """What a reader of the log should know, in sentences.

        Args:
            epoch: the first that is written now.
            first_new_step: the first optimizer step that is written now.
            classes, model_parameters: of the new session.
        """
        advice = "give a directory of its own to keep both"
        last_epoch, last_step = (max(values, default=-1) for values in (self.epochs, self.steps))
        if last_epoch >= epoch or last_step >= max(first_new_step, 1):
            yield (
                f"this session continues the run in {self.log_dir}: what it recorded from epoch {epoch} and step "
                f"{first_new_step} on (it went to epoch {last_epoch}, step {last_step}) is superseded; {advice}"
            )
        for attribute, names in self.classes.items():
            new = tuple(map(visible, classes[attribute].names)) if classes and attribute in classes else names
            if new != names:
                yield (
                    f"the run in {self.log_dir} has other classes: attribute {attribute!r} had {len(names)}, "
                    f"{_examples(names)}; now it has {len(new)}, {_examples(new)}. Its earlier class results cannot be "
                    f"read beside the new ones; {advice}"
                )
        if None not in (model_parameters, self.model_parameters) and model_parameters != self.model_parameters:
            yield (
                f"the run in {self.log_dir} is of another model: {self.model_parameters:,} parameters, now "
                f"{model_parameters:,}; {advice}"
            )


def _examples(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "")
