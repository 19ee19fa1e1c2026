"""Numbers and names in messages."""

import difflib
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Sequence, Sized

from common.text import composed, shortened

SHOWN = 3  # names in a message
# 11 characters for 64 bits, 6 in each: the last one can only be one of 16. Ids of other origin, such as subject_001,
# mostly end otherwise. The downloaders of HACS and Kinetics write v_<id> and <id>_<start>_<end>.
YOUTUBE_NAME = re.compile(r"(v_)?[A-Za-z0-9_-]{10}[AEIMQUYcgkosw048](_[0-9]+_[0-9]+)?")


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 class", "2 classes"."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def some(names: Iterable[str], noun: str) -> str:
    """The number of names and the first ones in sorted order: "7 names (a, b, c, ...)"."""
    ordered = sorted(names)
    if not ordered:
        return "nothing"
    dots = ", ..." if len(ordered) > SHOWN else ""
    return f"{counted(len(ordered), noun)} ({', '.join(map(shortened, ordered[:SHOWN]))}{dots})"


def first_names(names: Sequence[str], limit: int = 80) -> str:
    """The first names as given, of about `limit` characters each, and the number of others: "b, a, c, and 4 more"."""
    more = len(names) - SHOWN
    return ", ".join(shortened(name, limit) for name in names[:SHOWN]) + (f", and {more} more" if more > 0 else "")


def is_or_are(things: Sized) -> str:
    """The verb for a number of things."""
    return "is" if len(things) == 1 else "are"


def near_name(name: str, others: Sequence[str], cutoff: float = 0.8) -> str | None:
    """The name in `others` with the same letters and digits; else the most similar one; else None."""
    same = {letters(other): other for other in others}.get(letters(name))
    return same or next(iter(difflib.get_close_matches(name, others, n=1, cutoff=cutoff)), None)


def did_you_mean(name: str, others: Sequence[str]) -> str:
    """The end of a message on an unknown name: "; did you mean 'x'?", or nothing if no name in `others` is near."""
    near = near_name(name, others)
    return f"; did you mean {near!r}?{note_on_form(name, near)}" if near else ""


def note_on_form(name: str, other: str) -> str:
    """Both names in ASCII if they look alike, as they differ only in their Unicode form; else nothing."""
    if name == other or unicodedata.normalize("NFC", name) != unicodedata.normalize("NFC", other):
        return ""
    return f" (they differ in their Unicode form: {shortened(ascii(name))} and {shortened(ascii(other))})"


def canonical_name(name: str) -> str:
    """The same text for all spellings of a class: `_` for spaces, and accents composed or not."""
    return unicodedata.normalize("NFC", name).replace("_", " ")


def letters(name: str) -> str:
    """A name's letters and digits in lower case, without leading zeros: equal for two spellings of a class."""
    return re.sub(r"[\W_]", "", without_zeros(unicodedata.normalize("NFC", name))).casefold()


def without_zeros(name: str) -> str:
    """A name without the zeros before its numbers, but not in decimals: `a1_s2` for `a01_s002`, as Excel writes 1."""
    return re.sub(r"(?<![0-9])(?<![0-9][.,])0+(?=[0-9])", "", name)


def spelling_notes(names: Iterable[str]) -> list[str]:
    """A line on names that differ only in case, punctuation or leading zeros: perhaps one class in two spellings."""
    spelled: dict[str, list[str]] = {}
    for name in sorted(names):
        spelled.setdefault(letters(name) or name, []).append(name)
    pairs = [" and ".join(map(repr, map(shortened, same))) for same in spelled.values() if len(same) > 1]
    if not pairs:
        return []
    what = "are different classes, but differ only in case, punctuation or leading zeros: correct the labels?"
    return [f"{first_names(pairs)} {what}"]


def locale_hint(names: Iterable[str]) -> str:
    """What to do if the names of files are not UTF-8 here, so that some of the names cannot be found; else nothing."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return ""
    name = next((name for name in names if not name.isascii()), None)
    if name is None:
        return ""
    return f"names of files are {encoding} in this locale, and {shortened(ascii(name))} is not: set PYTHONUTF8=1"


def are_from_youtube(ids: Collection[str]) -> bool:
    """Whether most of the ids are of YouTube. Others look like one by chance: video_00004, but not video_00005."""
    return 2 * sum(map(is_youtube_name, ids)) > len(ids)


def path_key(path: str) -> tuple[str, str]:
    """The folders of a path and its file's name as they are compared: in folders, spaces and underscores are one."""
    folders, _, name = path.rpartition("/")
    return canonical_name(folders), composed(name)


def is_youtube_name(name: str) -> bool:
    """Whether a file of this name, without suffix, is a video of YouTube or a clip of one."""
    return YOUTUBE_NAME.fullmatch(name) is not None
