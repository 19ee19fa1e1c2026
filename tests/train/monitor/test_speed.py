"""The speeds that the console shows."""

import time

import pytest
import torch

import train.monitor.speed
from train.monitor.speed import SpeedMonitor

CPU = torch.device("cpu")


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(train.monitor.speed, "time", clock)
    return clock


def step(monitor, clock, clips=8, read=0.5, parts=((2.0, 4.0),)):
    clock.now += read
    monitor.begin_step(read, clips)
    for number, (forward, backward) in enumerate(parts):
        if number:
            monitor.mark()
        clock.now += forward
        monitor.mark()
        clock.now += backward
    monitor.mark()


def test_speeds_are_clips_by_the_time_of_each_part(clock):
    monitor = SpeedMonitor(CPU)
    for _ in range(2):
        step(monitor, clock)
    speeds = monitor.take()
    assert (speeds.read, speeds.forward, speeds.backward) == (16 / 1.0, 16 / 4.0, 16 / 8.0)
    assert speeds.clips == 16 / 13
    assert speeds.wait_share == pytest.approx(1 / 13)


def test_the_parts_of_an_accumulated_batch_add_up(clock):
    monitor = SpeedMonitor(CPU)
    step(monitor, clock, clips=8, parts=((1.0, 3.0), (1.0, 3.0)))
    speeds = monitor.take()
    assert (speeds.forward, speeds.backward) == (8 / 2.0, 8 / 6.0)


class Gpu:
    """A stand-in for a GPU's queue: an event is reached when what was launched before it has been computed."""

    def __init__(self, clock):
        self.clock, self.free_at = clock, clock.now

    def launch(self, seconds):
        self.free_at = max(self.free_at, self.clock.now) + seconds

    def event(gpu, enable_timing):
        class Event:
            def record(self):
                self.at = max(gpu.free_at, gpu.clock.now)

            def synchronize(self):
                gpu.clock.now = max(gpu.clock.now, self.at)

            def elapsed_time(self, later):
                return 1000 * (later.at - self.at)

        return Event()


@pytest.mark.parametrize(("wait", "share"), [(2.0, 0.0), (4.0, 0.0), (5.0, 0.2), (16.0, 0.75)])
@pytest.mark.parametrize("is_ahead", [True, False], ids=["after a step", "before the next"])
def test_the_gpu_waits_only_while_it_has_nothing_to_compute(wait, share, is_ahead, clock, monkeypatch):
    """The host waits from the launch on: that share would send a user to twice the cores that are needed."""
    gpu = Gpu(clock)
    monkeypatch.setattr(torch.cuda, "Event", gpu.event)
    monitor = SpeedMonitor(torch.device("cuda"))
    for number in range(100):
        monitor.begin_step(wait if number and not is_ahead else 0.0, 8)
        gpu.launch(1.0)
        monitor.mark()
        gpu.launch(3.0)
        monitor.mark()
        clock.now += wait
        if is_ahead:
            monitor.add_wait(wait)
    speeds = monitor.take()
    assert speeds.wait_share == pytest.approx(share, abs=0.01)
    assert speeds.backward == pytest.approx(8 / 3)


def test_each_report_is_of_the_steps_since_the_last(clock):
    monitor = SpeedMonitor(CPU)
    step(monitor, clock)
    monitor.take()
    step(monitor, clock, clips=4, read=1.0, parts=((1.0, 2.0),))
    speeds = monitor.take()
    assert (speeds.read, speeds.forward, speeds.backward, speeds.clips) == (4.0, 4.0, 2.0, 1.0)


def test_time_between_epochs_does_not_count(clock):
    """Validation takes minutes: if it counted, the first report of every epoch would show a machine that starves."""
    monitor = SpeedMonitor(CPU)
    clock.now += 1000
    monitor.restart()
    step(monitor, clock)
    assert monitor.take().clips == 8 / 6.5


def test_a_report_without_steps_is_zero_not_an_error(clock):
    speeds = SpeedMonitor(CPU).take()
    assert (speeds.read, speeds.forward, speeds.clips, speeds.wait_share) == (0, 0, 0, 0)


@pytest.mark.gpu
def test_on_a_gpu_the_passes_are_timed_without_waiting_for_them():
    device = torch.device("cuda")
    matrix = torch.randn(2000, 2000, device=device)
    matrix @ matrix  # loads a library
    monitor = SpeedMonitor(device)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        monitor.begin_step(0.1, 8)
        for _ in range(20):
            matrix = matrix @ matrix * 1e-3
        monitor.mark()
        for _ in range(60):
            matrix = matrix @ matrix * 1e-3
        monitor.mark()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    speeds = monitor.take()
    assert 1.5 < speeds.forward / speeds.backward < 6


@pytest.mark.gpu
def test_on_a_gpu_a_wait_counts_from_when_it_has_nothing_to_compute():
    """The real events; a step that computes longer than the host waits is not delayed."""
    monitor = SpeedMonitor(torch.device("cuda"))
    cycles = int(1e8)
    torch.cuda._sleep(cycles)
    torch.cuda.synchronize()
    shares = []
    for wait in (0.0, 0.5):
        monitor.restart()
        for _ in range(2):
            monitor.begin_step(0.0, 8)
            torch.cuda._sleep(cycles)
            monitor.mark()
            time.sleep(wait)
            monitor.add_wait(max(wait, 0.01))
        speeds = monitor.take()
        shares.append(speeds.wait_share)
    assert shares[0] < 0.02
    assert shares[1] == pytest.approx(1 - 16 / speeds.forward, abs=0.03)  # of a second in all
