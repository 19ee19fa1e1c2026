"""The errors that a message explains in full: a command prints it as one line, without a traceback."""


class UserError(Exception):
    """What the user can mend: the message names the file or flag, the value and the remedy."""

    exit_status = 2


class DataError(UserError, ValueError):
    """A mistake in the data, in a file or on the command line."""


class NetworkError(UserError, ValueError):
    """A network, or weights for one, that cannot be had."""


class TrainingError(UserError, RuntimeError):
    """A run that cannot go on, though nothing was wrong with the command: the message says where it stands.

    `on_all_ranks` says that every rank raises it, in the same words.
    """

    exit_status = 1

    def __init__(self, message: str, on_all_ranks: bool = False) -> None:
        super().__init__(message)
        self.on_all_ranks = on_all_ranks
