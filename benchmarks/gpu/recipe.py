"""Section i: a training step with each part of the modern recipe, against that of the paper."""

from benchmarks.gpu.job import Job
from benchmarks.gpu.steps import BATCH, CLIP, TINY_BATCH, TINY_CLIP
from benchmarks.gpu.training import name_of, text_of
from benchmarks.recipe_step import PARTS, RecipeStep, in_turns, options_of, ratio
from common.device import tune_device
from data.clips.types import ClipShape
from train.recipe import PAPER

TURNS = 20


def run(job: Job) -> None:
    """Each part beside the paper's step, in turns; one pair after the other, so that the memory holds them."""
    tune_device(job.device.type)
    job.expect_fused()
    clip = ClipShape(*(TINY_CLIP if job.is_tiny else CLIP))
    batch, precision = (TINY_BATCH if job.is_tiny else BATCH), job.half[0]

    def measure(name: str) -> None:
        pair = {
            each: RecipeStep(name_of(job), options_of(PARTS[each], clip, batch), job.device, precision, job.folder)
            for each in (PAPER, name)
        }
        seconds = in_turns(pair, job.device, 2 if job.is_tiny else TURNS)
        job.add(
            f"step of {name_of(job)}, {name}", text_of(batch, clip), precision,
            step_ms=1000 * float(seconds[name].median()), of_paper=ratio(seconds[name], seconds[PAPER]),
        )  # fmt: skip

    for name in PARTS:
        if name != PAPER:
            job.attempt(f"step with {name}", lambda: measure(name), 8 * job.is_cuda)  # noqa: B023 - called at once
            job.free()
