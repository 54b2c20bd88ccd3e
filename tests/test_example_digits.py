"""The digits example: its data are what it says, and both runs measure what scikit-learn computes from their logits."""

import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from examples import digits_longtail as example
from tbmetrics import read_run
from tbmetrics.records import class_table_tag, scalar_tag

pytestmark = pytest.mark.slow

EPOCHS = 10


@pytest.fixture(scope="module")
def splits():
    return example.load_splits(seed=0)


@pytest.fixture(scope="module")
def log_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def results(log_dir):
    return example.main(["--log-dir", str(log_dir), "--epochs", str(EPOCHS)])


# ------------------------------------------------------------------------------------------------------ data


def test_training_counts_follow_the_exponential_profile(splits):
    counts = np.bincount(splits[0].targets["digit"], minlength=10)
    by_frequency = counts[list(example.DIGITS_BY_FREQUENCY)]
    exact = 140 * np.geomspace(1, 1 / 100, 10)
    np.testing.assert_allclose(by_frequency, exact, atol=0.5)
    assert by_frequency.max() / exact.min() == pytest.approx(100)
    assert (np.diff(by_frequency) < 0).all()


def test_the_validation_set_is_balanced_and_shares_no_image_with_training(splits):
    train, validation = splits
    assert np.bincount(validation.targets["digit"]).tolist() == [30] * 10
    pixels = [{image.numpy().tobytes() for image in split.images} for split in splits]
    assert (len(pixels[0]), len(pixels[1])) == (len(train), len(validation))
    assert not pixels[0] & pixels[1]


def test_splits_depend_on_the_seed_alone(splits):
    again, other = example.load_splits(seed=0), example.load_splits(seed=1)
    assert all(torch.equal(a.images, b.images) for a, b in zip(splits, again, strict=True))
    assert not torch.equal(splits[1].images, other[1].images)


def test_shapes_are_derived_from_the_digit():
    shapes = example.shapes_of(torch.arange(10))
    names = np.array(example.CLASS_NAMES["shape"])
    shown = {digit: set(names[row.numpy() == 1]) for digit, row in enumerate(shapes)}
    assert shown[8] == {"closed loop", "two loops", "crossing", "left-right symmetry", "top-bottom symmetry"}
    assert shown[1] == {"vertical stroke"}
    assert shown[6] == {"closed loop", "open curve"}
    assert all(shown.values())
    assert shapes.unique().tolist() == [0, 1]


@pytest.mark.parametrize("attribute", ["digit", "shape"])
def test_every_group_has_classes(splits, attribute):
    classes = example.class_groups(splits[0])[attribute]
    assert set(classes.groups) == {"head", "medium", "tail"}
    for group, count in zip(classes.groups, classes.counts, strict=True):
        assert group == ("head" if count > 100 else "tail" if count < 20 else "medium")


# ------------------------------------------------------------------------------------------- model and losses


def test_prompts_attend_to_patches_as_a_reference_does():
    torch.manual_seed(0)
    attention = example.PromptAttention(dim=8, heads=2)
    prompts, patches = torch.randn(3, 5, 8), torch.randn(3, 16, 8)
    reference = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([attention.query.weight, attention.key_value.weight]))
        reference.in_proj_bias.copy_(torch.cat([attention.query.bias, attention.key_value.bias]))
        reference.out_proj.load_state_dict(attention.out.state_dict())
    expected, _ = reference(prompts, patches, patches)
    torch.testing.assert_close(attention(prompts, patches), expected)


def test_balanced_softmax_is_the_prior_weighted_softmax(splits):
    torch.manual_seed(0)
    groups = example.class_groups(splits[0])
    targets = {"digit": torch.tensor([0, 7]), "shape": torch.randint(0, 2, (2, 10)).double()}
    logits = {"digit": torch.randn(2, 10, dtype=torch.float64), "shape": torch.randn(2, 10, dtype=torch.float64)}
    losses = example.balanced_softmax(groups, len(splits[0]))(logits, targets)

    weighted = torch.from_numpy(groups["digit"].counts) * logits["digit"].exp()
    digit = -(weighted / weighted.sum(1, keepdim=True))[[0, 1], targets["digit"]].log().mean()
    prior = torch.from_numpy(groups["shape"].counts).double() / len(splits[0])
    odds = prior / (1 - prior) * logits["shape"].exp()
    probability = torch.where(targets["shape"] == 1, odds / (1 + odds), 1 / (1 + odds))
    torch.testing.assert_close(losses["digit"], digit, rtol=1e-5, atol=0)
    torch.testing.assert_close(losses["shape"], -probability.log().mean(), rtol=1e-5, atol=0)


# ------------------------------------------------------------------------------------------------------ runs


def _decisions(result, attribute):
    """Truth, decisions and ranking scores, (N, C) each, from the logits of the last validation."""
    logits, truth = result.logits[attribute].double(), result.targets[attribute]
    if attribute == "shape":
        return truth.numpy(), (logits > 0).numpy(), logits.numpy()
    decided = logits.argmax(1)
    return tuple(t.numpy() for t in (torch.eye(10)[truth], torch.eye(10)[decided], logits.softmax(1)))


@pytest.mark.parametrize("run", example.LOSSES)
@pytest.mark.parametrize("attribute", ["digit", "shape"])
def test_metrics_are_those_scikit_learn_computes_from_the_logits(results, log_dir, splits, run, attribute):
    truth, decided, scores = _decisions(results[run], attribute)
    assert len(truth) == 300
    options = {"average": None, "zero_division": 0}
    expected = {
        "precision": precision_score(truth, decided, **options),
        "recall": recall_score(truth, decided, **options),
        "f1": f1_score(truth, decided, **options),
        "ap": average_precision_score(truth, scores, average=None),
        "support": truth.sum(0),
    }
    measured = results[run].metrics["class_performance"]
    names = example.CLASS_NAMES[attribute]
    for metric, values in expected.items():
        of_class = [measured["class_metrics"][attribute][name][metric] for name in names]
        np.testing.assert_allclose(of_class, values, rtol=1e-4, err_msg=metric)

    read = read_run(log_dir / run)
    groups = np.array(example.class_groups(splits[0])[attribute].groups)
    for group in ("head", "medium", "tail"):
        recall = expected["recall"][groups == group].mean()
        assert measured["type_metrics"][attribute][group]["recall"] == pytest.approx(recall)
        assert read.scalars[scalar_tag(attribute, "recall", group)].values[-1] == pytest.approx(recall, rel=1e-6)


@pytest.mark.parametrize("run", example.LOSSES)
def test_event_files_hold_every_epoch_and_every_step(results, log_dir, splits, run):
    history = read_run(log_dir / run)
    assert history.problems == []
    for attribute in ("digit", "shape"):
        assert history.tables[class_table_tag(attribute)].steps.tolist() == list(range(EPOCHS))
    steps = EPOCHS * -(-len(splits[0]) // 16)
    for part in ("total", "digit", "shape"):
        assert history.scalars[f"loss/{part}"].steps.tolist() == list(range(1, steps + 1))
    assert history.hparams.hparams["loss"] == run


def test_both_runs_see_the_same_validation_images_in_the_same_order(results):
    first, second = (results[name].targets for name in example.LOSSES)
    assert all(torch.equal(first[attribute], second[attribute]) for attribute in first)


def test_the_command_compares_the_runs_and_says_how_to_look_at_them(results, log_dir, tmp_path, capsys):
    again = example.main(["--log-dir", str(tmp_path / "a b"), "--epochs", "1", "--loss", "balanced_softmax"])
    printed = capsys.readouterr().out
    assert list(again) == ["balanced_softmax"]
    assert f"tensorboard --logdir '{tmp_path}/a b'" in printed
    assert not (tmp_path / "a b" / "cross_entropy").exists()
    table = example.comparison(results)
    groups = results["cross_entropy"].metrics["class_performance"]["type_metrics"]["digit"]
    row = next(line for line in table.splitlines() if line.startswith("digit recall") and "cross_entropy" in line)
    values = [groups[group]["recall"] for group in ("head", "medium", "tail")]
    assert [float(v) for v in row.split()[-4:]] == pytest.approx([*values, values[0] - values[2]], abs=6e-4)


def test_a_run_started_again_replaces_the_old_one_and_is_exported(results, log_dir, tmp_path):
    run = tmp_path / "runs" / "cross_entropy"
    shutil.copytree(log_dir / run.name, run)
    example.main(
        ["--log-dir", str(run.parent), "--loss", run.name, "--epochs", "1", "--export", str(tmp_path / "exports")]
    )
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert read_run(run).tables[class_table_tag("digit")].steps.tolist() == [0]
    assert list((tmp_path / "exports").rglob("class_performance.json"))


def test_a_run_depends_on_its_seed_alone(tmp_path):
    once, again = (example.train("balanced_softmax", tmp_path / name, epochs=1, seed=3) for name in "ab")
    assert all(torch.equal(once.logits[attribute], again.logits[attribute]) for attribute in once.logits)


def test_balanced_softmax_lifts_the_tail_and_closes_the_gap(results):
    plain, balanced = (results[name].metrics["class_performance"]["type_metrics"] for name in example.LOSSES)
    for attribute, at_least in (("digit", 0.05), ("shape", 0.3)):
        before, after = plain[attribute], balanced[attribute]
        assert after["tail"]["recall"] > before["tail"]["recall"] + at_least
        gaps = [groups["head"]["recall"] - groups["tail"]["recall"] for groups in (before, after)]
        assert gaps[1] < gaps[0] - at_least
