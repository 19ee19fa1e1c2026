class TrainingError(RuntimeError):
    """A run that cannot go on, though nothing was wrong with the command: the message says where it stands."""


class StoppedBySignal(Exception):
    """The run stopped after a signal, with its state saved."""
