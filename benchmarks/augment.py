"""The cost of augmentation, compared to normalisation alone, to a training step, and to OpenCV frame by frame.

    python -m benchmarks.augment [--device cpu|cuda] [--clips 32] [--repeats 5] [--draws 200] [--step srtg_r3d_34]

Prints the time for a clip of 16x224x224: normalised only; with each kind of augmentation alone; with random parameters
as in training (mean, median and worst); with those of RandAugment 2x9; both without kernels, on a GPU; and with numpy
and OpenCV. Then prints the percentage of a training step. On the CPU it uses one core and one clip at a time, and
counts that core's CPU time. On a GPU it uses batches of --clips, and the training step is in bf16.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from rich import box
from rich.table import Table
from torch import Tensor

from common.cli import CommandParser, positive_integer, run_command
from common.kernels.switch import use_kernels
from common.logs import make_console
from data.augment.augment import Augment
from data.augment.normalise import MEAN, SCALE, Normalise
from data.augment.ops import LUMA, blur_kernels, homographies
from data.augment.params import KINDS, identity_params, named_params, random_params, random_params_of_kind
from data.augment.randaugment import RandAugment, randaugment_params
from network import create_network
from train.optim import OptimizerOptions, make_optimizer, set_lr

FRAMES, SIDE = 16, 224
RANDAUGMENT = RandAugment(2, 9)


def make_clips(number: int) -> Tensor:
    """Clips (number, 3, T, h, w) as workers return them: uint8, channels last in memory."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (number * FRAMES, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    frames = np.stack([cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for picture in coarse])
    return torch.from_numpy(frames).view(number, FRAMES, SIDE, SIDE, 3).permute(0, 4, 1, 2, 3)


def by_opencv(clip: np.ndarray, params: np.ndarray) -> np.ndarray:
    """Augment a clip (T, h, w, 3) the usual way, frame by frame in uint8: float32 (3, T, h, w)."""
    (fields,) = named_params(params[None])
    return np.ascontiguousarray(np.stack([_frame_by_opencv(frame, fields) for frame in clip]).transpose(3, 0, 1, 2))


def _frame_by_opencv(frame: np.ndarray, fields: np.void) -> np.ndarray:
    height, width = frame.shape[:2]
    if fields["rotation"] or fields["corner_shifts"].any():
        (matrix,) = homographies(fields["rotation"][None], fields["corner_shifts"][None], height, width)
        to_pixels = np.array([[width / 2, 0, width / 2 - 0.5], [0, height / 2, height / 2 - 0.5], [0, 0, 1]])
        matrix = to_pixels @ matrix @ np.linalg.inv(to_pixels)
        frame = cv2.warpPerspective(frame, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    if fields["blur_sigma"]:
        frame = cv2.GaussianBlur(frame, (5, 5), float(fields["blur_sigma"]))
    if fields["motion_kernel"]:
        (kernel,) = blur_kernels(np.zeros(1), fields["motion_kernel"][None], fields["motion_angle"][None])
        frame = cv2.filter2D(frame, -1, kernel)
    if fields["hue"] or fields["saturation"]:
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).astype(np.int16)
        hsv[..., 0] = (hsv[..., 0] + round(float(fields["hue"]) * 180 / 255)) % 180
        hsv[..., 1] = (hsv[..., 1] + round(float(fields["saturation"]))).clip(0, 255)
        frame = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    if fields["add"].any():
        frame = (frame + fields["add"]).clip(0, 255).astype(np.uint8)
    if fields["noise_scale"]:
        noise = np.random.default_rng(int(fields["noise_seed"])).standard_normal((height, width, 1), np.float32)
        frame = (frame + noise * fields["noise_scale"]).clip(0, 255).astype(np.uint8)
    if fields["colour"] != 1:
        grey = frame @ np.array(LUMA, np.float32)
        frame = (grey[..., None] + fields["colour"] * (frame - grey[..., None])).clip(0, 255).astype(np.uint8)
    if fields["contrast"] != 1:
        levels = 127 + fields["contrast"] * (np.arange(256) - 127)
        frame = cv2.LUT(frame, levels.clip(0, 255).astype(np.uint8))
    return (frame - np.array(MEAN, np.float32)) * np.float32(SCALE)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: CPU time of this thread, or wall-clock time until the GPU has finished."""
    if device.type == "cpu":
        started = time.thread_time()
        call()
        return time.thread_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def median(call: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after two warm-up calls."""
    return statistics.median([seconds(call, device) for _ in range(repeats + 2)][2:])


def step_seconds(name: str, clips: Tensor, repeats: int) -> float:
    """Median seconds of a training step on normalised clips; in bf16 on a GPU."""
    network = create_network(name, 200).to(clips.device)
    optimizer = make_optimizer(network, OptimizerOptions())
    set_lr(optimizer, 0.01)
    labels = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)

    def step() -> None:
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.device.type == "cuda"):
            logits = network(clips)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return median(step, repeats, clips.device)


def seconds_per_clip(augment: Augment, clips: Tensor, params: np.ndarray, repeats: int) -> list[float]:
    """Seconds per clip for each batch of `params`, the median over the repeats."""
    batches = torch.from_numpy(params).split(len(clips))
    times = [[seconds(lambda: augment(clips, batch), clips.device) for batch in batches] for _ in range(repeats + 1)]  # noqa: B023
    return [statistics.median(of_batch) / len(clips) for of_batch in zip(*times[1:], strict=True)]


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.augment", description="The cost of augmentation.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--clips", type=positive_integer, default=32, help="clips per batch on a GPU")
    parser.add_argument("--repeats", type=positive_integer, default=5)
    parser.add_argument(
        "--draws", type=positive_integer, default=200, help="random parameters in the mix (GPU: batches / 10)"
    )
    parser.add_argument(
        "--step", default="srtg_r3d_34", metavar="NETWORK", help="the network whose training step is compared"
    )
    parser.add_argument("--step-repeats", type=positive_integer, default=1)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    number = 1 if device.type == "cpu" else arguments.clips
    on_host = make_clips(number)
    clips = on_host.to(device)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    normalise, augment = Normalise(dtype).to(device), Augment(dtype)
    rng = np.random.default_rng(1)

    table = Table(title=f"A clip of {FRAMES}x{SIDE}x{SIDE}, {device.type}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("ms", justify="right")
    table.add_column("of normalising", justify="right")
    base = median(lambda: normalise(clips), arguments.repeats, device) / number

    def add(name: str, value: float) -> None:
        table.add_row(name, f"{1e3 * value:.2f}", f"{value / base:.1f}")

    add("normalise only", base)
    neutral = torch.from_numpy(np.stack([identity_params()] * number))
    add("identity parameters", median(lambda: augment(clips, neutral), arguments.repeats, device) / number)
    for kind in KINDS:
        alone = np.stack([random_params_of_kind(kind, rng) for _ in range(12 * number)])
        add(f"{kind} alone", statistics.mean(seconds_per_clip(augment, clips, alone, arguments.repeats)))
    batches = arguments.draws if device.type == "cpu" else -(-arguments.draws // 10)
    params = np.stack([random_params(rng) for _ in range(batches * number)])
    mix = seconds_per_clip(augment, clips, params, arguments.repeats)
    add("the mix of training, mean", statistics.mean(mix))
    add("the mix of training, median", statistics.median(mix))
    add("the mix of training, worst", max(mix))
    operations = np.stack([randaugment_params(RANDAUGMENT, rng) for _ in range(batches * number)])
    of_operations = seconds_per_clip(augment, clips, operations, arguments.repeats)
    add("RandAugment 2x9, mean", statistics.mean(of_operations))
    add("RandAugment 2x9, median", statistics.median(of_operations))
    add("RandAugment 2x9, worst", max(of_operations))
    if device.type == "cuda":
        use_kernels(False)
        for name, drawn in (("the mix of training", params), ("RandAugment 2x9", operations)):
            add(f"{name} by PyTorch, mean", statistics.mean(seconds_per_clip(augment, clips, drawn, 1)))
        use_kernels(True)
    clip = on_host[0].permute(1, 2, 3, 0).numpy()
    plain = [seconds(lambda: by_opencv(clip, each), torch.device("cpu")) for each in params[:100]]  # noqa: B023
    add("the mix by OpenCV and numpy, one core, mean", statistics.mean(plain))
    make_console().print(table)
    step = step_seconds(arguments.step, normalise(clips), arguments.step_repeats) / number
    share = 100 * statistics.mean(mix) / step
    print(f"a training step of {arguments.step} takes {1e3 * step:.0f} ms a clip: the mix is {share:.2f} % of it")
    return 0


if __name__ == "__main__":
    run_command(main)
