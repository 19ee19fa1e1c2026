"""How every command of the project reads its arguments, shows its help and reports a user's mistake."""

import argparse
import difflib
import io
import math
import os
import re
import select
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from common import interrupt
from common.errors import DataError, UserError
from common.files import REASONS, reason
from common.text import printable, quoted, shortened

USAGE_ERROR = 2  # exit status after a mistake in the data or on the command line; argparse uses the same
LARGEST = 2**31 - 1  # of whole numbers: torch and NumPy take no larger ones in many places
LARGEST_CROP_SCALE = 8.0
LONGEST = 4000  # characters of a message; a path may have so many


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
        for kind, parse in ((int, whole_number), (float, finite_number), (Path, path)):
            self.register("type", kind, parse)  # an argument with `type=int` gets the project's way to read it

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """Parse as ArgumentParser does; an unknown argument ends the program with a suggestion and status 2."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error("; ".join(self._describe_unknown(word) for word in unknown))
        return parsed

    def _describe_unknown(self, word: str) -> str:
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        near = difflib.get_close_matches(word.split("=")[0], known, n=1, cutoff=0.5)
        return f"unknown argument {quoted(word)}" + (f", did you mean {near[0]}?" if near else "")

    def _print_message(self, message: str, file: Any = None) -> None:
        """As in Python 3.11 and newer: a reader of the help that has ended is no error."""
        with suppress(AttributeError, OSError):
            super()._print_message(message, file)

    def error(self, message: str) -> NoReturn:
        """Print one line, without the usage, and exit with status 2."""
        print_error(f"{self.prog}: error: {message} (--help lists the flags)")
        sys.exit(USAGE_ERROR)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Exit after `--help`; its output may have no reader any more, as in `--help | head`."""
        _flush_or_drop()
        super().exit(status, message)


def whole_number(text: str) -> int:
    """The `type` of an argument that is a whole number, written in the digits 0 to 9.

    `int` also takes `1_0`, digits of other scripts, and numbers that no library of the project can store.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text.strip()):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number")
    if len(text) > 20 or abs(int(text)) >= 2**63:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is too large")
    return int(text)


def positive_integer(text: str) -> int:
    """The `type` of an argument that is a whole number of at least 1."""
    if not re.fullmatch(r"[0-9]+", text) or not text.strip("0"):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a whole number above 0")
    if len(text) > 20 or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is too large: {LARGEST} is the most")
    return int(text)


def finite_number(text: str) -> float:
    """The `type` of an argument that is a number, neither infinite nor NaN."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in text or not text.isascii():
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a finite number")
    return number


def path(text: str) -> Path:
    """The `type` of an argument that is a path. An empty one, of an unset variable, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(text)


class StoreText(argparse.Action):
    """The action of a flag whose value is a text: an empty one, of an unset variable, is refused."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the text; an empty one ends the program with a line that names the flag."""
        if not values:
            raise argparse.ArgumentError(self, "the value is empty: leave the flag out, or give it a value")
        setattr(namespace, self.dest, values)


BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def boolean(text: str) -> bool:
    """`True` or `False` in any case, also yes/no, on/off and 1/0; use with `nargs="?", const=True`."""
    try:
        return BOOLEANS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is neither True nor False") from None


def numbers(texts: str | Iterable[str]) -> tuple[int, ...]:
    """The whole numbers of `40 60 75` or `40,60,75`, as one text or several; DataError if one is not a number."""
    joined = texts if isinstance(texts, str) else " ".join(texts)
    words = [word for word in re.split(r"[,\s]+", joined) if word]
    if not all(re.fullmatch(r"[+-]?[0-9]+", word) for word in words):
        raise DataError(f"{quoted(joined)} is not a list of whole numbers such as 40 60 75 or 40,60,75")
    if large := [word for word in words if len(word) > 20 or abs(int(word)) > LARGEST]:
        raise DataError(f"{quoted(large[0])} is too large: {LARGEST} is the most")
    return tuple(map(int, words))


class StoreRead(argparse.Action):
    """The action of a flag that stores what `read` makes of its word, with `nargs="+"` of its words."""

    def __init__(self, *args: Any, read: Callable[[str | Sequence[str]], Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.read = read

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the value; a DataError of `read` ends the program with a line that names the flag."""
        try:
            setattr(namespace, self.dest, self.read(values or ()))
        except DataError as error:
            raise argparse.ArgumentError(self, str(error)) from None


class StoreNumbers(StoreRead):
    """The action of a flag with `nargs="+"` or `"*"` that stores a tuple of whole numbers; see `numbers`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, read=numbers, **kwargs)


def run_command(main: Callable[[], int], to_go_on: str = "") -> NoReturn:
    """Run `main` and exit with its status. A UserError becomes one line on stderr and the error's exit status.

    After Ctrl-C the line says `to_go_on`, what the user does to continue.

    So does, as a last resort, a failed access to a file. A full disk or a limit of the system, also where only the
    output meets it, is one line and status 1, as is too little memory; no line if the output's reader has ended, as in
    `... | head`.
    """
    is_command = interrupt.restore_ctrl_c()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if it is closed, or a test's
            stream.reconfigure(errors="backslashreplace")  # names that the terminal's encoding does not have
    try:
        status = main()
        if sys.stdout:
            sys.stdout.flush()
    except UserError as error:
        if not error.is_told:
            print_error(f"error: {error}")
        status = error.exit_status
    except KeyboardInterrupt:
        if is_command:  # and no notebook, which goes on
            interrupt.end_at_next()
        if not interrupt.has_launcher():  # which says it once, for all ranks
            print_error(f"interrupted; {to_go_on}" if to_go_on else "interrupted")
        status = interrupt.STATUS
    except OSError as error:
        status = _status_of(error)
    except MemoryError as error:
        print_error(f"error: memory ran out ({str(error) or 'MemoryError'}): end other programs, or work on less")
        status = 1
    sys.exit(status)


def _status_of(error: OSError) -> int:
    """Print the line of an error that is not the program's, and return the status; any other is raised again."""
    if isinstance(error.filename, str | bytes | os.PathLike):
        print_error(f"error: {os.fsdecode(error.filename)}: {reason(error)}")
        return USAGE_ERROR
    is_unread = isinstance(error, BrokenPipeError) and _reader_has_ended()
    if not is_unread and error.errno not in REASONS:
        raise error
    _flush_or_drop()
    if not is_unread:
        print_error(f"error: {reason(error)}")
    return 1


def _reader_has_ended() -> bool:
    """Whether stdout is a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # 0: errors alone
        return bool(poll.poll(0))
    except (OSError, ValueError, AttributeError):  # it is closed, or no file
        return False


def _flush_or_drop() -> None:
    """Write what stdout still holds; if that fails, send it to nowhere, or Python would fail on it at exit."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def print_error(message: str) -> None:
    """Print a line to standard error, of printable characters."""
    with suppress(OSError):  # nobody reads it
        print(shortened(printable(message), LONGEST), file=sys.stderr)
