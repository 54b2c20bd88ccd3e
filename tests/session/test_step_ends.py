"""Which steps trackers hear of, and that those left out are counted all the same."""

import torch

from tbmetrics import ProfilerTracker, TBMetrics, Tracker


class _Hearing(Tracker):
    name = "hearing"

    def __init__(self):
        self.heard = []

    def after_step(self, step):
        self.heard.append(step)


class _EveryHundredth(_Hearing):
    name = "sparse"

    @property
    def next_step(self):
        return ((self.heard[-1] if self.heard else 0) // 100 + 1) * 100


class _Faulty(_Hearing):
    @property
    def next_step(self):
        raise RuntimeError("does not know")


def _problem():
    model = torch.nn.Linear(2, 2)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def _train(tb, model, optimizer, steps, epochs=1):
    for _ in tb.epochs(range(epochs)):
        for x in tb.batches([torch.zeros(3, 2)] * steps):
            model(x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()


def test_a_tracker_hears_of_every_step_unless_it_says_otherwise(tmp_path):
    model, optimizer = _problem()
    every, sparse = _Hearing(), _EveryHundredth()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, trackers=[every, sparse]) as tb:
        _train(tb, model, optimizer, 30, epochs=2)
    assert every.heard == list(range(1, 61))


def test_where_no_tracker_wants_more_it_hears_of_the_steps_it_asked_for_and_of_the_last(tmp_path):
    model, optimizer = _problem()
    sparse = _EveryHundredth()
    options = {"gradients": False, "resources": False, "profiler": False, "overhead_budget": None}
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, trackers=[sparse], **options) as tb:
        _train(tb, model, optimizer, 333)
    assert {100, 200, 300, 333} <= set(sparse.heard)
    assert len(sparse.heard) < 120  # those, and where learning rates are looked at


def test_steps_that_no_tracker_hears_of_are_counted(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer) as tb:
        _train(tb, model, optimizer, 700, epochs=2)
        assert tb.global_step == 1400
    assert [row["steps"] for row in tb.resources.epoch_data] == [700, 700]
    assert [row["batches"] for row in tb.resources.epoch_data] == [700, 700]


def test_steps_that_a_framework_skips_are_not_counted_as_done(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer) as tb:
        tb.start_epoch(0)
        for number, x in enumerate(tb.batches([torch.zeros(3, 2)] * 300)):
            if number == 150:
                tb.global_step = 5000
            model(x).sum().backward()
            optimizer.step()
        tb.end_epoch()
        assert tb.global_step == 5150
    assert tb.resources.epoch_data[0]["steps"] == 300


def test_the_sampled_steps_are_those_of_the_cadence(tmp_path):
    model, optimizer = _problem()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, overhead_budget=None) as tb:
        tb.gradients._every._clock = tb.gradients._detail_every._clock = lambda: 0.0  # no time passes
        _train(tb, model, optimizer, 300)
    steps = tb.history.scalars["training_dynamics/gradient_norm"].steps.tolist()
    assert steps == [1, 2, 5, 10, 20, 50, 100, 200]


def test_a_profile_begins_at_its_step_however_rarely_the_profiler_is_called(tmp_path):
    model, optimizer = _problem()
    profiler = ProfilerTracker(steps=1, at=(137,))
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, profiler=profiler) as tb:
        _train(tb, model, optimizer, 200)
    assert len(profiler.traces) == 1
    assert tb.history.texts["resource_usage/profiler/top_operators"].steps.tolist() == [139]  # after one that warms up


def test_a_tracker_that_cannot_say_what_it_wants_does_not_stop_training(tmp_path, caplog):
    model, optimizer = _problem()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, trackers=[_Faulty()]) as tb:
        _train(tb, model, optimizer, 20)
    assert any("does not know" in message for message in caplog.messages)
    assert tb.resources.epoch_data[0]["steps"] == 20


def test_a_session_that_goes_on_after_a_step_has_not_taken_it_itself(tmp_path):
    model, optimizer = _problem()
    hearing = _Hearing()
    with TBMetrics(tmp_path, model=model, optimizer=optimizer, trackers=[hearing], initial_step=500) as tb:
        tb.get_metrics()
        tb.state_dict()
        assert hearing.heard == []
        _train(tb, model, optimizer, 3)
    assert hearing.heard == [501, 502, 503]
    assert tb.resources.epoch_data[0]["steps"] == 3


def test_what_counts_samples_is_not_timed_as_loading(tmp_path):
    open_components = []

    def samples(batch):
        open_components.append(tb.resources._timer._depth + 1)
        return len(batch)

    with TBMetrics(tmp_path) as tb:
        for _ in tb.epochs(range(1)):
            for _ in tb.batches([torch.zeros(3, 2)] * 4, samples=samples):
                pass
    assert open_components == [0] * 4
    assert tb.resources.epoch_data[0]["num_samples"] == 12
