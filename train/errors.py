class TrainingError(RuntimeError):
    """A run that cannot go on, though nothing was wrong with the command: the message says where it stands.

    `on_all_ranks` says that every rank raises it, in the same words.
    """

    def __init__(self, message: str, on_all_ranks: bool = False) -> None:
        super().__init__(message)
        self.on_all_ranks = on_all_ranks


class StoppedBySignal(Exception):
    """The run stopped after a signal, with its state saved."""
