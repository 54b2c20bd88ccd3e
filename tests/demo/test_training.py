"""The demonstration's methods, and a short run of each: it measures what scikit-learn computes from its model."""

import numpy as np
import pytest
import torch

from tbmetrics import read_run
from tbmetrics.demo.model import NumberTransformer
from tbmetrics.demo.numbers import class_groups, load_splits
from tbmetrics.demo.training import METHODS, cross_entropy, logit_adjusted, train
from tbmetrics.records import class_table_tag
from tests.demo.runs import part_of, scikit_learn

EPOCHS = 2


@pytest.fixture(scope="module")
def splits():
    return part_of(load_splits(), 4)


@pytest.fixture(scope="module")
def runs(splits, tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbers")
    return {method: train(method, 0, directory / method, splits, epochs=EPOCHS) for method in METHODS}


def test_prompts_attend_and_every_class_has_a_logit():
    logits = NumberTransformer()(torch.rand(3, 1, 8, 16))
    assert {attribute: tuple(values.shape) for attribute, values in logits.items()} == {
        "number": (3, 100), "digits": (3, 10)
    }  # fmt: skip


def test_logit_adjustment_weighs_the_softmax_with_the_prior(splits):
    torch.manual_seed(0)
    groups = class_groups(splits.training)
    logits = {"number": torch.randn(4, 100), "digits": torch.randn(4, 10)}
    targets = {"number": torch.tensor([0, 7, 50, 99]), "digits": torch.randint(-1, 2, (4, 10)).float()}
    weighted = torch.from_numpy(groups["number"].counts) * logits["number"].double().exp()
    number = -(weighted / weighted.sum(1, keepdim=True))[range(4), targets["number"]].log().mean()
    known = targets["digits"] >= 0
    probability = torch.where(targets["digits"] == 1, logits["digits"].sigmoid(), 1 - logits["digits"].sigmoid())
    expected = number - probability[known].double().log().mean()
    assert float(logit_adjusted(groups)(logits, targets)) == pytest.approx(float(expected), rel=1e-5)
    assert float(cross_entropy(logits, targets)) != pytest.approx(float(expected))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("attribute", ["number", "digits"])
def test_metrics_are_those_scikit_learn_computes_from_the_model(runs, splits, method, attribute):
    session, model = runs[method].session, runs[method].model
    measured = session.get_metrics()
    for metrics, images in ((measured, splits.validation), (measured["evaluations"]["test"], splits.test)):
        classes = metrics["class_performance"]["class_metrics"][attribute].values()
        for metric, expected in scikit_learn(model, images, attribute).items():
            values = [entry[metric] for entry in classes]
            np.testing.assert_allclose(values, np.nan_to_num(expected), rtol=1e-4, atol=1e-6, err_msg=metric)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_event_files_hold_every_validation_and_one_test(runs, method):
    session = runs[method].session
    validation, test = read_run(session.log_dir), read_run(f"{session.log_dir}/test")
    for attribute in ("number", "digits"):
        assert validation.tables[class_table_tag(attribute)].steps.tolist() == list(range(EPOCHS))
        assert test.tables[class_table_tag(attribute)].steps.tolist() == [EPOCHS - 1]
    assert validation.hparams.hparams["method"] == method
    assert validation.problems == test.problems == []
