"""The speeds that the console shows."""

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


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_wait_counts_unless_a_gpu_computes_even_then(clock, is_busy):
    """Else the share of waiting would send a user to faster disks, though the GPU never lacked a batch."""

    class Event:
        def query(self):
            return not is_busy

    monitor = SpeedMonitor(CPU)
    step(monitor, clock, read=0.5)
    monitor.add_wait(0.25)
    monitor.marks[-1][-1] = Event()
    monitor.add_wait(1.0)
    assert monitor.read_seconds == 0.75 + (not is_busy)


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
