"""Section a: the tests that need a GPU. Those that fail run once more, apart from the others."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from benchmarks.gpu.job import Job
from benchmarks.gpu.runner import ROOT

OUTCOMES = ("PASSED", "FAILED", "SKIPPED", "ERROR", "XFAIL", "XPASS")
LINE = re.compile(rf"^(tests/\S+::.*?) ({'|'.join(OUTCOMES)})\b")
MARKED = re.compile(r"mark\.gpu\b|tests\.devices")
BAD = ("FAILED", "ERROR")
SECONDS_OF_A_TEST = 120
PROGRAMS = "tests/gpu/test_programs.py"  # whose commands take as long as half of all others
SECONDS_TO_PRINT = 8


def run(job: Job) -> None:
    """Run the tests on the GPU; on the CPU, those that have both devices, on the CPU."""
    if job.is_cuda:
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(run_tests, job, [PROGRAMS, "-m", "gpu"], "tests of programs, beside them", False)
            outcomes = run_tests(job, [*files(), "-m", "gpu"], "tests") | beside.result()
    else:
        outcomes = run_tests(job, ["tests/gpu/test_precision.py", "-m", "not gpu"], "tests")
    bad = [test for test, outcome in outcomes.items() if outcome in BAD]
    # A fault of a kernel fails every later test of the process, so that the first run may blame tests without fault.
    again = run_tests(job, bad, "tests that failed, once more") if bad and job.left() > 15 else {}
    for test in bad:
        alone = again.get(test)
        job.fail(f"{test} failed" + (f", and {alone.lower()} in a second run" if alone else ""))


def run_tests(job: Job, chosen: list[str], what: str, is_shown: bool = True) -> dict[str, str]:
    """How each test ended that ended in time; every one is counted at once.

    Unless `is_shown`, the output is printed when all is over, so that it is not mixed with that of others.
    """
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--strict-markers", "-v", "--tb", "short", "--color", "no"]
    command += [
        "-p",
        "no:cacheprovider",
        "-o",
        f"timeout={SECONDS_OF_A_TEST}",
        "--continue-on-collection-errors",
        "--durations",
        "15",
    ]
    pytest = subprocess.Popen(
        [*command, *chosen], cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    )
    # Interrupted, pytest prints why tests failed so far; killed, it does not.
    timers = [
        threading.Timer(max(1.0, job.left() - SECONDS_TO_PRINT), pytest.send_signal, (signal.SIGINT,)),
        threading.Timer(max(1.0, job.left()), pytest.kill),
    ]
    for timer in timers:
        timer.start()
    outcomes: dict[str, str] = {}
    lines = []
    assert pytest.stdout is not None
    for line in pytest.stdout:
        if is_shown:
            print(line, end="", flush=True)
        else:
            lines.append(line)
        if match := LINE.match(line):
            outcomes[match[1]] = match[2]
            _count(job, what, outcomes)
    print("".join(lines), end="", flush=True)
    status = pytest.wait()
    is_late = not timers[0].is_alive()
    for timer in timers:
        timer.cancel()
    failed = any(outcome in BAD for outcome in outcomes.values())
    if is_late:
        job.left_out.append(f"{what}, but for the first {len(outcomes)}")
    elif status < 0:
        job.fail(f"{what}: ended by signal {-status} after {len(outcomes)} tests, see log.txt")
    elif status not in (0, 1) or (status == 1 and not failed):  # 1: a test failed, or a file could not be read
        job.fail(f"{what}: pytest ended with status {status}, see log.txt")
    return outcomes


def files() -> list[str]:
    """The files with tests that need a GPU, but for PROGRAMS: kernels first, then whole steps, then all others."""
    every = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    found = [path for path in every if MARKED.search((ROOT / path).read_text(encoding="utf-8"))]
    found = [path for path in found if str(path) != PROGRAMS]
    order = {"network": 0, "gpu": 1, "benchmarks": 3}
    return [str(path) for path in sorted(found, key=lambda path: order.get(path.parts[1], 2))]


def _count(job: Job, what: str, outcomes: dict[str, str]) -> None:
    counts = Counter(outcomes.values())
    job.add(what, "-", "-", **{name.lower(): counts[name] for name in OUTCOMES if counts[name]})
