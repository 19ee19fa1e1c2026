"""Processes of a run that was killed must not stay behind and occupy its memory."""

import subprocess
import sys

import pytest

ORPHAN = """
import os, signal, sys, time
from common.processes import signal_at_parent_death

parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.01)
signal_at_parent_death(signal.SIGKILL, parent if sys.argv[1] == "named" else None)
print("lives")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the call")
@pytest.mark.parametrize(("parent", "output"), [("named", ""), ("unnamed", "lives\n")])
def test_a_process_ends_also_if_its_parent_ended_before_it_asked(parent, output):
    """A worker that was starting when its run was killed would wait forever."""
    command = [sys.executable, "-c", ORPHAN, parent]
    assert subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout == output
