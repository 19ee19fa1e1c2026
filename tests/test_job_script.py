"""The job script of docs/clusters.md passes each signal on, and puts the job back only when the run has ended."""

import signal
import subprocess
import sys

import pytest

from tests.processes import ROOT

RUN = """
import signal, sys, time
received = []
def note(number, _):
    received.append(number)
    print("signal", len(received), flush=True)
signal.signal(signal.SIGUSR1, note)
print("begun", flush=True)
while len(received) < int(sys.argv[1]):
    time.sleep(0.02)
time.sleep(1)
print("ended", flush=True)
sys.exit(143 if received else 0)
"""


@pytest.mark.parametrize("signals", [[], [signal.SIGUSR1], [signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR1]])
def test_the_job_goes_back_into_the_queue_once_the_run_has_ended(tmp_path, signals):
    """A second signal ended the second `wait`: the job went back into the queue, while the run still saved."""
    (tmp_path / "run.py").write_text(RUN)
    text = (ROOT / "docs" / "clusters.md").read_text().split("## SLURM, one machine")[1].split("```")[1]
    before, _, after = text.partition("source .venv/bin/activate\n")
    _, _, after = after.partition("--resume-epoch auto &\n")
    assert "#SBATCH" in before and "trap" in after
    stub = f'scontrol() {{ echo "$@"; }}\nSLURM_JOB_ID=7\n"{sys.executable}" run.py {len(signals)} &\n'
    (tmp_path / "job.sh").write_text(stub + after)
    with subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        said = [job.stdout.readline().strip()]
        for number in signals:
            job.send_signal(number)
            said.append(job.stdout.readline().strip())
        said += job.stdout.read().split("\n")
    passed_on = [f"signal {number + 1}" for number in range(len(signals))]
    requeued = ["requeue 7"] if signals else []
    assert [line for line in said if line] == ["begun", *passed_on, "ended", *requeued]
