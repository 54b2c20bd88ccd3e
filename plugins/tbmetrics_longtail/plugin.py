"""The Long Tail tab as TensorBoard loads it: the plugin, and the loader that keeps all validations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorboard import context as tensorboard_context
from tensorboard.plugins import base_plugin

from tbmetrics.records import PLUGIN_NAME
from tbmetrics_longtail.answers import Answers
from tbmetrics_longtail.data import MAX_STEPS, LongTailData
from tbmetrics_longtail.listing import Experiment
from tbmetrics_longtail.routes import BUNDLE, Routes


class TBPlugin(base_plugin.TBPlugin):  # type: ignore[misc]  # tensorboard is not annotated
    """Head, medium and tail compared between runs."""

    plugin_name = PLUGIN_NAME

    def __init__(self, context: base_plugin.TBContext) -> None:
        self._data = LongTailData(context.data_provider)
        logdir = context.logdir or getattr(context.flags, "logdir_spec", "") or ""
        self._routes = Routes(Answers(self._data, logdir))

    def get_plugin_apps(self) -> dict[str, Callable[..., Any]]:
        """The plugin's WSGI applications by route; `docs/http-api.md` describes them."""
        return self._routes.apps()

    def is_active(self) -> bool:
        """Whether any run has long-tail data; nothing is read to find out."""
        return self._data.has_data(Experiment(tensorboard_context.RequestContext(), ""))

    def frontend_metadata(self) -> base_plugin.FrontendMetadata:
        """The tab's name and its ES module."""
        return base_plugin.FrontendMetadata(es_module_path=f"/static/{BUNDLE}", tab_name="Long Tail")

    def data_plugin_names(self) -> tuple[str, ...]:
        """The plugins whose data this one reads: its own."""
        return (PLUGIN_NAME,)


class TBLoader(base_plugin.TBLoader):  # type: ignore[misc]  # tensorboard is not annotated
    """Loads the plugin, and asks TensorBoard to keep every validation.

    By default TensorBoard keeps 10 steps of a plugin's tensors (100 with the fast loader).
    """

    def fix_flags(self, flags: Any) -> None:
        """Adds `longtail` to `--samples_per_plugin`, unless the user has set it."""
        flags.samples_per_plugin = {PLUGIN_NAME: MAX_STEPS, **flags.samples_per_plugin}

    def load(self, context: base_plugin.TBContext) -> TBPlugin | None:
        """The plugin, or None if TensorBoard runs without a data provider."""
        return TBPlugin(context) if context.data_provider is not None else None
