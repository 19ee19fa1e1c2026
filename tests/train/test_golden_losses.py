"""The first ten losses of each schedule, as recorded before the last refactoring.

If one of them changes, every user trains something else: other videos, random draws, shapes, rates, networks or
updates. The numbers are of an x86 CPU; those of others differ in the last digits.
"""

import re

import pytest

from tests.runs import SCHEDULES, TINY, TINY_FLAGS

LOSSES = {
    "none": [1.4491, 1.5010, 1.3510, 1.5656, 1.3216, 1.5237, 1.3523, 1.4258, 1.2986, 1.1896],
    "short": [1.2919, 1.4765, 1.3456, 1.3699, 1.0991, 1.2187, 1.0840, 1.1422, 1.0200, 0.9241],
    "long": [1.4769, 1.4135, 1.2969, 1.3600, 1.4656, 1.5440, 1.3976, 1.3830, 1.4457, 1.4933],
    "both": [1.4912, 1.4437, 1.5734, 1.5015, 1.3882, 1.4239, 1.2451, 1.4298, 1.4837, 1.2864],
    "per-epoch": [1.2881, 1.3716, 1.3851, 1.2413, 1.2318, 1.3789, 1.2580, 1.6866, 1.4356, 1.1735],
}
FLAGS = SCHEDULES | {"per-epoch": ("--long-cycles", "--multigrid", "per-epoch")}


@pytest.mark.parametrize("schedule", LOSSES)
def test_ten_steps_have_the_losses_of_before(server, small_dataset, tmp_path, schedule):
    flags = (*TINY_FLAGS, "--workers", 0, "--end-epoch", 8, "--lr-steps", 4, 6, *FLAGS[schedule])
    process = server.start(TINY, "--dataset", small_dataset, "--model-dir", tmp_path, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    losses = [float(loss) for loss in re.findall(r"\bBatch .* loss ([\d.]+)", process.stdout)]
    assert losses[:10] == pytest.approx(LOSSES[schedule], abs=2e-3)
