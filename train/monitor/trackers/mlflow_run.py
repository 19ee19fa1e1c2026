"""A run in MLflow: on the server or in the store of MLFLOW_TRACKING_URI, else in mlflow.db beside the run's folder."""

import logging
import math
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from common.errors import DataError
from common.logs import LOG
from train.monitor.trackers.run_file import save_id, saved_id
from train.monitor.trackers.tracker import Record, RunInfo

LONGEST = 500
"""Characters of a value that every version of MLflow takes."""
MOST_AT_ONCE = 100
"""Parameters of a request."""


class MlflowRun:
    """The run of `info`, with the options as its parameters. Uses a client alone, so no global state of MLflow."""

    name = "mlflow"

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.client: Any = None
        self.run_id = ""
        self.has_begun = False

    def start(self) -> str:
        """Begin or continue the run."""
        from mlflow.tracking import MlflowClient

        for name in ("mlflow", "alembic"):  # they tell how a database is made
            logging.getLogger(name).setLevel(logging.WARNING)
        info = self.info
        uri = os.environ.get("MLFLOW_TRACKING_URI", "")
        if not uri:
            database = (info.folder.parent / "mlflow.db").resolve()
            _make_database(database)
            uri = _uri_of(database)
        self.client = MlflowClient(tracking_uri=uri)
        self.run_id = saved_id(info.folder, self.name, info.run_key)
        if not self.run_id or not self._continue():
            if info.is_resumed and not self.has_begun:
                LOG.warning(
                    "%s names no mlflow run of this run in %s: a new one begins", info.folder / "tracker.json", uri
                )
            self._create()
        return f"run {self.run_id} in {uri}"

    def send(self, record: Record) -> None:
        """Take a record, in one request."""
        from mlflow.entities import Metric

        numbers = {**record.scalars, **record.best}
        at = round(1000 * record.seconds)
        metrics = [Metric(name, value, at, record.step) for name, value in numbers.items() if math.isfinite(value)]
        self.client.log_batch(self.run_id, metrics=metrics, synchronous=True)

    def finish(self, is_complete: bool) -> None:
        """End the run; it can be continued."""
        self.client.set_terminated(self.run_id, "FINISHED" if is_complete else "KILLED")

    def _create(self) -> None:
        info = self.info
        tags = {"run_folder": str(info.folder.resolve()), "run_key": info.run_key, "command": " ".join(sys.argv)}
        tags = {name: value[:LONGEST] for name, value in tags.items()}
        self.run_id = self.client.create_run(self._experiment(), tags=tags, run_name=info.name).info.run_id
        self.has_begun = True
        save_id(info.folder, self.name, info.run_key, self.run_id)
        self._set_params({})

    def _continue(self) -> bool:
        """Whether the store has the run, which then goes on. Parameters cannot change: other values become tags."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(self.run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return False
            raise
        if run.info.lifecycle_stage != "active":  # it was deleted there
            return False
        self.client.update_run(self.run_id, status="RUNNING")
        self._set_params(run.data.params)
        return True

    def _set_params(self, before: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        texts = {name: _text(value) for name, value in self.info.options.items()}
        params = [Param(name, text) for name, text in texts.items() if name not in before]
        tags = [RunTag(f"resumed.{name}", text) for name, text in texts.items() if before.get(name, text) != text]
        for start in range(0, max(len(params), len(tags)), MOST_AT_ONCE):
            part = slice(start, start + MOST_AT_ONCE)
            self.client.log_batch(self.run_id, params=params[part], tags=tags[part], synchronous=True)

    def _experiment(self) -> str:
        """The id of the experiment MLFLOW_EXPERIMENT_NAME, or srtg, which is created if there is none."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "srtg"
        found = self.client.get_experiment_by_name(name)
        if found is None:
            return str(self.client.create_experiment(name, artifact_location=self._artifacts()))
        return str(found.experiment_id)

    def _artifacts(self) -> str | None:
        """Where the experiment's files would go: with the own database beside it, else where the store says."""
        if os.environ.get("MLFLOW_TRACKING_URI"):
            return None
        return (self.info.folder.parent / "mlflow_artifacts").resolve().as_uri()


def _uri_of(database: Path) -> str:
    """How SQLAlchemy is told of a database; DataError if it would open another file: it cuts a path at a `?`.

    Some versions decode `%3F`, which they then must be given for it, and others do not.
    """
    from sqlalchemy.engine import make_url

    for path in (str(database), quote(str(database))):
        if make_url(f"sqlite:///{path}").database == str(database):
            return f"sqlite:///{path}"
    raise DataError(
        f"MLflow cannot open {database}, as it takes ? or % in a path for something else: give another --model-dir, or "
        "set MLFLOW_TRACKING_URI"
    )


def _make_database(path: Path) -> None:
    """Make a database with MLflow's tables, if there is none.

    MLflow makes them in many steps, and cannot use what a run leaves that is killed between two of them.
    """
    from mlflow.tracking import MlflowClient

    if path.exists():
        return
    with TemporaryDirectory() as folder:
        made = Path(folder) / path.name
        MlflowClient(tracking_uri=_uri_of(made))
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        beside.unlink(missing_ok=True)  # left by a killed process that had the same process id, or a link
        try:
            shutil.copyfile(made, beside)
            try:
                os.link(beside, path)
            except FileExistsError:  # another run was faster
                return
            except OSError:  # a file system without links
                beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)


def _text(value: object) -> str:
    """An option as text; a list with spaces, as its flag takes it."""
    return (" ".join(map(str, value)) if isinstance(value, list) else str(value))[:LONGEST]
