"""How every command of the project reads its arguments, shows its help and reports a user's mistake."""

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common.errors import DataError, UserError

USAGE_ERROR = 2  # exit status after a mistake in the data or on the command line; argparse uses the same


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Appends defaults to the help of arguments, writes the usage in one line and keeps the lines of a description.

    A default is appended unless the help mentions it already, and unless there is nothing to say: it is None, False, an
    empty text or list, or the flag takes no value.
    """

    def add_usage(
        self, usage: str | None, actions: Iterable[argparse.Action], groups: Iterable[Any], prefix: str | None = None
    ) -> None:
        """Add the line `usage: PROG VIDEOS OUT --dataset DIR [options]`, which names what a command cannot do without.

        Positionals come first: after an option of several values they would be read as further values.
        """
        if usage is None:
            shown = [action for action in actions if action.help != argparse.SUPPRESS]
            words = [self._format_args(action, self._name(action)) for action in shown if not action.option_strings]
            words += [
                f"{action.option_strings[0]} {self._format_args(action, self._name(action))}"
                for action in shown
                if action.option_strings and action.required
            ]
            if any(action.option_strings and not action.required for action in shown):
                words.append("[options]")
            usage = " ".join(["%(prog)s", *(word.replace("%", "%%") for word in words)])
        super().add_usage(usage, actions, groups, prefix)

    def _name(self, action: argparse.Action) -> str:
        """The name of an argument's value that has no `metavar`."""
        return action.dest.upper() if action.option_strings else action.dest

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)  # wraps a long line

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", _default_text(action)
        if not default:
            return text
        if "default" not in text:
            text += " (default: %(default)s)"
        return text.replace("%(default)s", default.replace("%", "%%"))


def _default_text(action: argparse.Action) -> str:
    """The default as a user would type it; empty if there is nothing to say."""
    default = action.default
    if action.nargs == 0 or default is None or default is False or default == argparse.SUPPRESS:
        return ""
    if type(default) in (list, tuple):  # not a NamedTuple, which has a text form of its own
        return " ".join(str(value) for value in default)
    return str(default) if isinstance(default, bool | int | float | str | Path) else ""


class CommandParser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations and suggests the nearest known flag for an unknown one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", HelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as ArgumentParser does; an unknown argument ends the program with a suggestion and status 2."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error("; ".join(self._describe_unknown(word) for word in unknown))
        return parsed

    def _describe_unknown(self, word: str) -> str:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = difflib.get_close_matches(word.split("=")[0], known, n=1, cutoff=0.5)
        return f"unknown argument {word!r}" + (f", did you mean {near[0]}?" if near else "")

    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage, and exit with status 2."""
        print(f"{self.prog}: error: {message} (--help lists the flags)", file=sys.stderr)
        sys.exit(USAGE_ERROR)


def positive_integer(text: str) -> int:
    """The `type` of an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def boolean(text: str) -> bool:
    """`True` or `False` in any case, also yes/no, on/off and 1/0; use with `nargs="?", const=True`."""
    try:
        return BOOLEANS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False") from None


def numbers(texts: str | Iterable[str]) -> tuple[int, ...]:
    """The whole numbers of `40 60 75` or `40,60,75`, as one text or several; DataError if one is not a number."""
    joined = texts if isinstance(texts, str) else " ".join(texts)
    try:
        return tuple(int(word) for word in re.split(r"[,\s]+", joined) if word)
    except ValueError:
        raise DataError(f"{joined!r} is not a list of whole numbers such as 40 60 75 or 40,60,75") from None


class StoreNumbers(argparse.Action):
    """The action of a flag with `nargs="+"` or `"*"` that stores a tuple of whole numbers; see `numbers`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the tuple; a word that is not a number ends the program with a line that names the flag."""
        try:
            setattr(namespace, self.dest, numbers(values or ()))
        except DataError as error:
            raise argparse.ArgumentError(self, str(error)) from None


def run_command(main: Callable[[], int]) -> NoReturn:
    """Run `main` and exit with its status. A UserError becomes one line on stderr and the error's exit status."""
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
