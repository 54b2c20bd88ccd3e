"""TensorBoard's own WSGI application with the tab in it, in this process: requests without a socket."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from tensorboard.backend import application as backend
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.core import core_plugin
from tensorboard.plugins.image import images_plugin
from werkzeug.test import Client

from tbmetrics_longtail.plugin import TBPlugin
from tests.plugin.logs import write_log

PREFIX = "/data/plugin/longtail"
#: What only run "b" of `two_runs` has, in the names of its classes and, as a number, in its values.
SECRET = "only-in-b"


class Answer(NamedTuple):
    """One answer of the application."""

    status: int
    headers: Any
    body: bytes


def two_runs(folder: Path) -> str:
    """Writes runs "a" and "b" of attributes of the same name with different classes; returns what only "b" has."""
    for run, name in (("a", "plain"), ("b", SECRET)):
        write_log(folder, runs=(run,), attributes={"x": [f"{name} {i}" for i in range(24)]}, steps=3)
    return SECRET


def application(folder: Path | None, data_provider: Any = None) -> tuple[Any, tuple[str, ...]]:
    """TensorBoard's application on a log directory (or a data provider), and the tab's routes in it."""
    if data_provider is None:
        multiplexer = EventMultiplexer(tensor_size_guidance={"longtail": 0})
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        data_provider = MultiplexerDataProvider(multiplexer, str(folder))
    flags = SimpleNamespace(
        logdir=str(folder or ""), logdir_spec="", samples_per_plugin={}, window_title="", path_prefix=""
    )
    plugins = [core_plugin.CorePluginLoader(), images_plugin.ImagesPlugin, TBPlugin]
    app = backend.TensorBoardWSGIApp(flags, plugins, data_provider)
    routes = [*app.exact_routes, *(f"{prefix}*" for prefix in app.prefix_routes)]
    return app, tuple(sorted(route for route in routes if route.startswith(PREFIX)))


def client_of(app: Any) -> Client:
    """A client of the application."""
    return Client(app)


def answered(client: Client, method: str, url: str, **options: Any) -> Answer:
    """The answer to a request, which must be one of the tab's: well, or 4xx with an error and a hint in JSON."""
    response = client.open(url, method=method, **options)
    answer = Answer(response.status_code, response.headers, response.get_data())
    assert answer.status == 200 or 400 <= answer.status < 500, f"{method} {url[:300]}: {answer.status}"
    assert b"Traceback" not in answer.body, f"{method} {url[:300]} shows a trace"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if answer.body == b"Not found":
        return answer  # TensorBoard's own word on a path that is no route
    if answer.status != 200:
        assert answer.headers["Content-Type"].startswith("application/json"), f"{method} {url[:300]}: {answer}"
        if method != "HEAD":
            content = json.loads(answer.body)
            assert content["error"], content
            assert "hint" in content
            assert len(answer.body) < 20_000, "an error must not send back all that came"
    elif answer.headers["Content-Type"].startswith("application/json"):
        json.loads(answer.body, parse_constant=_refuse)
    return answer


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
