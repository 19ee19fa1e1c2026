"""Real processes that run a script as `python script.py ...` does, but need not import torch first.

A server imports everything once and forks itself for each process. Each process has a mark in its environment, which
its descendants inherit: so they can all be found, counted and killed, also when they have lost their parent.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # threads of several processes that use the same cores block each other
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "TERM": "dumb",
    "CUDA_VISIBLE_DEVICES": "",
}
TIMEOUT = 240  # seconds; longer than anything takes on a busy machine, shorter than pytest's timeout
MARK = "TEST_PROCESS"  # environment variable of a process and its descendants


class Process:
    """A running script. Its output goes to two files."""

    def __init__(self, server: "Server", pid: int, mark: str, stdout: Path, stderr: Path) -> None:
        self.server = server
        self.pid = pid
        self.mark = mark
        self.stdout_file = stdout
        self.stderr_file = stderr
        self.status: int | None = None

    def poll(self) -> int | None:
        """Exit status, negative for a signal as in subprocess; None while it runs."""
        if self.status is None:
            self.status = self.server.ask(poll=self.pid)
        return self.status

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Wait for the end and return the exit status; fail with the output after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline, f"still running after {timeout} s:\n{self.output()}"
            time.sleep(0.02)
        assert self.status is not None
        return self.status

    def wait_for(self, text: str, timeout: float = TIMEOUT, or_end: bool = False) -> None:
        """Wait until `text` is on stdout; fail with the output if the process ends before, unless `or_end`."""
        deadline = time.monotonic() + timeout
        has_ended = False
        while text not in self.stdout:
            if has_ended and or_end:
                return
            assert not has_ended and time.monotonic() < deadline, f"no {text!r} in:\n{self.output()}"
            time.sleep(0.02)
            has_ended = self.poll() is not None  # ask before reading the output, which may grow until the end

    def send(self, number: int, pid: int | None = None) -> None:
        """Send a signal to this process only, or to the process `pid`."""
        os.kill(pid or self.pid, number)

    def kill(self) -> None:
        """Kill the process and all its descendants, as when a machine fails."""
        while members := self.members():
            for pid in members:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.wait()

    def members(self) -> list[int]:
        """The ids of the process and of its descendants that are alive, orphans included."""
        return [pid for pid, session, _ in _processes() if session == self.pid or _is_marked(pid, self.mark)]

    def children(self) -> list[int]:
        """The ids of its children that are alive."""
        return [pid for pid, _, parent in _processes() if parent == self.pid]

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text()

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text()

    def output(self) -> str:
        return self.stdout + self.stderr


class Server:
    """Starts processes. At the end of `with Server() as server`, the server and all processes end."""

    def __enter__(self) -> "Server":
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.processes"],
            cwd=ROOT,
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes: list[Process] = []
        return self

    def __exit__(self, *_: object) -> None:
        self.end_all()
        assert self.server.stdin is not None
        # Not by closing alone: a worker that a test in this process forked may still hold the other end.
        with self.server.stdin as requests:
            print(json.dumps({"end": True}), file=requests)
        self.server.wait(60)

    def ask(self, **request: Any) -> Any:
        assert self.server.stdin is not None and self.server.stdout is not None
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())

    def start(
        self, script: Path | str, *args: object, folder: Path, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Run a script, or after "-m" a module, in the working directory `folder`."""
        number = len(self.processes)
        out, err = folder / f".{number}.out", folder / f".{number}.err"
        out.touch()
        err.touch()
        mark = f"{self.server.pid}-{number}"
        pid = self.ask(
            argv=[str(script), *map(str, args)], cwd=str(folder), stdout=str(out), stderr=str(err),
            environment={MARK: mark, **(environment or {})},
        )  # fmt: skip
        self.processes.append(Process(self, pid, mark, out, err))
        return self.processes[-1]

    def end_all(self) -> None:
        """Kill the processes that still run."""
        for process in self.processes:
            if process.status is None:
                process.kill()


def _processes() -> list[tuple[int, int, int]]:
    """Process id, session and parent of all processes that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state not in "ZX":
                    found.append((int(entry.name), int(session), int(parent)))
    return found


def _is_marked(pid: int, mark: str) -> bool:
    with suppress(OSError):
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def _serve() -> bool:
    """Answer requests until there are no more. In a forked child, which is to run a script, return True."""
    import torch

    import train.main  # noqa: F401

    torch.optim.SGD([torch.zeros(1)])  # the first optimiser imports much of torch
    gc.collect()
    gc.freeze()  # garbage collection in a child would copy the memory that it shares with the server

    replies = os.dup(1)
    for line in sys.stdin:
        request = json.loads(line)
        if "end" in request:
            break
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            reply = os.waitstatus_to_exitcode(status) if pid else None
        else:
            reply = os.fork()
            if not reply:
                _become(request)
                return True
        os.write(replies, f"{json.dumps(reply)}\n".encode())
    return False


def _become(request: dict[str, Any]) -> None:
    """Turn this forked child into the process that was requested."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with it ignored
    for path, descriptor in ((os.devnull, 0), (request["stdout"], 1), (request["stderr"], 2)):
        flags = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(path, flags), descriptor)
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.argv = request["argv"]
    sys.stdin = open(0)  # noqa: SIM115 - the old object still holds requests to the server


if __name__ == "__main__":
    if _serve():
        if sys.argv[0] == "-m":
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = str(Path(sys.argv[0]).parent)
            runpy.run_path(sys.argv[0], run_name="__main__")
