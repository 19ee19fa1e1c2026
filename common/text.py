"""Foreign text in messages: names of files and classes, contents of files. It may be long, or steer a terminal."""

import re
import unicodedata

SHOWN = 80  # characters of a foreign text in a message

# Control characters (ESC starts a command to the terminal), and marks that reverse the direction of a line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str, keep: str = "") -> str:
    r"""The text for a terminal or a log: control characters as `\x1b`, bytes that are not UTF-8 replaced.

    File names may have both. Characters in `keep` stay as they are.
    """
    try:
        text = text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    except UnicodeEncodeError:  # half of a character, as JSON may have it
        text = text.encode("utf-8", errors="replace").decode()
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else repr(match[0])[1:-1], text)


def composed(text: str) -> str:
    """The same text for both Unicode forms of accents, of which macOS has its own."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def shortened(text: str, limit: int = SHOWN) -> str:
    """At most about `limit` characters of a text: its beginning and its end."""
    if len(text) <= limit:
        return text
    tail = limit // 4
    return f"{text[: limit - tail]}... ({len(text)} characters) ...{text[len(text) - tail :]}"


def quoted(value: object) -> str:
    """A value that a file holds, as `repr` shows it, but not longer than a line."""
    # A long text is cut before, as `repr` of the whole would take its memory again.
    return repr(shortened(value)) if isinstance(value, str) else shortened(repr(value))
