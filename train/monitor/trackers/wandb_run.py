"""A run in Weights & Biases, online or offline (WANDB_MODE=offline)."""

import os
import secrets
from contextlib import suppress
from typing import Any

from common.errors import DataError
from common.logs import LOG
from train.monitor.trackers.run_file import save_id, saved_id
from train.monitor.trackers.tracker import Record, RunInfo

STEP = "global_step"
"""The x axis. The own steps of W&B cannot go back, as those of a resumed run do."""
SECONDS = 30
"""That W&B may take to begin or end a run."""


def check_login() -> None:
    """DataError if W&B would ask for a key at the terminal."""
    import wandb

    if os.environ.get("WANDB_MODE", "online") not in ("online", "shared"):
        return
    try:
        has_key = wandb.login(prompt=False, verify=False)
    except TypeError:  # an older version, without `prompt`
        has_key = bool(wandb.api.api_key)
    except Exception as error:
        raise DataError(f"--track wandb: {' '.join(str(error).split())}") from error
    if not has_key:
        raise DataError("--track wandb: there is no key: run `wandb login`, or set WANDB_MODE=offline")


def _settings(kind: Any) -> Any:
    """Print nothing, which would break the progress bar; give up at the end of a run if the server does not answer.

    What was not uploaded is on the disk, for `wandb sync`.
    """
    limits = {name: SECONDS for name in ("init_timeout", "finish_timeout") if name in getattr(kind, "model_fields", {})}
    return kind(console="off", silent=True, **limits)


class WandbRun:
    """The run of `info`, with the options as its config. Files go to `<run's folder>/wandb`, or WANDB_DIR."""

    name = "wandb"

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.run: Any = None

    def start(self) -> str:
        """Begin or continue the run. The id is drawn and saved before, so that a run is never tracked as two."""
        import wandb

        info = self.info
        run_id = saved_id(info.folder, self.name, info.run_key)
        if not run_id:
            if info.is_resumed:
                LOG.warning("%s names no wandb run of this run: a new one begins", info.folder / "tracker.json")
            run_id = secrets.token_hex(4)
            save_id(info.folder, self.name, info.run_key, run_id)
        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "srtg",
                name=os.environ.get("WANDB_NAME") or info.name,
                id=run_id,
                resume="allow",
                dir=os.environ.get("WANDB_DIR") or str(info.folder),
                settings=_settings(wandb.Settings),
            )
        except Exception:
            with suppress(Exception):  # else its process says at the next try that the id is in use
                wandb.teardown()
            raise
        facts = {"run_folder": str(info.folder.resolve()), "run_key": info.run_key}
        self.run.config.update(dict(info.options) | facts, allow_val_change=True)
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP)
        is_offline = bool(getattr(self.run, "offline", False))
        return f"run {run_id}, offline, in {info.folder / 'wandb'}" if is_offline else f"{self.run.url}"

    def send(self, record: Record) -> None:
        """Take a record."""
        self.run.log({**record.scalars, **record.best, STEP: record.step})
        if record.best:
            self.run.summary.update(dict(record.best))

    def finish(self, is_complete: bool) -> None:
        """End the run, which counts as failed unless `is_complete`; it can be resumed."""
        self.run.finish(exit_code=0 if is_complete else 1)
