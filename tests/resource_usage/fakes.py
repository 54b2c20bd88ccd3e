"""Stands for clocks and for what CUDA and NVML give, so that their paths run without a GPU."""


class Clock:
    """Nanoseconds that pass when told."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def pass_ms(self, milliseconds):
        self.now += int(milliseconds * 1_000_000)


class FakeEvent:
    """A CUDA event on the stream of `FakeCuda`."""

    def __init__(self, cuda):
        self.cuda = cuda
        self.at = None

    def record(self, stream):
        assert stream == self.cuda.stream
        self.at = max(self.cuda.work_done_at, self.cuda.clock.now)

    def query(self):
        return self.cuda.clock.now >= self.at

    def synchronize(self):
        self.cuda.waited += 1
        self.cuda.clock.now = max(self.cuda.clock.now, self.at)

    def elapsed_time(self, other):
        return (other.at - self.at) / 1e6


class FakeCuda:
    """`torch.cuda` with one device whose work is queued by `launch` and takes time on its own clock."""

    stream = "stream 0"

    def __init__(self, clock):
        self.clock = clock
        self.work_done_at = 0
        self.waited = 0
        self.capturing = False
        self.allocated = self.peak = 0
        self.reserved = 1000
        self.split = 100
        self.events = 0

    def launch(self, milliseconds):
        self.work_done_at = max(self.work_done_at, self.clock.now) + int(milliseconds * 1e6)

    def Event(self, *, enable_timing):
        assert enable_timing
        self.events += 1
        return FakeEvent(self)

    def current_stream(self, device):
        return self.stream

    def is_current_stream_capturing(self):
        return self.capturing

    def allocate(self, number):
        self.allocated += number
        self.peak = max(self.peak, self.allocated)

    def memory_stats(self, device):
        return {
            "allocated_bytes.all.current": self.allocated,
            "allocated_bytes.all.peak": self.peak,
            "reserved_bytes.all.current": self.reserved,
            "inactive_split_bytes.all.current": self.split,
            "num_alloc_retries": 3,
            "num_ooms": 1,
        }

    def max_memory_allocated(self, device):
        return self.peak

    def reset_peak_memory_stats(self, device):
        self.peak = self.allocated

    def memory_reserved(self, device):
        return self.reserved

    def mem_get_info(self, device):
        return 5000, 9000
