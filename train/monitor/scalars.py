"""The numbers of a run's reports by their tags, for TensorBoard and the trackers."""

from train.monitor.reports import EpochReport, LogReport


def step_scalars(report: LogReport) -> dict[str, float]:
    """Scores, learning rate, batch shape, speeds, gradient norm, memory, open gates."""
    batch, _, frames, _, size = report.batch_shape
    scalars = {f"train/{name}": value for name, value in report.scores.values().items()}
    scalars |= {
        "train/grad_norm": report.grad_norm,
        "train/skipped_updates": report.skipped_updates,
        "schedule/lr": report.lr,
        "schedule/epoch": report.epoch,
        "schedule/batch": batch,
        "schedule/frames": frames,
        "schedule/size": size,
        "speed/read": report.speeds.read,
        "speed/forward": report.speeds.forward,
        "speed/backward": report.speeds.backward,
        "speed/clips": report.speeds.clips,
        "speed/wait_share": report.speeds.wait_share,
        "memory/peak_gib": report.memory_bytes / 2**30,
    }
    return scalars | {f"open_gates/{name}": share for name, share in report.open_gates.items()}


def epoch_scalars(report: EpochReport) -> dict[str, float]:
    """The validation scores; none if the epoch had no validation."""
    scores = report.val.values() if report.val else {}
    return {f"val/{name}": value for name, value in scores.items()}
