"""Whether the network can learn much in a run with cycles: small datasets leave it few steps, and a short warm-up."""

from train.schedule.plan import Plan

FEW_STEPS = 400  # of a whole run
FEW_WARMUP_STEPS = 30  # until the long cycle's first rate is reached
LARGE_FACTOR = 2  # times --lr-base; of a rate of the fixed shape, this was borne after six steps
WHERE = "see docs/multigrid.md, Small datasets"


def learning_warnings(plan: Plan) -> list[str]:
    """Lines for a run whose cycles leave it too few steps to learn; none for a run without cycles.

    The bounds lie above the runs that docs/multigrid.md shows to fail.
    """
    warnings = []
    steps, fixed = plan.total_steps, plan.fixed_shape_steps
    if steps < min(FEW_STEPS, fixed):
        warnings.append(
            f"only {steps} steps, where the fixed shape has {fixed:,}: the network will hardly learn; train without "
            f"cycles, or give more epochs ({WHERE})"
        )
    factor, warmup = plan.phases[0].batch_factor, plan.warmup_steps
    if plan.phases[0].parts == 1 and factor > LARGE_FACTOR and warmup < FEW_WARMUP_STEPS:
        warnings.append(
            f"the rate rises to {factor} times --lr-base within {warmup} steps, and the loss may explode: train "
            f"without cycles, or give a lower --lr-base or a longer --warmup-epochs ({WHERE})"
        )
    return warnings
