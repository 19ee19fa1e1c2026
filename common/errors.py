"""The errors that a user can correct: a command prints the message as one line, without a traceback."""


class UserError(Exception):
    """A mistake that the user can correct. The message names the file or flag, the value and the remedy.

    `on_all_ranks`: every rank raises this error, with the same message, in the same step. `is_told`: the message was
    printed already, since what followed could take long.
    """

    exit_status = 2

    def __init__(self, message: str = "", on_all_ranks: bool = False) -> None:
        super().__init__(message)
        self.on_all_ranks = on_all_ranks
        self.is_told = False


class DataError(UserError, ValueError):
    """A mistake in the data, in a file or on the command line."""


class NetworkError(UserError, ValueError):
    """A network that does not exist, or weights that cannot be loaded."""


class TrainingError(UserError, RuntimeError):
    """A run that cannot continue although its command was correct. The message says where it stopped."""

    exit_status = 1
