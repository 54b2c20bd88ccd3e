"""Matplotlib is loaded beside training, and nothing waits for it."""

import sys

import pytest

from tbmetrics.tracking import drawing


@pytest.fixture(autouse=True)
def _not_loading(monkeypatch):
    monkeypatch.setattr(drawing, "_loading", None)


def test_what_is_loaded_can_be_drawn_with_at_once(monkeypatch):
    monkeypatch.setattr(drawing, "_MODULES", ("json",))
    assert drawing.matplotlib_is_loaded()
    assert drawing._loading is None


@pytest.mark.parametrize("module", ["this", "no_such_module_of_anybody"])
def test_what_is_not_is_loaded_in_a_thread_once(monkeypatch, module, capsys):
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(drawing, "_MODULES", (module,))
    began = []
    monkeypatch.setattr(drawing.threading.Thread, "start", lambda thread: began.append(thread))
    monkeypatch.setattr(drawing.threading.Thread, "is_alive", lambda thread: True)
    assert not drawing.matplotlib_is_loaded()
    assert not drawing.matplotlib_is_loaded()
    (thread,) = began
    thread.run()
    monkeypatch.setattr(drawing.threading.Thread, "is_alive", lambda thread: False)
    assert drawing.matplotlib_is_loaded()
    assert (module in sys.modules) == (module == "this")
