"""How every command of the project takes its arguments and reports a user's mistake."""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from common.errors import DataError

USAGE_ERROR = 2  # exit status after a mistake in the data or on the command line, as argparse has it


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations and names the nearest known flag for an unknown one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as ArgumentParser does; an unknown argument ends the program with a hint and status 2."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error("; ".join(self._describe_unknown(word) for word in unknown))
        return parsed

    def _describe_unknown(self, word: str) -> str:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = difflib.get_close_matches(word.split("=")[0], known, n=1, cutoff=0.5)
        return f"unknown argument {word!r}" + (f", did you mean {near[0]}?" if near else "")

    def error(self, message: str) -> NoReturn:
        """Print one line, not the whole usage, and leave with status 2."""
        print(f"{self.prog}: error: {message} (--help lists the flags)", file=sys.stderr)
        sys.exit(USAGE_ERROR)


def positive_integer(text: str) -> int:
    """The `type` of an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run `main` and leave with its status; a DataError becomes one line on stderr and status 2."""
    try:
        sys.exit(main())
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
