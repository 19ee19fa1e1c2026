"""Runs the sections one after the other, each in a process of its own, and writes down how each of them ended.

This file imports neither torch nor another package that may be missing, and does not use the GPU.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.results import Results

ROOT = Path(__file__).resolve().parents[2]
RESERVE = (0.15, 12.0)  # of its limit, or seconds: so long before, a section should end by itself
FREE_MEMORY = 16 * 2**30
NOT_ASKED = "not run"
DONE = "done"


@dataclass(frozen=True)
class Section:
    """A section of the script."""

    letter: str
    title: str
    entry: str  # module:function, which gets a Job
    share: float  # of the time
    needs: tuple[str, ...]  # modules besides torch
    at_most: float = float("inf")  # seconds


@dataclass(frozen=True)
class Settings:
    """The command line."""

    device: str
    is_tiny: bool
    seconds: float  # of all sections together
    videos: Path | None = None
    dataset: Path | None = None


def missing(modules: Sequence[str]) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if find_spec(name) is None]


def run_sections(sections: Sequence[Section], settings: Settings, results: Results) -> dict[str, str]:
    """Run the sections. Returns how each ended, by letter: DONE, NOT_ASKED and a reason, or what went wrong."""
    ends = time.monotonic() + settings.seconds
    outcomes = {}
    for number, section in enumerate(sections):
        shares = sum(later.share for later in sections[number:])
        limit = min(section.at_most, (ends - time.monotonic()) * section.share / shares)
        results.begin(section.letter, section.title)
        started = time.monotonic()
        outcomes[section.letter] = outcome = run_section(section, settings, limit, results)
        seconds = time.monotonic() - started
        results.note(section.letter, status=outcome, seconds=seconds, limit=limit)
        print(f"{section.letter}: {section.title}: {outcome} ({seconds:.0f} of {limit:.0f} s)", flush=True)
    return outcomes


def run_section(section: Section, settings: Settings, limit: float, results: Results) -> str:
    """Run one section and return how it ended. Nothing of it is left running."""
    if absent := missing(("torch", *section.needs)):
        return f"left out: {', '.join(absent)} missing"
    folder = Path(tempfile.mkdtemp(prefix="srtg_gpu_"))
    fast_folder = Path(tempfile.mkdtemp(prefix="srtg_gpu_", dir=_memory()))
    now = time.monotonic()
    request = {
        "section": section.letter, "entry": section.entry, "device": settings.device, "is_tiny": settings.is_tiny,
        "ends": now + limit - min(RESERVE[0] * limit, RESERVE[1]), "killed": now + limit, "parent": os.getpid(),
        "output": str(results.folder), "folder": str(folder), "fast_folder": str(fast_folder),
        "videos": settings.videos and str(settings.videos), "dataset": settings.dataset and str(settings.dataset),
    }  # fmt: skip
    try:
        with results.log_file.open("a", encoding="utf-8") as log:
            date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            log.write(f"\n===== {section.letter}: {section.title}, {limit:.0f} s, {date}\n")
            log.flush()
            status = _run(request, limit, log)
    finally:
        for each in (folder, fast_folder):
            shutil.rmtree(each, ignore_errors=True)
        results.remove_leftovers()
    return _outcome(status, limit, section.letter, results)


def _memory() -> str | None:
    """Where files lie in memory, if there is much of it; None: where temporary files lie."""
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > FREE_MEMORY else None
    except OSError:
        return None


def _run(request: dict[str, Any], limit: float, log: Any) -> int | None:
    """The status of the section's process; None if it was killed at its limit."""
    command = [sys.executable, "-m", "benchmarks.gpu.child", json.dumps(request)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )
    try:
        return process.wait(timeout=max(0.1, limit))
    except subprocess.TimeoutExpired:
        return None
    finally:  # also if this process is interrupted; processes that the section left behind go with it
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # a driver can hold a process for a while
            process.wait(timeout=10)


def _outcome(status: int | None, limit: float, letter: str, results: Results) -> str:
    content = results.read()
    facts = content["sections"].get(letter, {})
    measured = sum(row["section"] == letter for row in content["measurements"])
    kept = f"; {measured} measurements are kept"
    if reason := facts.get("not_asked"):
        return f"{NOT_ASKED}: {reason}"
    if status is None:
        return f"killed at its limit of {limit:.0f} s{kept}"
    if status < 0:
        with suppress(ValueError):
            return f"crashed: {signal.Signals(-status).name}{kept}"
        return f"crashed: signal {-status}{kept}"
    problems = facts.get("problems") or []
    if status or problems:
        what = f"{len(problems)} problems, the first: {problems[0]}" if problems else f"exit status {status}"
        return f"failed: {what}{kept}"
    if not measured:
        return "failed: it measured nothing"
    left_out = facts.get("left_out") or []
    return DONE + (f"; left out for want of time: {', '.join(left_out)}" if left_out else "")


def is_good(outcome: str) -> bool:
    """Whether a section wrote its results, or was not asked to."""
    return outcome.startswith((DONE, NOT_ASKED))
