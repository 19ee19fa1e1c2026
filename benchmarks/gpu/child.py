"""The process of one section: python -m benchmarks.gpu.child REQUEST, which the runner starts."""

import faulthandler
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from signal import SIGKILL
from typing import Any

import torch

from benchmarks.gpu.job import Job, NotAsked, describe
from benchmarks.gpu.results import Results
from common.processes import signal_at_parent_death

SECONDS_BEFORE = 3  # the limit: where a section that hangs is written down


def run(request: dict[str, Any]) -> int:
    """Run the section that the request names; returns the exit status."""
    job = Job(
        section=request["section"],
        device=torch.device(request["device"]),
        is_tiny=request["is_tiny"],
        ends=request["ends"],
        results=Results(Path(request["output"])),
        folder=Path(request["folder"]),
        fast_folder=Path(request["fast_folder"]),
        videos=request["videos"] and Path(request["videos"]),
        dataset=request["dataset"] and Path(request["dataset"]),
    )
    module, _, function = request["entry"].partition(":")
    try:
        if job.is_cuda:
            torch.cuda.init()
        job.prepare()
        getattr(importlib.import_module(module), function)(job)
    except NotAsked as reason:
        job.results.note(job.section, not_asked=str(reason))
    except Exception as error:
        traceback.print_exc()
        job.fail(describe(error))
    if job.left_out:
        job.results.note(job.section, left_out=job.left_out)
    return 1 if job.problems else 0


def main() -> None:
    """Read the request, run, and end at once: what a library does at exit must not cost the section its success."""
    request = json.loads(sys.argv[1])
    signal_at_parent_death(SIGKILL, request["parent"])
    faulthandler.enable()
    faulthandler.dump_traceback_later(max(0.5, request["killed"] - time.monotonic() - SECONDS_BEFORE))
    status = run(request)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
