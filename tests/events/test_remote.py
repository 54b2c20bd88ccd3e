"""Remote log directories: fsspec's memory, an S3 server on the loopback, and stores that fail."""

import json
import logging

import fsspec
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from tbmetrics import ClassGroups, InputError, MetricsManager, ProfilerTracker, TBMetrics, read_logdir, read_run
from tbmetrics.cli import main
from tbmetrics.events import background, places, remote
from tbmetrics.events.writer import EventWriter
from tbmetrics.records import Image, Scalar
from tests.events.test_writer import wait_until

pytestmark = pytest.mark.slow

GROUPS = ClassGroups.from_counts({"digit": [900, 50, 3]})


@pytest.fixture
def memory():
    store = fsspec.filesystem("memory")
    yield store
    store.rm("/", recursive=True)


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket on an S3 server of its own."""
    boto3 = pytest.importorskip("boto3")
    server_of = pytest.importorskip("moto.server").ThreadedMotoServer
    with pytest.MonkeyPatch.context() as patch:
        server = server_of(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.delenv("AWS_PROFILE", raising=False)
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="runs")
        yield "s3://runs/logs"  # TensorBoard wants a folder below the bucket
        server.stop()


def _multiplexer(url):
    multiplexer = EventMultiplexer(size_guidance={"scalars": 0, "tensors": 0}).AddRunsFromDirectory(url)
    multiplexer.Reload()
    return multiplexer


def _session(url, epochs=range(2), **options):
    with TBMetrics(url, classes=GROUPS, **options) as tb:
        for epoch in tb.epochs(epochs):
            for batch in tb.batches([torch.zeros(4, 2)] * 3):
                tb.log_scalar("loss", float(len(batch)) / (tb.global_step + 1))
            tb.update(torch.eye(3), torch.tensor([0, 1, (2 + epoch) % 3]))
    return tb


def _check_session(root, name):
    url = f"{root}/{name}"
    tb = _session(url)
    history = read_run(url)
    assert history.problems == []
    assert history.scalars.keys() == tb.history.scalars.keys()
    for tag, series in tb.history.scalars.items():
        np.testing.assert_array_equal(history.scalars[tag].steps, series.steps)
        np.testing.assert_allclose(history.scalars[tag].values, series.values, rtol=1e-6)
    assert history.tables["longtail/digit"].steps.tolist() == [0, 1]
    shown = _multiplexer(root)
    assert name in shown.Runs()
    steps = [event.step for event in shown.Tensors(name, "longtail/digit")]
    assert steps == [0, 1]
    assert [event.step for event in shown.Scalars(name, "loss")] == list(range(6))


def test_a_session_in_memory_is_read_back_by_us_and_by_tensorboard(memory):
    _check_session("memory://logs", "focal")


def test_a_session_in_s3_is_read_back_by_us_and_by_tensorboard(bucket):
    _check_session(bucket, "focal")


def test_a_resumed_run_goes_on_and_supersedes(bucket):
    url = f"{bucket}/resumed"
    _session(url, range(3))
    again = _session(url, range(1, 3))
    assert again.global_step == 9
    history = read_run(url)
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [3, 6, 9]
    assert history.tables["longtail/digit"].steps.tolist() == [0, 1, 2]


def test_every_run_below_is_found_and_what_has_not_grown_is_not_fetched_again(bucket, monkeypatch):
    for run in ("all/a", "all/b/c"):
        _session(f"{bucket}/{run}")
    assert set(read_logdir(f"{bucket}/all/")) == {"a", "b/c"}
    read = []
    whole = remote.gfile.GFile
    monkeypatch.setattr(remote.gfile, "GFile", lambda *args: read.append(args[0]) or whole(*args))
    assert set(read_logdir(f"{bucket}/all")) == {"a", "b/c"}
    assert read == []
    _session(f"{bucket}/all/a", range(2, 3))
    read.clear()  # the session has read where to go on
    assert len(read_logdir(f"{bucket}/all")["a"].tables["longtail/digit"]) == 3
    assert [url.rpartition("/")[0] for url in read] == [f"{bucket}/all/a"]


def test_what_was_deleted_is_not_read_from_the_copy(memory):
    _session("memory://logs/a")
    _session("memory://logs/b")
    assert set(read_logdir("memory://logs")) == {"a", "b"}
    memory.rm("/logs/b", recursive=True)
    assert set(read_logdir("memory://logs")) == {"a"}


def test_names_that_lead_out_of_the_copy_are_left_out(memory, tmp_path, caplog, monkeypatch):
    _session("memory://logs/good", range(1))
    whole = remote._below(remote.file_system("memory://logs"), "memory://logs")
    (content,) = (memory.cat(f"/logs/{name}") for name in whole)
    escapes = [f"{'../' * n}{tmp_path.name}/events.out.tfevents.1" for n in range(1, 9)]
    escapes += ["/tfevents.1", "a//tfevents.2", "a/./tfevents.3", "a/../tfevents.4", "a\0/tfevents.5"]
    escapes += [f"{'x' * 250}/tfevents.6", f"tfevents.{'7' * 250}"]
    listed = [*whole, *escapes]
    monkeypatch.setattr(remote, "_below", lambda files, url: listed)
    monkeypatch.setattr(remote, "_copies", lambda: tmp_path / "copies")
    memory.pipe({f"/logs/{name}": content for name in escapes})
    with caplog.at_level(logging.WARNING, logger="tbmetrics"):
        assert set(read_logdir("memory://logs")) == {"good"}
    assert f"{len(escapes)} objects are left out" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"copies"}
    listed[:] = escapes
    with pytest.raises(InputError, match="holds no event files"):
        read_logdir("memory://logs")


def test_the_command_line_takes_urls(memory, tmp_path, capsys):
    _session("memory://logs/a")
    _session("memory://logs/b")
    assert main(["export", "memory://logs", "--out", str(tmp_path), "--formats", "json"]) == 0
    assert set(json.loads((tmp_path / "all_metrics.json").read_text())["runs"]) == {"a", "b"}
    assert main(["compare", "a", "b", "--logdir", "memory://logs"]) == 0
    assert main(["compare", "memory://logs/a", "memory://logs/b"]) == 0
    assert main(["compare", "memory://logs/a", "memory://logs/none"]) == 2
    assert "'memory://logs/none' holds no event files" in capsys.readouterr().err


def test_objects_are_bounded_and_their_names_sort_in_time(memory, monkeypatch):
    monkeypatch.setattr(remote, "MOST_OBJECT_BYTES", 3000)
    written = []
    put = remote.RemoteEventFile._put
    monkeypatch.setattr(remote.RemoteEventFile, "_put", lambda f, c: written.append((f.path, len(c))) or put(f, c))
    writer = EventWriter("memory://logs/rolled", flush_secs=0.01)
    for step in range(200):
        writer.write([Scalar("loss", float(step))], step=step)
        if step % 10 == 0:
            writer.flush()
    writer.close()
    names = list(dict.fromkeys(path for path, _ in written))
    assert len(names) > 2
    assert names == sorted(names)
    assert max(size for _, size in written) <= 3000
    assert read_run("memory://logs/rolled").scalars["loss"].values.tolist() == list(range(200))
    shown = _multiplexer("memory://logs").Scalars("rolled", "loss")
    assert [event.value for event in shown] == list(range(200))


@pytest.fixture
def long_pause(monkeypatch):
    """Events are written when something asks for it, not because time has passed."""
    monkeypatch.setattr(background, "REMOTE_PAUSE_SECONDS", 3600)


def test_events_gather_until_it_is_time(memory, monkeypatch, long_pause):
    puts = []
    put = remote.RemoteEventFile._put
    monkeypatch.setattr(remote.RemoteEventFile, "_put", lambda f, c: puts.append(len(c)) or put(f, c))
    writer = EventWriter("memory://logs/gathered", flush_secs=3600)
    for step in range(1000):
        writer.write([Scalar("loss", float(step))], step=step)
    writer.flush()
    assert len(puts) <= 3  # the first record, and what was waiting; never one a batch of events
    writer.close()
    assert len(read_run("memory://logs/gathered").scalars["loss"]) == 1000


def test_half_a_queue_does_not_wait(memory, long_pause):
    writer = EventWriter("memory://logs/pictures", flush_secs=3600, max_queue_bytes=100_000)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for step in range(8):
        writer.write([Image("picture", pixels)], step=step)
        wait_until(writer, lambda: not writer._background._queue.is_half_full())
    writer.close()
    history = read_run("memory://logs/pictures")
    assert history.images["picture"].steps.tolist() == list(range(8))
    assert "tbmetrics/dropped_records" not in history.scalars


@pytest.fixture
def fast_retries(monkeypatch):
    monkeypatch.setattr(background, "_FIRST_RETRY_SECONDS", 0.01)


def test_a_store_that_fails_for_a_while_loses_nothing(memory, monkeypatch, caplog, fast_retries):
    writer = EventWriter("memory://logs/flaky", flush_secs=0.01)
    failures = iter([ConnectionResetError("reset"), RuntimeError("SlowDown: reduce your request rate"), None])
    write = writer._background._file._files.write

    def flaky(*args):
        if (error := next(failures, None)) is not None:
            raise error
        return write(*args)

    monkeypatch.setattr(writer._background._file._files, "write", flaky)
    with caplog.at_level(logging.WARNING, "tbmetrics"):
        for step in range(10):
            writer.write([Scalar("loss", float(step))], step=step)
        wait_until(writer, lambda: writer._background._events_done == 10)
        writer.close()
    messages = [record.message for record in caplog.records]
    assert sum("cannot write to memory://logs/flaky" in message for message in messages) == 1
    assert sum("works again" in message for message in messages) == 1
    assert read_run("memory://logs/flaky").scalars["loss"].values.tolist() == list(range(10))


def test_a_store_that_refuses_is_the_callers_mistake_and_says_so(bucket):
    with pytest.raises(InputError, match=r"'s3://no-such-bucket/run' cannot be written \(NoSuchBucket.*credentials"):
        TBMetrics("s3://no-such-bucket/run").start()
    with pytest.raises(InputError, match="'s3://no-such-bucket/run' cannot be read"):
        read_run("s3://no-such-bucket/run")


def test_an_unknown_scheme_names_what_to_install(monkeypatch):
    with pytest.raises(InputError, match="nothing installed reads and writes nowhere://"):
        TBMetrics("nowhere://bucket/run").start()

    def missing(url):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(remote.gfile, "get_filesystem", missing)
    with pytest.raises(InputError, match=r"pip install 'tbmetrics\[gs\]'"):
        TBMetrics("gs://bucket/run").start()


def test_a_url_that_went_through_pathlib_is_refused(tmp_path):
    from pathlib import PurePosixPath

    with pytest.raises(InputError, match="give it as a string"):
        TBMetrics(PurePosixPath("s3://bucket/run"))


def test_a_file_url_is_a_directory_of_this_machine(tmp_path):
    tb = _session(f"file://{tmp_path}/run")
    assert tb.log_dir == f"{tmp_path}/run"
    assert len(list((tmp_path / "run").iterdir())) == 1
    assert len(read_run(f"file://{tmp_path}/run").tables["longtail/digit"]) == 2


def test_what_needs_a_directory_of_this_machine_says_so(memory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="only log_dir may be remote"):
        MetricsManager(label_to_idx_dict={"x": {"a": 0, "b": 1}}, save_dir="memory://out")
    with pytest.raises(InputError, match="traces need a folder of this machine"):
        TBMetrics("memory://logs/run", profiler=True)
    tb = TBMetrics("memory://logs/run")
    with pytest.raises(InputError, match=r"give profiler=ProfilerTracker\('traces'\)"):
        tb.profile()
    tb.finalize()
    tb = TBMetrics("memory://logs/run", profiler=ProfilerTracker(tmp_path / "traces"))
    assert tb.profiler is not None
    assert list(tmp_path.iterdir()) == []


def test_names_tell_our_files_from_those_of_others(tmp_path):
    _session(tmp_path)
    assert not places.holds_events_of_others(str(tmp_path))
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        writer.add_scalar("theirs", 1.0, 0)
    assert places.holds_events_of_others(str(tmp_path))


def test_beside_another_writer_a_resumed_run_supersedes_nothing_of_it(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        for step in range(20):
            writer.add_scalar("theirs", float(step), step)
    _session(tmp_path)
    _session(tmp_path, range(1, 2))
    assert [event.step for event in _multiplexer(str(tmp_path)).Scalars(".", "theirs")] == list(range(20))
    history = read_run(tmp_path)
    assert history.scalars["theirs"].steps.tolist() == list(range(20))
    assert history.scalars["tbmetrics/optimizer_step"].values.tolist() == [3, 6]
