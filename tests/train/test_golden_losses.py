"""The first ten losses of each schedule, as recorded before the last refactoring.

If one of them changes, every user trains something else: other videos, random draws, shapes, rates, networks or
updates. The numbers are of an x86 CPU; those of others differ in the last digits.
"""

import re

import pytest

from tests.runs import SCHEDULES, TINY, TINY_FLAGS

LOSSES = {
    "none": [1.5407, 1.3435, 1.5255, 1.0623, 1.6009, 1.2271, 1.3041, 1.4687, 1.1648, 1.1488],
    "short": [1.3266, 1.6675, 1.3515, 1.2008, 1.5145, 1.3063, 1.1417, 1.0847, 0.9790, 1.0693],
    "long": [1.3893, 1.5986, 1.3504, 1.3008, 1.4998, 1.3128, 1.0729, 1.0698, 1.0679, 1.0783],
    "both": [1.4894, 1.3572, 1.5041, 1.3784, 1.3302, 1.2540, 1.2056, 1.2797, 1.3670, 1.2606],
    "per-epoch": [1.4272, 1.3780, 1.5482, 1.3693, 1.5587, 1.3900, 1.1918, 1.6734, 1.4986, 1.3399],
}
FLAGS = SCHEDULES | {"per-epoch": ("--long-cycles", "--multigrid", "per-epoch")}


@pytest.mark.parametrize("schedule", LOSSES)
def test_ten_steps_have_the_losses_of_before(server, small_dataset, tmp_path, schedule):
    flags = (*TINY_FLAGS, "--workers", 0, "--end-epoch", 8, "--lr-steps", 4, 6, *FLAGS[schedule])
    process = server.start(TINY, "--dataset", small_dataset, "--model-dir", tmp_path, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    losses = [float(loss) for loss in re.findall(r"\bBatch .* loss ([\d.]+)", process.stdout)]
    assert losses[:10] == pytest.approx(LOSSES[schedule], abs=2e-3)
