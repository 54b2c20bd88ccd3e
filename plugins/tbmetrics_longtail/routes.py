"""The plugin over HTTP: parses requests, and sends answers as JSON, bytes or static files."""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
import logging
import re
import struct
from collections.abc import Callable, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeAlias

from tensorboard import plugin_util
from tensorboard.backend import http_util
from werkzeug import wrappers

from tbmetrics.classes.rules import GroupRule
from tbmetrics.comparing.regrouping import rule_of_bounds
from tbmetrics.comparing.steps import BEST, LAST
from tbmetrics.comparing.tabulating import FREQUENCY
from tbmetrics.records import SchemaError
from tbmetrics_longtail.answers import Answers, Packed
from tbmetrics_longtail.bundle import bundle, files_below, module_texts
from tbmetrics_longtail.diagnosis import Picture
from tbmetrics_longtail.listing import Experiment
from tbmetrics_longtail.run_table import TableQuery
from tbmetrics_longtail.tables import RequestError, shown

logger = logging.getLogger("tbmetrics")

WsgiApp: TypeAlias = Callable[..., Any]

#: Media types by suffix. Fixed, because `mimetypes` depends on the machine (a blank tab on Windows).
MEDIA_TYPES = MappingProxyType({".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"})

_STATIC = files("tbmetrics_longtail").joinpath("static")
#: Classes whose curves one request may ask for.
MOST_CLASSES = 100
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?[0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][-+]?[0-9]{1,4})?")  # float() reads "1_0" and "٣" too


def _list_static() -> Mapping[str, str]:
    types = {path: MEDIA_TYPES.get(path[path.rfind(".") :]) for path, _ in files_below(_STATIC)}
    return MappingProxyType({path: media_type for path, media_type in types.items() if media_type})


#: Media types of the files that are served, by path. Besides them only `BUNDLE` is.
STATIC_FILES = _list_static()
#: All modules in one script.
BUNDLE = "bundle.js"


@functools.cache
def _bundled() -> bytes:
    return bundle(module_texts(_STATIC), "index.js").encode()


@functools.lru_cache(maxsize=8)
def _compressed(content: bytes) -> bytes:
    """As sent: TensorBoard would compress it anew for each request."""
    return gzip.compress(content, mtime=0)


class Parameters:
    """The query of one request; every method raises `RequestError` if the query does not have what it asks for."""

    def __init__(self, request: wrappers.Request) -> None:
        self._args = request.args

    def has(self, name: str) -> bool:
        """Whether the query names `name`."""
        return name in self._args

    def text(self, name: str) -> str:
        """The single value of `name`."""
        values = self._args.getlist(name)
        if len(values) != 1:
            problem = "is missing" if not values else f"was given {len(values)} times"
            raise RequestError(f"parameter {name!r} {problem}", f"give it once, as in ?{name}=…")
        return str(values[0])

    def texts(self, name: str) -> list[str]:
        """All values of `name`, without repetition; possibly none."""
        values = list(map(str, self._args.getlist(name)))
        if len(set(values)) != len(values):
            raise RequestError(f"parameter {name!r} names a value twice", "name each once")
        return values

    def integer(self, name: str) -> int:
        """The single value of `name`, a whole number of at most 18 digits."""
        text = self.text(name)
        if not _INTEGER.fullmatch(text):
            raise RequestError(
                f"parameter {name!r} must be a whole number, got {shown(text)}", f"write it in digits, as in ?{name}=3"
            )
        return int(text)

    def integers(self, name: str, most: int) -> list[int]:
        """The values of `name`, 1 to `most` whole numbers."""
        texts = self.texts(name)
        if not 1 <= len(texts) <= most or not all(map(_INTEGER.fullmatch, texts)):
            raise RequestError(
                f"parameter {name!r} must be given 1 to {most} times as a whole number, got {shown(', '.join(texts))}",
                f"write each in digits, as in ?{name}=3&{name}=5",
            )
        return [int(text) for text in texts]

    def experiments(self) -> dict[str, str]:
        """The experiment of each `run`, from the values of `experiment`; empty if there are none."""
        runs, names = self.texts("run"), list(map(str, self._args.getlist("experiment")))
        if names and len(names) != len(runs):
            raise RequestError(f"{len(names)} experiments for {len(runs)} runs", "give one for each run, or none")
        return dict(zip(runs, names, strict=False))

    def step(self) -> int | str | None:
        """The value of `step`: a whole number, "last", "best", or None if it is not given."""
        if not self.has("step"):
            return None
        return self.text("step") if self.text("step") in (LAST, BEST) else self.integer("step")

    def by(self) -> str:
        """What classes are grouped by: training counts, unless families are asked for."""
        return self.text("by") if self.has("by") else FREQUENCY

    def bounds(self) -> GroupRule | None:
        """The rule of `head_min` and `tail_max`, or None if neither is given."""
        if not self.has("head_min") and not self.has("tail_max"):
            return None
        texts = [self.text(name) for name in ("head_min", "tail_max")]
        try:
            if not all(map(_NUMBER.fullmatch, texts)):
                raise ValueError("they must be numbers in digits")
            return rule_of_bounds(*map(float, texts))
        except ValueError as error:
            raise RequestError(
                f"head_min={shown(texts[0])} and tail_max={shown(texts[1])} are no bounds: {error}",
                "give two finite numbers, head_min above tail_max, as in ?head_min=101&tail_max=19",
            ) from error


class Routes:
    """The WSGI applications of the plugin."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def apps(self) -> dict[str, WsgiApp]:
        """WSGI applications by route, in the form of TensorBoard's `get_plugin_apps`."""
        answers: dict[str, Callable[[Experiment, Parameters], Any]] = {
            "/runs": lambda experiment, _: self._answers.runs(experiment),
            "/groups": self._groups,
            "/classes": self._classes,
            "/values": self._values,
            "/history": self._history,
            "/histories": self._histories,
            "/bucket_sums": self._bucket_sums,
            "/bucket_uncertainty": self._bucket_uncertainty,
            "/curves": self._curves,
            "/class_curve": self._of_class(self._answers.class_curve),
            "/confusions": self._confusions,
            "/confusion": self._at_step(self._answers.confusion),
            "/flow": self._at_step(self._answers.flow),
            "/flows": self._flows,
            "/lift_sums": self._at_step(self._answers.lift_sums),
            "/calibration": self._at_step(self._answers.calibration),
            "/diagnosis": self._at_step(self._answers.diagnosis),
            "/class_diagnosis": self._of_class(self._answers.class_diagnosis),
            "/gallery": self._of_class(self._answers.gallery),
            "/gallery_image": self._gallery_image,
            "/compare": self._compare,
            "/by_count": self._by_count,
            "/table": self._table,
            "/settings": self._settings,
        }
        return {**{route: _answering(answer) for route, answer in answers.items()}, "/static/*": _static}

    def _groups(self, experiment: Experiment, query: Parameters) -> Any:
        runs, attribute, metrics = query.texts("run"), query.text("attribute"), query.texts("metric")
        if len(runs) < 2:
            return self._answers.groups(experiment, query.text("run"), attribute, metrics)
        return {"answers": [self._groups_or_fault(experiment, run, attribute, metrics) for run in runs]}

    def _groups_or_fault(self, experiment: Experiment, run: str, attribute: str, metrics: list[str]) -> Any:
        try:
            return self._answers.groups(experiment, run, attribute, metrics)
        except (RequestError, SchemaError) as error:
            return _words_of(error)

    def _classes(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.classes(experiment, *_run_and_attribute(query))

    def _values(self, experiment: Experiment, query: Parameters) -> Any:
        columns = query.texts("column")
        if not columns:
            raise RequestError("parameter 'column' is missing", "give it once or more, as in ?column=f1&column=recall")
        return self._answers.values(experiment, *_run_and_attribute(query), query.integer("step"), columns)

    def _history(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.history(experiment, *_run_and_attribute(query), _class(query), query.text("column"))

    def _histories(self, experiment: Experiment, query: Parameters) -> Any:
        classes = query.integers("class_index", MOST_CLASSES)
        return self._answers.histories(experiment, *_run_and_attribute(query), classes, query.text("column"))

    def _bucket_sums(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.bucket_sums(experiment, *_run_and_attribute(query), query.text("metric"))

    def _bucket_uncertainty(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.bucket_uncertainty(experiment, *_run_and_attribute(query), query.text("metric"))

    def _flows(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.flows(experiment, *_run_and_attribute(query))

    def _curves(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.curves(experiment, *_run_and_attribute(query), query.integer("step"), query.bounds())

    def _gallery_image(self, experiment: Experiment, query: Parameters) -> Any:
        run, attribute = _run_and_attribute(query)
        kind, group = query.text("kind"), query.text("group")
        return self._answers.gallery_image(experiment, run, attribute, kind, group, query.integer("step"))

    def _confusions(self, experiment: Experiment, query: Parameters) -> Any:
        class_ = _class(query) if query.has("class") or query.has("class_index") else None
        return self._answers.confusions(experiment, *_run_and_attribute(query), query.integer("step"), class_)

    def _compare(self, experiment: Experiment, query: Parameters) -> Any:
        sides, (attribute, metric) = _sides(query), _attribute_and_metric(query)
        return self._answers.compare(experiment, *sides, attribute, metric, query.bounds(), query.by())

    def _by_count(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.by_count(experiment, *_sides(query), *_attribute_and_metric(query))

    def _table(self, experiment: Experiment, query: Parameters) -> Any:
        runs, rows = query.texts("run"), query.experiments()
        asked = TableQuery(query.text("metric"), query.step(), rows, query.by(), query.bounds())
        return self._answers.table(experiment, runs, query.text("attribute"), asked)

    def _settings(self, experiment: Experiment, query: Parameters) -> Any:
        return self._answers.settings(experiment, query.text("run"))

    @staticmethod
    def _at_step(answer: Callable[[Experiment, str, str, int], Any]) -> Callable[[Experiment, Parameters], Any]:
        return lambda experiment, query: answer(experiment, *_run_and_attribute(query), query.integer("step"))

    @staticmethod
    def _of_class(
        answer: Callable[[Experiment, str, str, int, str | int], Any],
    ) -> Callable[[Experiment, Parameters], Any]:
        return lambda experiment, query: answer(
            experiment, *_run_and_attribute(query), query.integer("step"), _class(query)
        )


def _class(query: Parameters) -> str | int:
    if query.has("class") == query.has("class_index"):
        raise RequestError("which class?", "give either class=NAME or class_index=NUMBER")
    return query.text("class") if query.has("class") else query.integer("class_index")


def _run_and_attribute(query: Parameters) -> tuple[str, str]:
    return query.text("run"), query.text("attribute")


def _sides(query: Parameters) -> tuple[tuple[str, int], tuple[str, int]]:
    """Run and step of A and of B."""
    a, b = ((query.text(f"run_{side}"), query.integer(f"step_{side}")) for side in "ab")
    return a, b


def _attribute_and_metric(query: Parameters) -> tuple[str, str]:
    return query.text("attribute"), query.text("metric")


def _answering(answer: Callable[[Experiment, Parameters], Any]) -> WsgiApp:
    """A WSGI application around `answer`: GET only, bytes as they are, everything else as JSON, faults as 400."""

    def respond(request: wrappers.Request) -> Any:
        if request.method != "GET":
            return _not_allowed(request)
        experiment = Experiment(plugin_util.context(request.environ), plugin_util.experiment_id(request.environ))
        try:
            content = answer(experiment, Parameters(request))
        except (RequestError, SchemaError) as error:
            return _json(request, _words_of(error), 400)
        except Exception as error:  # never a trace to the browser: the server's log has it
            logger.exception("tbmetrics: %s could not be answered", request.path)
            return _fault(request, 500, f"no answer could be made ({type(error).__name__})", "see the server's log")
        if isinstance(content, Packed):
            return http_util.Respond(request, packed(content), "application/octet-stream")
        if isinstance(content, Picture):
            return http_util.Respond(request, content.content, content.media_type)
        if isinstance(content, bytes):
            return http_util.Respond(request, content, "application/octet-stream")
        return _json(request, content)

    app: WsgiApp = wrappers.Request.application(respond)
    return app


def _words_of(error: RequestError | SchemaError) -> dict[str, str]:
    damaged = "the log is damaged, or was written by another version of tbmetrics"
    return {"error": str(error), "hint": getattr(error, "hint", damaged)}


def packed(content: Packed) -> bytes:
    """Length of the JSON (uint32), the JSON padded with spaces to a multiple of 4 bytes, the values; little-endian."""
    about = json.dumps({**content.about, "shape": content.values.shape}, allow_nan=False).encode()
    about += b" " * (-len(about) % 4)
    return struct.pack("<I", len(about)) + about + content.values.astype("<f4").tobytes()


def _serve_static(request: wrappers.Request) -> Any:
    if request.method != "GET":
        return _not_allowed(request)
    name = request.path.rpartition("/static/")[2]
    if name != BUNDLE and name not in STATIC_FILES:
        return _fault(request, 404, f"there is no file {shown(name)}", f"there are {', '.join(STATIC_FILES)}")
    content = _bundled() if name == BUNDLE else _STATIC.joinpath(name).read_bytes()
    media_type = MEDIA_TYPES[".js"] if name == BUNDLE else STATIC_FILES[name]
    tag = hashlib.sha256(content).hexdigest()[:32]
    headers = [("ETag", f'"{tag}"')]
    if request.if_none_match.contains(tag):  # the browser has this version, perhaps already compiled
        return wrappers.Response(status=304, headers=headers)
    return http_util.Respond(request, _compressed(content), media_type, content_encoding="gzip", headers=headers)


_static: WsgiApp = wrappers.Request.application(_serve_static)


def _json(
    request: wrappers.Request, content: Any, code: int = 200, headers: list[tuple[str, str]] | None = None
) -> Any:
    # TensorBoard's own encoder walks every number in Python, and writes NaN as a string; its compression takes almost
    # three times as long for 4 % less.
    sent = gzip.compress(json.dumps(content, allow_nan=False).encode(), 1, mtime=0)
    return http_util.Respond(request, sent, "application/json", code=code, content_encoding="gzip", headers=headers)


def _fault(request: wrappers.Request, code: int, error: str, hint: str) -> Any:
    return _json(request, {"error": error, "hint": hint}, code)


def _not_allowed(request: wrappers.Request) -> Any:
    content = {"error": f"method {request.method} is not allowed", "hint": "use GET"}
    return _json(request, content, 405, [("Allow", "GET")])
