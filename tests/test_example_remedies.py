"""The example of a remedy: the module does on the validation set what was predicted, and helps on other data too."""

import pytest

from examples import remedies as example
from tbmetrics import Remedy

pytestmark = pytest.mark.slow


def test_the_remedy_does_what_was_predicted(tmp_path, capsys):
    results = example.main(["--log-dir", str(tmp_path)])
    assert results["measured"] == pytest.approx(results["predicted"], abs=0.02)
    assert results["measured"]["tail"] > results["as trained"]["tail"] + 0.05
    assert Remedy.load(tmp_path / "remedy.json").remedy == "logit_adjustment"
    assert (tmp_path / "best.pt").exists()
    assert "logit_adjustment, tau=" in capsys.readouterr().out
