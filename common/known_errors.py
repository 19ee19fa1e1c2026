"""Errors that are none of the project's, nor of a file: memory, a GPU that fails, a limit, a lost process."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from common.distributed.rendezvous import is_lost_peer
from common.errors import TrainingError, UserError
from common.text import shortened

LESS_MEMORY = "lower --batch-size, --workers or --clip-size, or give --accumulate"
# As torch and onnxruntime write them; "CUDA" alone is also in their messages on a graph's mistakes.
_OF_THE_DEVICE = re.compile(
    "CUDA (?:driver )?(?:error|failure)|(?:CUBLAS|CUDNN)(?:_STATUS| error| failure)|unable to find an engine",
    re.IGNORECASE,
)
_DEVICE_ERRORS = (torch.OutOfMemoryError, getattr(torch, "AcceleratorError", torch.OutOfMemoryError))


def describe_known_error(error: Exception, less_memory: str = LESS_MEMORY) -> str:
    """The cause of an exception that is not this project's, in one line with its remedy; empty if it is unknown."""
    text = str(error)
    lines = text.splitlines() or [type(error).__name__]
    first = next((line for line in lines if "can't allocate memory" in line), lines[0])
    if "can't allocate memory" in text or isinstance(error, MemoryError) or _number(error) == errno.ENOMEM:
        return f"memory ran out ({first}): {less_memory}"
    if _number(error) in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text or "ancdata" in text:
        return f"too many open files ({first}): raise the limit of `ulimit -n`, or lower --workers"
    no_process = _number(error) == errno.EAGAIN and "without blocking" not in text  # as of a pipe that is full
    if no_process or "can't start new thread" in text:
        return (
            f"no further process or thread can be started ({first}): raise the limit of `ulimit -u`, or lower --workers"
        )
    if "DataLoader worker" in first and "Caught " not in first:  # raised by a signal handler, at any line
        return f"a process that reads clips died ({first}). If memory ran out, {less_memory}"
    if isinstance(error, RuntimeError) and is_lost_peer(error):
        cause = first.split(". ")[0]
        if re.search("timed out|timeout", first, re.IGNORECASE):
            return (
                f"another rank does not answer ({cause}): it was stopped, hangs, or waits for its disk or GPU; look at "
                "the processes of its machine"
            )
        return (
            f"lost the connection to another rank, which failed or was killed ({cause}); its own log gives the reason"
        )
    return ""


def _number(error: Exception) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def is_of_device(error: Exception) -> bool:
    """Whether the GPU, its memory or its libraries failed."""
    return isinstance(error, _DEVICE_ERRORS) or _OF_THE_DEVICE.search(str(error)) is not None


@contextmanager
def machine_errors(less_memory: str, on_cpu: str = "try --device cpu, and ") -> Iterator[None]:
    """One line, a TrainingError, for what a machine lacks or does wrong in the block.

    `less_memory` is what to lower, and `on_cpu` how to go on without the GPU.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        line = describe_known_error(error, less_memory)
        if isinstance(error, torch.OutOfMemoryError):
            line = f"the GPU's memory is full: {less_memory}"
        elif not line and is_of_device(error):
            first = shortened((str(error).splitlines() or [type(error).__name__])[0], 200)
            line = (
                f"the GPU or its driver failed ({first}): give the command again; if it fails again, {on_cpu}look at "
                "the machine's log"
            )
        if not line:
            raise
        raise TrainingError(line) from error
