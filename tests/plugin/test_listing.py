"""Tags are listed once for the requests that come together, and always anew for the list of runs."""

import json

import pytest

from tbmetrics_longtail import listing
from tbmetrics_longtail.listing import Experiment, Listing
from tests.plugin.in_process import PREFIX, answered, application, client_of
from tests.plugin.logs import write_log


class _Provider:
    """A data provider of runs that can be changed, which notes what it was asked for."""

    def __init__(self, **tags):
        self.tags = tags
        self.asked = []

    def list_tensors(self, context, *, experiment_id, plugin_name, run_tag_filter):
        runs = None if run_tag_filter is None else sorted(run_tag_filter.runs)
        self.asked.append((experiment_id, runs))
        return {run: tags for run, tags in self.tags.items() if runs is None or run in runs}


HERE = Experiment(None, "")


def test_a_run_just_listed_is_not_listed_again():
    provider = _Provider(a=1, b=2)
    tags = Listing(provider)
    assert tags.all(HERE) == {"a": 1, "b": 2}
    provider.tags["c"] = 3
    assert tags.of(HERE, ["a", "b"]) == {"a": 1, "b": 2}
    assert tags.of(HERE, {"b", "c", "nowhere"}) == {"b": 2, "c": 3}
    assert tags.of(HERE, ["c"]) == {"c": 3}
    assert provider.asked == [("", None), ("", ["c", "nowhere"])]


def test_all_runs_are_always_listed_anew():
    provider = _Provider(a=1)
    tags = Listing(provider)
    tags.all(HERE)
    provider.tags = {"a": 5}
    assert tags.all(HERE) == {"a": 5}
    assert tags.of(HERE, ["a"]) == {"a": 5}


def test_what_was_listed_some_time_ago_is_listed_again(monkeypatch):
    monkeypatch.setattr(listing, "RECENT_SECONDS", -1.0)
    provider = _Provider(a=1)
    tags = Listing(provider)
    tags.all(HERE)
    provider.tags = {"a": 5}
    assert tags.of(HERE, ["a"]) == {"a": 5}


def test_experiments_are_not_mixed_up():
    provider = _Provider(a=1)
    tags = Listing(provider)
    tags.all(HERE)
    assert tags.of(Experiment(None, "other"), ["a"]) == {"a": 1}
    assert provider.asked == [("", None), ("other", ["a"])]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_log(folder, runs=("a", "b"), steps=3)
    return client_of(application(folder)[0])


def _groups(client, *runs):
    query = "&".join(["attribute=digit", "metric=f1", *(f"run={run}" for run in runs)])
    return json.loads(answered(client, "GET", f"{PREFIX}/groups?{query}").body)


def test_groups_of_several_runs_are_those_of_each(client):
    assert _groups(client, "b", "a") == {"answers": [_groups(client, "b"), _groups(client, "a")]}


def test_one_run_that_cannot_be_read_leaves_the_others(client):
    first, second = _groups(client, "a", "nowhere")["answers"]
    assert first == _groups(client, "a")
    assert "'nowhere' is unknown" in second["error"]
    assert second["hint"]
