"""The cost of all callbacks of a run, compared with one training step.

    python -m benchmarks.callbacks [--network srtg_r3d_10] [--steps 2000] [--log-every 20]

Prints the time per step of a run's callbacks (log, progress bar, score files and TensorBoard, with a report every
--log-every steps), the median time of a training step, and their ratio.
"""

import io
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console

from common.cli import CommandParser, run_command
from common.logs import log_to_file, start_logging
from evaluate.metrics import Scores
from network import create_network
from train.monitor.callbacks import ConsoleLog, ProgressBar
from train.monitor.reports import Callback, LogReport, Speeds
from train.monitor.score_files import ScoreFiles
from train.monitor.tensorboard import TensorBoardLog
from train.optim import OptimizerOptions, make_optimizer, set_lr

SHAPE = (8, 3, 8, 56, 56)


def callback_seconds(steps: int, log_every: int, folder: Path) -> float:
    """Seconds per step of all callbacks together."""
    console = Console(file=io.StringIO(), force_terminal=True, width=160)
    start_logging(console, is_first_rank=True, debug=False)
    log_to_file(folder / "train.log")
    callbacks: list[Callback] = [ConsoleLog(), ProgressBar(console), ScoreFiles(folder), TensorBoardLog(folder, 0)]
    report = LogReport(
        epoch=1,
        num_epochs=10,
        step=0,
        steps=steps,
        global_step=0,
        scores=Scores(4.0, {"loss": (2.0,), "top1": (1.0,), "top5": (3.0,)}),
        speeds=Speeds(1e5, 1e2, 2e1, 1.5e1, 0.01),
        batch_shape=SHAPE,
        lr=0.1,
        grad_norm=1.0,
        memory_bytes=2**30,
        skipped_updates=0,
        open_gates={f"layer{stage}.{block}": 0.5 for stage in range(1, 5) for block in range(4)},
    )
    started = time.perf_counter()
    for step in range(1, steps + 1):
        for callback in callbacks:
            callback.on_step(step, steps)
            if step % log_every == 0:
                callback.on_log(report)
    seconds = (time.perf_counter() - started) / steps
    for callback in callbacks:
        callback.close()
    return seconds


def step_seconds(name: str, repeats: int = 9) -> float:
    """Median seconds of a training step, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = create_network(name, 8).to(device)
    optimizer = make_optimizer(network, OptimizerOptions())
    set_lr(optimizer, 0.01)
    clips, labels = torch.randn(SHAPE, device=device), torch.randint(0, 8, SHAPE[:1], device=device)
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        F.cross_entropy(network(clips), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.callbacks", description="Cost of all callbacks per step.")
    parser.add_argument("--network", default="srtg_r3d_10", help="network of the training step")
    parser.add_argument("--steps", type=int, default=2000, help="steps to time the callbacks over")
    parser.add_argument("--log-every", type=int, default=20, help="steps between two reports")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        callback_seconds(200, arguments.log_every, Path(folder))  # warm up
        callbacks = statistics.median(
            callback_seconds(arguments.steps, arguments.log_every, Path(folder)) for _ in range(3)
        )
    step = step_seconds(arguments.network)
    print(f"callbacks        {1e6 * callbacks:10.1f} microseconds a step, a report every {arguments.log_every} steps")
    print(f"training step    {1e6 * step:10.1f} microseconds: {arguments.network} on {SHAPE}")
    print(f"callbacks / step {100 * callbacks / step:10.3f} %")
    return 0


if __name__ == "__main__":
    run_command(main)
