"""What the log says of how fast the weights of a run learn, and of flags that change nothing of it.

`options` are those of a script (a dataclass of flags).
"""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import nn

from train.freezing import HEAD, Freezing
from train.parameter_groups import lr_share, parts_of


def rates_of(network: nn.Module, options: Any, freezing: Freezing) -> Callable[[str, bool], str]:
    """A function of a part of the network, and whether it was loaded, to its share of the rate or `frozen`."""
    parts = parts_of(network)

    def text(part: str, is_loaded: bool) -> str:
        if part not in parts:
            return ""
        is_slow = is_loaded and options.fine_tune and part != HEAD
        share = lr_share(part, parts, is_slow, options.loaded_lr_factor, options.layer_decay)
        return freezing.state_of(part) or f"{share:.3g}"

    return text


def learning_lines(network: nn.Module, options: Any, loaded: Collection[str]) -> Iterator[str]:
    """The shares of the learning rate and the weight decay, where they are not the same for all parameters."""
    names = [name for name, _ in network.named_parameters()]
    if loaded:
        others = [name for name in names if name not in loaded]
        yield (
            f"fine-tuning: {len(names) - len(others)} loaded parameters learn at {options.loaded_lr_factor:g} of the "
            f"learning rate, {len(others)} others at the full rate: {', '.join(others) or 'none'}"
        )
    if options.layer_decay != 1 and not (options.is_head_only and not options.unfreeze_after):
        parts = parts_of(network)
        shares = (f"{part} {lr_share(part, parts, False, layer_decay=options.layer_decay):.3g}" for part in parts)
        whole = "these rates" if loaded else "the learning rate"
        yield f"layer decay: the parts learn at {', '.join(shares)} of {whole}"
    if not options.decay_norms and options.weight_decay:
        count = sum(parameter.dim() <= 1 for parameter in network.parameters())
        yield f"no weight decay of {count} parameters: weights of batch norm, and all biases"


def unused_flags(options: Any, num_epochs: int) -> Iterator[str]:
    """Warnings of flags that have no effect in a run of `num_epochs` epochs."""
    if "loaded_lr_factor" in options.given and not options.fine_tune:
        yield "--loaded-lr-factor has no effect: this run does not fine-tune"
    if not options.decay_norms and not options.weight_decay:
        yield "--decay-norms False has no effect: --weight-decay is 0"
    if options.unfreeze_after and not options.is_freezing:
        yield "--unfreeze-after has no effect: nothing is frozen"
    elif options.unfreeze_after >= num_epochs:
        yield f"--unfreeze-after {options.unfreeze_after} has no effect: the run has {num_epochs} epochs"
    if options.is_head_only and options.freeze_bn:
        yield "--freeze-bn has no effect: all batch norms are frozen"
    if options.fixes_all_norms and options.sync_bn:
        yield "--sync-bn has no effect: no batch norm uses the statistics of batches"
    if options.fixes_all_norms and options.precise_bn:
        yield "--precise-bn has no effect: all batch norms keep their statistics"
    if options.is_head_only and not options.unfreeze_after and options.layer_decay != 1:
        yield "--layer-decay has no effect: the classifier alone learns, at the full rate"
    if options.unfreeze_after:
        return
    if options.is_head_only and options.checkpoint_activations:
        yield "--checkpoint-activations has no effect: frozen blocks keep no activations"
    if options.is_head_only and options.drop_path:
        yield "--drop-path has no effect: all blocks are frozen"
    if HEAD in options.freeze and options.dropout:
        yield "--dropout has no effect: the classifier is frozen"
