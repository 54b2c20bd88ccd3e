"""Sums over training batches against float64 numpy and autograd; nothing waits, nothing grows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tbmetrics import InputError
from tbmetrics.class_performance import small_batches
from tbmetrics.class_performance.diagnostics.training_signal import TrainingSignal
from tbmetrics.class_performance.small_batches import SMALL_BYTES

CLASSES = 5


def _call(action, *args):
    return action(*args)


def _batches(seed=0, n=3, size=16):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n):
        yield torch.randn(size, CLASSES, generator=generator) * 2, torch.randint(0, 4, (size,), generator=generator)


def _expected(pairs, gradients, losses):
    """Columns in float64, class by class; the last class has no sample."""
    labels = np.concatenate([y.numpy() for _, y in pairs])
    logits = np.concatenate([x.double().numpy() for x, _ in pairs])
    gradients = np.abs(np.concatenate([g.double().numpy() for g in gradients]))
    losses = np.concatenate([v.double().numpy() for v in losses])
    columns = {name: np.full(CLASSES, np.nan) for name in ("loss", "accuracy", "ratio")}
    for c in range(CLASSES):
        is_own = labels == c
        columns["ratio"][c] = gradients[is_own, c].sum() / gradients[~is_own, c].sum()
        if is_own.any():
            columns["loss"][c], columns["accuracy"][c] = losses[is_own].mean(), (logits[is_own].argmax(1) == c).mean()
    return columns, np.bincount(labels, minlength=CLASSES)


@pytest.mark.parametrize("has_loss", [False, True])
def test_the_gradient_that_reaches_the_logits_is_counted_whatever_the_loss(has_loss):
    signal, pairs = TrainingSignal("x", CLASSES), list(_batches())
    prior = torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0])
    gradients, losses = [], []
    for logits, labels in pairs:
        leaf = logits.clone().requires_grad_()
        used = leaf * 1.0
        each = F.cross_entropy(used + prior, labels, reduction="none")  # a balanced softmax
        signal.add(used, labels, each if has_loss else None, _call)
        each.mean().backward()
        gradients.append(leaf.grad)
        losses.append(each.detach() if has_loss else F.cross_entropy(logits, labels, reduction="none"))
    expected, support = _expected(pairs, gradients, losses)
    columns = signal.columns()
    np.testing.assert_allclose(columns["gradient_ratio"], expected["ratio"], rtol=1e-5)
    np.testing.assert_allclose(columns["training_loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(columns["training_accuracy"], expected["accuracy"])
    np.testing.assert_array_equal(columns["samples_seen"], support)
    assert signal.gradients == "measured"


def test_detached_logits_count_the_gradient_of_cross_entropy():
    signal, pairs = TrainingSignal("x", CLASSES), list(_batches())
    gradients = []
    for logits, labels in pairs:
        signal.add(logits, labels, None, _call)
        leaf = logits.clone().requires_grad_()
        F.cross_entropy(leaf, labels, reduction="sum").backward()
        gradients.append(leaf.grad)
    losses = [F.cross_entropy(x, y, reduction="none") for x, y in pairs]
    expected, _ = _expected(pairs, gradients, losses)
    np.testing.assert_allclose(signal.columns()["gradient_ratio"], expected["ratio"], rtol=1e-5)
    assert signal.gradients == "of cross-entropy"


@pytest.mark.parametrize("attached", [False, True])
def test_multi_label_counts_positives_and_leaves_unknown_labels_out(attached):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, CLASSES, generator=generator)
    labels = (torch.rand(30, CLASSES, generator=generator) < 0.3).long()
    labels[:, 4] = 0
    labels[:5, 1] = -1
    signal = TrainingSignal("x", CLASSES)
    leaf = logits.clone().requires_grad_()
    used = leaf * 1.0
    signal.add(used if attached else logits, labels, None, _call)
    each = F.binary_cross_entropy_with_logits(used, labels.clamp(min=0).float(), reduction="none")
    (each * (labels >= 0)).sum().backward()
    size, positive = leaf.grad.double().abs().numpy(), labels.numpy() > 0
    columns = signal.columns()
    expected = (size * positive).sum(0) / (size * ~positive).sum(0)
    np.testing.assert_allclose(columns["gradient_ratio"], expected, rtol=1e-5)
    np.testing.assert_array_equal(columns["samples_seen"], positive.sum(0))
    with np.errstate(invalid="ignore"):
        loss = (F.softplus(-logits.double()).numpy() * positive).sum(0) / positive.sum(0)
        accuracy = ((logits.numpy() > 0) & positive).sum(0) / positive.sum(0)
    np.testing.assert_allclose(columns["training_loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(columns["training_accuracy"], accuracy)
    assert signal.rows_seen == 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("attached", [True, False])
def test_soft_targets_count_by_their_share(attached, dtype):
    signal, pairs = TrainingSignal("x", CLASSES), list(_batches(n=4))
    targets = []
    for number, (logits, labels) in enumerate(pairs):
        hot = F.one_hot(labels, CLASSES).double()
        soft = 0.9 * hot + 0.1 / CLASSES if number % 2 else 0.7 * hot + 0.3 * hot.flip(0)  # label smoothing, mixup
        targets.append(soft.to(dtype))
        used = logits.clone().requires_grad_(attached) * 1.0
        signal.add(used, targets[-1], None, _call)
        if attached:
            F.cross_entropy(used, soft.float(), reduction="sum").backward()
    z = np.concatenate([x.double().numpy() for x, _ in pairs])
    t = np.concatenate([soft.double().numpy() for soft in targets])
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    gradient = np.abs(np.exp(log_p) - t)
    columns, tolerance = signal.columns(), {"rtol": 1e-5 if dtype is torch.float32 else 2e-3}
    np.testing.assert_allclose(columns["samples_seen"], t.sum(0), **tolerance)
    expected_ratio = (t * gradient).sum(0) / ((1 - t) * gradient).sum(0)
    np.testing.assert_allclose(columns["gradient_ratio"], expected_ratio, **tolerance)
    losses = -(t * log_p).sum(1, keepdims=True)
    np.testing.assert_allclose(columns["training_loss"], (t * losses).sum(0) / t.sum(0), **tolerance)
    is_right = z.argmax(1)[:, None] == np.arange(CLASSES)
    np.testing.assert_allclose(columns["training_accuracy"], (t * is_right).sum(0) / t.sum(0), **tolerance)


def test_soft_multi_label_targets_stay_multi_label():
    signal = TrainingSignal("x", 3)
    logits, targets = torch.tensor([[2.0, 1.0, -3.0]]), torch.tensor([[0.9, 0.6, 0.0]])
    signal.add(logits, targets, None, _call)
    columns = signal.columns()
    np.testing.assert_allclose(columns["samples_seen"], [0.9, 0.6, 0], rtol=1e-6)
    np.testing.assert_allclose(columns["training_accuracy"], [1, 1, np.nan])
    np.testing.assert_allclose(columns["training_loss"][:2], np.log1p(np.exp([-2, -1])), rtol=1e-6)


def _columns_of(targets, decision=None, attached=False):
    """Columns after the batches with these targets, the decision known or not."""
    signal = TrainingSignal("x", CLASSES)
    signal.decision = decision
    for (logits, _), truth in zip(_batches(n=len(targets)), targets, strict=True):
        used = logits.clone().requires_grad_(attached) * 1.0
        signal.add(used, truth, None, _call)
        if attached:
            F.cross_entropy(used, truth.float()).backward()
    return signal


@pytest.mark.parametrize("attached", [True, False])
def test_multi_hot_labels_count_the_same_to_the_bit_whatever_their_type_and_what_is_known(attached):
    generator = torch.Generator().manual_seed(1)
    hot = [(torch.rand(16, CLASSES, generator=generator) < 0.3).long() for _ in range(3)]
    expected = _columns_of(hot, attached=attached).columns()
    for targets in (hot, [y.bool() for y in hot], [y.half() for y in hot], [y.double() for y in hot]):
        for decision in (None, "multi_label"):
            for name, values in _columns_of(targets, decision, attached).columns().items():
                np.testing.assert_array_equal(values, expected[name], err_msg=name)


def test_a_matrix_for_a_single_label_attribute_is_its_class_indices_if_each_row_is_one_class():
    labels = [y for _, y in _batches()]
    expected = _columns_of(labels).columns()
    for kind in (torch.float32, torch.long):
        one_hot = [F.one_hot(y, CLASSES).to(kind) for y in labels]
        for name, values in _columns_of(one_hot, "single_label").columns().items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-6, err_msg=name)
        mixed = _columns_of([labels[0], *one_hot[1:]])  # class indices settle it, too
        np.testing.assert_allclose(mixed.columns()["training_loss"], expected["training_loss"], rtol=1e-6)


def test_soft_rows_of_a_multi_label_attribute_may_sum_to_one():
    targets = [torch.full((16, CLASSES), 1 / CLASSES)]
    (logits, _), *_ = _batches(n=1)
    columns = _columns_of(targets, "multi_label").columns()
    np.testing.assert_allclose(columns["training_loss"], F.softplus(-logits.double()).mean(0), rtol=1e-5)
    assert not np.allclose(columns["training_loss"], _columns_of(targets).columns()["training_loss"])


def test_multi_hot_targets_without_fractions_count_as_multi_label_before_that_is_known():
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, CLASSES, generator=generator), (torch.rand(8, CLASSES, generator=generator) < 0.3).float())
        for _ in range(20)
    ]
    signals = [TrainingSignal("x", CLASSES), TrainingSignal("x", CLASSES)]
    signals[1].decision = "multi_label"
    for logits, labels in batches:
        for signal in signals:
            signal.add(logits, labels, None, _call)
    unknown, known = (signal.columns() for signal in signals)
    for name, values in known.items():
        np.testing.assert_array_equal(unknown[name], values, err_msg=name)


def test_a_hard_batch_among_soft_ones_is_soft():
    """Mixup leaves a batch out now and then; once fractions were seen, the matrix is one of shares."""
    (_, first), (_, second) = _batches(n=2)
    hot = [F.one_hot(y, CLASSES).float() for y in (first, second)]
    soft = [0.9 * hot[0] + 0.1 / CLASSES, hot[1]]
    known, told = (_columns_of(soft, decision).columns() for decision in ("single_label", None))
    for name, values in known.items():
        np.testing.assert_array_equal(told[name], values, err_msg=name)


def test_rows_that_are_no_shares_are_counted():
    hot = [F.one_hot(y, CLASSES).float() for _, y in _batches()]
    assert _columns_of(hot, "single_label").odd_rows == 0
    hot[1][:3] *= 2
    hot[1][3] = -1  # unknown: no share of anything
    signal = _columns_of(hot, "single_label")
    assert signal.odd_rows == 3
    signal.reset()
    assert signal.odd_rows == 0


def test_unknown_and_impossible_labels_count_for_nothing():
    logits, labels = next(_batches())
    clean, odd = TrainingSignal("x", CLASSES), TrainingSignal("x", CLASSES)
    known = torch.arange(16) % 3 > 0
    clean.add(logits[known], labels[known], None, _call)
    odd.add(logits, torch.where(known, labels, torch.tensor([-1, 99, 5] * 6)[:16]), None, _call)
    for name, values in clean.columns().items():
        np.testing.assert_allclose(odd.columns()[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("multi", [False, True])
def test_gradients_in_double_precision_are_counted(multi):
    columns = []
    for dtype in (torch.float32, torch.float64):
        signal, (logits, labels) = TrainingSignal("x", CLASSES), next(_batches())
        used = logits.to(dtype).requires_grad_() * 1.0
        signal.add(used, F.one_hot(labels, CLASSES) if multi else labels, None, _call)
        F.cross_entropy(used, labels).backward()
        columns.append(signal.columns()["gradient_ratio"])
    np.testing.assert_allclose(columns[0], columns[1], rtol=1e-5)


def test_an_overflowed_gradient_is_not_counted():
    signal, clean = TrainingSignal("x", CLASSES), TrainingSignal("x", CLASSES)
    for number, (logits, labels) in enumerate(_batches()):
        leaf = logits.clone().requires_grad_()
        used = leaf * 1.0
        signal.add(used, labels, None, _call)
        F.cross_entropy(used, labels).mul(float("inf") if number == 1 else 1.0).backward()
        if number != 1:
            other = logits.clone().requires_grad_()
            again = other * 1.0
            clean.add(again, labels, None, _call)
            F.cross_entropy(again, labels).backward()
    np.testing.assert_allclose(signal.columns()["gradient_ratio"], clean.columns()["gradient_ratio"], rtol=1e-6)


def test_samples_are_counted_on_and_the_rest_begins_anew():
    signal = TrainingSignal("x", CLASSES)
    batches = list(_batches(n=2))
    for logits, labels in batches:
        signal.add(logits, labels, None, _call)
        last = signal.columns()
        signal.reset()
    assert signal.columns() == {}
    assert signal.samples_seen.sum() == signal.rows_seen == 32
    only = TrainingSignal("x", CLASSES)
    only.add(*batches[1], None, _call)
    np.testing.assert_allclose(last["training_loss"], only.columns()["training_loss"])


def test_a_gradient_that_comes_after_the_validation_is_let_go():
    signal = TrainingSignal("x", CLASSES)
    logits, labels = next(_batches())
    leaf = logits.requires_grad_()
    used = leaf * 1.0
    signal.add(used, labels, None, _call)
    signal.reset()
    F.cross_entropy(used, labels).backward()
    assert signal.columns() == {}
    assert leaf.grad is not None


def test_observing_reads_no_value_back(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a value was read back on the step path")

    signal = TrainingSignal("x", CLASSES)
    logits, labels = next(_batches())
    used = logits.requires_grad_() * 1.0
    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "nonzero"):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    signal.add(used, labels, None, _call)
    signal.add(used.detach(), labels, None, _call)
    soft = TrainingSignal("x", CLASSES)
    for decision in (None, "single_label"):
        soft.decision = decision
        soft.add(used.detach(), torch.full_like(logits, 1 / CLASSES), None, _call)
    F.cross_entropy(used, labels).backward()
    monkeypatch.undo()
    assert signal.columns()["training_accuracy"].shape == (CLASSES,)


def test_observing_leaves_inputs_gradients_and_random_state_alone():
    logits, labels = next(_batches())
    gradients = []
    for observed in (False, True):
        leaf = logits.clone().requires_grad_()
        used = leaf * 1.0
        state = torch.get_rng_state()
        if observed:
            TrainingSignal("x", CLASSES).add(used, labels, None, _call)
        assert torch.equal(torch.get_rng_state(), state)
        F.cross_entropy(used, labels).backward()
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("logits", "labels", "loss", "message"),
    [
        (
            torch.zeros(4, 3),
            torch.zeros(4).long(),
            None,
            r"floats of shape \(N, 5\), got torch.float32 of shape \(4, 3",
        ),
        (torch.zeros(4, 5).long(), torch.zeros(4).long(), None, r"got torch.int64"),
        (torch.zeros(4, 5), torch.zeros(3).long(), None, r"class indices \(4,\)"),
        (torch.zeros(4, 5), [0, 0, 0, 0], None, "labels must be a tensor, got list"),
        (torch.zeros(4, 5), torch.zeros(4).long(), torch.zeros(()), r"reduction='none'\), got \(\)"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, loss, message):
    with pytest.raises(InputError, match=message):
        TrainingSignal("x", CLASSES).add(logits, labels, loss, _call)


@pytest.mark.parametrize("multi", [False, True])
def test_buffered_batches_count_as_each_alone_and_may_be_changed_meanwhile(monkeypatch, multi):
    def columns(small_bytes):
        monkeypatch.setattr(small_batches, "SMALL_BYTES", small_bytes)
        signal = TrainingSignal("x", CLASSES)
        for number, (logits, labels) in enumerate(_batches(n=37)):
            size = 16 if number % 5 else 9
            leaf = logits[:size].clone().requires_grad_()
            used, truth = leaf * 1.0, labels[:size].clone()
            if multi:
                truth = F.one_hot(truth, CLASSES)
            signal.add(used, truth, None, _call)
            criterion = F.binary_cross_entropy_with_logits if multi else F.cross_entropy
            criterion(used, truth.float() if multi else truth).mul(float("nan") if number == 20 else 1.0).backward()
            if small_bytes:
                with torch.no_grad():
                    used.zero_()
                    truth.zero_()
                    leaf.grad.zero_()
        return signal.columns()

    together, alone = columns(SMALL_BYTES), columns(0)
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, rtol=1e-5, err_msg=name)
