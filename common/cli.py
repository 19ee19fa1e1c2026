"""How every command of the project takes its arguments and reports a user's mistake."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from common.errors import DataError, UserError

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


Number = TypeVar("Number", int, float)
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def boolean(text: str) -> bool:
    """`True` or `False` in any case, also yes/no, on/off and 1/0; use with `nargs="?", const=True`."""
    try:
        return BOOLEANS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False") from None


def numbers(texts: str | Iterable[str], kind: Callable[[str], Number] = int) -> tuple[Number, ...]:
    """The numbers of `40 60 75` or `40,60,75`, whole or split into words; DataError names what is none."""
    joined = texts if isinstance(texts, str) else " ".join(texts)
    try:
        return tuple(kind(word) for word in re.split(r"[,\s]+", joined) if word)
    except ValueError:
        raise DataError(f"{joined!r} is not a list of whole numbers such as 40 60 75 or 40,60,75") from None


class StoreNumbers(argparse.Action):
    """The action of a flag with `nargs="+"` or `"*"` that stores a tuple of whole numbers, as `numbers` reads them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the tuple; a word that is no number ends the program with the flag's name."""
        try:
            setattr(namespace, self.dest, numbers(values or ()))
        except DataError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run `main` and leave with its status; a UserError becomes one line on stderr and its exit status."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
