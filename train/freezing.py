"""Parts of a network that do not learn, for the whole run or for its first epochs.

A frozen part has no gradients: neither the optimiser nor weight decay moves its weights. It is in evaluation mode: its
batch norms use their running statistics, which stay as they are. Where everything before it is frozen too, autograd
keeps none of its activations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from common.errors import DataError
from common.logs import LOG
from common.options import flag_name, option, plain
from network import VideoNetwork
from network.sub_batch_norm import SubBatchNorm3d
from network.weights.loading import CLASSIFIER, LoadReport
from network.weights.tensors import first_names
from train.parameter_groups import part_of, parts_of

HEAD = part_of(CLASSIFIER[0])
NONE = "none"
BODY = ("stem", "layer1", "layer2", "layer3", "layer4")  # of every network; the rest is the classifier


def read_parts(words: str | Sequence[str]) -> tuple[str, ...]:
    """The parts of `stem,layer1` or `stem layer1`, each once; none of `none`. DataError if there is no word."""
    text = words if isinstance(words, str) else " ".join(words)
    parts = tuple(dict.fromkeys(text.replace(",", " ").split()))
    if not parts or (NONE in parts and len(parts) > 1):
        raise DataError(f"give parts of the network, such as stem,layer1, or {NONE}")
    return () if parts == (NONE,) else parts


@dataclass(frozen=True)
class FreezingOptions:
    """The flags that say what does not learn."""

    freeze: tuple[str, ...] = option(
        (), "parts of the network that do not learn, such as stem,layer1,layer2: no gradient, and batch norms in "
        "evaluation mode; none: all parts learn", "optimisation", read=read_parts, metavar="PART", is_compared=True,
    )  # fmt: skip
    head_only: bool = option(False, "only the classifier learns: all other parts are frozen", "optimisation",
                             is_compared=True)  # fmt: skip
    freeze_bn: bool = option(
        False, "all batch norms are in evaluation mode: their statistics stay as they are, their weights learn",
        "optimisation", is_compared=True,
    )  # fmt: skip
    unfreeze_after: int = option(
        0, "after N epochs (with long cycles: of the plan), all that is frozen begins to learn; 0: never",
        "optimisation", minimum=0, is_compared=True,
    )  # fmt: skip

    @property
    def is_freezing(self) -> bool:
        """Whether anything is frozen at the beginning."""
        return bool(self.freeze or self.head_only or self.freeze_bn)

    @property
    def fixes_all_norms(self) -> bool:
        """Whether no batch norm ever uses the statistics of a batch."""
        return (self.is_head_only or self.freeze_bn) and not self.unfreeze_after

    @property
    def is_head_only(self) -> bool:
        """Whether all parts but the classifier are frozen at the beginning."""
        return self.head_only or set(self.freeze) >= set(BODY)


class Freezing:
    """Freezes `parts` of a network, and with `norms` the statistics of all its batch norms.

    `unfreeze_after`: the epochs of the plan after which all learn; 0: never.
    """

    def __init__(self, parts: Sequence[str] = (), norms: bool = False, unfreeze_after: int = 0) -> None:
        self.parts, self.norms, self.unfreeze_after = tuple(parts), norms, unfreeze_after
        self.was_on = False

    def is_on(self, epoch: int) -> bool:
        """Whether anything is frozen in an epoch of the plan, counted from 1."""
        return bool(self.parts or self.norms) and not 0 < self.unfreeze_after < epoch

    def begin_epoch(self, network: nn.Module, epoch: int) -> bool:
        """Put a network into training mode, but for what is frozen. Whether other parameters learn than before."""
        is_on = self.is_on(epoch)
        has_changed, self.was_on = is_on != self.was_on, is_on
        network.train()
        if has_changed:
            for name, parameter in network.named_parameters():
                if part_of(name) in self.parts:
                    parameter.requires_grad_(not is_on)
            if not is_on:
                LOG.info("from epoch %d on all parts of the network learn", epoch)
        if is_on or has_changed:
            self._set_modes(network, is_on)
        return has_changed

    def _set_modes(self, network: nn.Module, is_on: bool) -> None:
        for name, module in network.named_modules():
            in_part = part_of(name) in self.parts
            is_norm = isinstance(module, nn.BatchNorm3d)
            # An LSTM does the same in both modes, and on a GPU has no backward pass in evaluation mode.
            if (in_part and not isinstance(module, nn.RNNBase)) or (is_norm and self.norms):
                if is_on:
                    module.training = False
                if isinstance(module, SubBatchNorm3d):
                    module.is_fixed = is_on

    def state_of(self, part: str) -> str:
        """`frozen`, or until when, of a part of the network; empty if it learns."""
        if part not in self.parts:
            return ""
        return f"frozen until epoch {self.unfreeze_after} is done" if self.unfreeze_after else "frozen"

    def lines(self, network: nn.Module, epoch: int = 1) -> Iterator[str]:
        """What is frozen in a run that goes on with an epoch of the plan, for the log."""
        if not (self.parts or self.norms):
            return
        if not self.is_on(epoch):
            yield f"all parts of the network learn since epoch {self.unfreeze_after + 1} (--unfreeze-after)"
            return
        what = [", ".join(self.parts)] if self.parts else []
        what += ["the statistics of all batch norms"] if self.norms else []
        sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
        learning = sum(size for name, size in sizes.items() if part_of(name) not in self.parts)
        until = f"until epoch {self.unfreeze_after} is done" if self.unfreeze_after else "for the whole run"
        yield f"frozen {until}: {' and '.join(what)}; {learning:,} of {sum(sizes.values()):,} weights learn"


def make_freezing(network: VideoNetwork, options: FreezingOptions) -> Freezing:
    """What the flags freeze in a network. DataError if it has no such part, or if nothing would learn."""
    known = parts_of(network)
    if unknown := [part for part in options.freeze if part not in known]:
        raise DataError(f"--freeze {unknown[0]}: the network has no such part; it has {', '.join(known)}")
    parts = [part for part in known if part != HEAD] if options.head_only else options.freeze
    if set(parts) == set(known):
        raise DataError(f"--freeze {','.join(parts)}: nothing would learn; leave out {HEAD} at least")
    return Freezing([part for part in known if part in parts], options.freeze_bn, options.unfreeze_after)


def check_resumed(freezing: Freezing, options: Any, saved: Mapping[str, Any], epoch: int) -> None:
    """DataError if a run is resumed after its unfreezing with other things to freeze, which would have no effect.

    `options` are those of the command line (a dataclass of flags), `saved` those of the checkpoint, `epoch` the next.
    """
    if freezing.is_on(epoch) or not options.is_freezing:
        return
    names = ("freeze", "head_only", "freeze_bn")
    now = plain(options)
    if others := [name for name in names if name in options.given and now[name] and now[name] != saved.get(name)]:
        raise DataError(
            f"{flag_name(others[0])} would have no effect: since epoch {freezing.unfreeze_after + 1} all parts learn "
            f"(--unfreeze-after {freezing.unfreeze_after}), and the run goes on with epoch {epoch}; give "
            "--unfreeze-after 0, or a later epoch, too"
        )


def check_frozen_weights(network: VideoNetwork, freezing: Freezing, report: LoadReport | None) -> None:
    """DataError if frozen weights or statistics are new: the rest would learn from the features of random weights.

    `report` is that of the file of weights; None if the run starts without one.
    """
    if not (freezing.parts or freezing.norms):
        return
    if report is None:
        raise DataError(
            "--freeze, --head-only and --freeze-bn need trained weights, and this run starts with new ones: give "
            "--pretrained-3d FILE, or --inflate FILE where SRTG is not frozen"
        )
    new = {*report.missing, *(skipped.name for skipped in report.skipped)}
    norms = {
        f"{path}.{name}"
        for path, module in network.named_modules()
        if freezing.norms and isinstance(module, nn.BatchNorm3d)
        for name in ("running_mean", "running_var")
    }
    if frozen := sorted(name for name in new if part_of(name) in freezing.parts or name in norms):
        raise DataError(
            f"frozen weights have to be those of the file, and these would be new ones: {first_names(frozen)}; freeze "
            "less, or give the --network of the file"
        )
