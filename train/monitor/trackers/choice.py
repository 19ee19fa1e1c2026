"""--track: the tracker by its name."""

import importlib
import os
from collections.abc import Callable

from common.errors import DataError
from train.monitor.trackers.mlflow_run import MlflowRun
from train.monitor.trackers.tracker import RunInfo, TrackedRun, Tracker
from train.monitor.trackers.wandb_run import WandbRun, check_login

NONE = "none"
TRACKERS: dict[str, Callable[[RunInfo], TrackedRun]] = {"wandb": WandbRun, "mlflow": MlflowRun}
NEEDED = {"wandb": ("wandb", "init"), "mlflow": ("mlflow.tracking", "MlflowClient")}
"""A module of each tracker's package, and a name in it: a folder wandb/ of earlier runs can be imported too."""


def check_tracker(name: str) -> bool:
    """Import the package of a tracker; DataError with the pip command if it is not installed or cannot be used."""
    if name == NONE:
        return True
    # MLflow would report its use to its makers, which nobody here has asked for.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("WANDB_SILENT", "true")
    module, needed = NEEDED[name]
    try:
        found = hasattr(importlib.import_module(module), needed)
    except ModuleNotFoundError:
        found = False
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise DataError(
            f"--track {name}: its package cannot be imported ({why}): pip install --upgrade {name}"
        ) from error
    if not found:
        raise DataError(f"--track {name}: its package is not installed: pip install {name}")
    if name == "wandb":
        check_login()
    return True


def make_tracker(name: str, info: RunInfo) -> Tracker:
    """The callback of a tracker whose package `check_tracker` has found."""
    return Tracker(TRACKERS[name](info))
