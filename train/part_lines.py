"""What the log says of each part of a run's recipe that is on, and of flags for them that have no effect."""

from typing import Any

from common.options import part
from network import VideoNetwork
from network.regularisation import is_branch_zero
from network.resnet3d import ResidualBlock
from train.averaging import SLOW_START
from train.checkpoint.start import StartingPoint
from train.freezing import HEAD
from train.mixing import MixingOptions, mixing_lines
from train.precise_norm import batches_for_statistics
from train.recipe import recipe_lines
from train.schedule.plan import Plan


def part_lines(options: Any, network: VideoNetwork, plan: Plan) -> list[str]:
    """One line for each part of the recipe that is on; `options` are those of a script (a dataclass of flags)."""
    lines = recipe_lines(options)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if options.zero_init_residual and is_branch_zero(network):
        line = f"--zero-init-residual: the residual branches of {len(blocks)} blocks start as zero"
        if any(block.placement == "end" or (block.placement == "mid" and not block.conv3) for block in blocks):
            line += f"; so does what SRTG sees with --placement {options.placement}, which learns slowly at first"
        lines.append(line)
    if options.dropout and (HEAD not in options.freeze or options.unfreeze_after):
        lines.append(f"--dropout: the classifier's features are dropped with probability {options.dropout:g}")
    if options.drop_path and (not options.is_head_only or options.unfreeze_after):
        lines.append(
            f"--drop-path: a clip's residual branches are dropped with a probability that grows to "
            f"{options.drop_path:g} over {len(blocks)} blocks"
        )
    lines += mixing_lines(part(options, MixingOptions))
    if options.ema:
        updates = min(1 / (1 - options.ema), (SLOW_START + plan.total_steps) / (SLOW_START - 1))
        lines.append(
            f"--ema: validated, and used from the checkpoints, is the moving average of the weights with the decay "
            f"{options.ema:g}, at the end over about the last {max(1, round(updates))} of {plan.total_steps} updates"
        )
    if options.precise_bn and not options.fixes_all_norms:
        spec, count = plan.full_spec, batches_for_statistics(options.precise_bn, plan)
        fewer = f" (all that the training videos fill, of {options.precise_bn})" if count < options.precise_bn else ""
        share = count * spec.batch_size / plan.num_videos
        lines.append(
            f"--precise-bn: before each validation, statistics of {count} batches{fewer} of {spec.batch_size} clips of "
            f"{'x'.join(map(str, spec.shape))}, {share:.3g} times the training videos"
        )
    return lines


def unused_parts(options: Any, network: VideoNetwork, start: StartingPoint) -> list[str]:
    """What to say of flags that have no effect; the starting point's weights are in the network."""
    lines = []
    if "evaluation_dir" in options.given:
        lines.append("--evaluation-dir has no effect: it is of --evaluate")
    if "bad_video_limit" in options.given and options.on_bad_video != "skip":
        lines.append(f"--bad-video-limit has no effect: it is of --on-bad-video skip, not {options.on_bad_video}")
    if options.zero_init_residual and not start.is_resume and not is_branch_zero(network):
        lines.append(f"--zero-init-residual has no effect: the weights of {start.path} take the place of all zeros")
    if start.is_resume and start.checkpoint:
        before = bool(start.checkpoint["options"].get("zero_init_residual", False))
        if before != options.zero_init_residual and "zero_init_residual" in options.given:
            lines.append("--zero-init-residual has no effect: it is of new weights, and this run is resumed")
    if options.weights != "auto" and start.is_resume:
        lines.append(f"--weights {options.weights} has no effect: a resumed run goes on with the weights of training")
    elif options.weights != "auto" and start.checkpoint is None:
        lines.append(f"--weights {options.weights} has no effect: this run starts from new weights")
    return lines
