class DataError(ValueError):
    """A mistake in the user's data or command: the message names the file, the value and the remedy."""
