"""Class names in pictures: short, of letters that a font of this machine has, and never read as formulas."""

from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from common.text import printable

FAMILY = "DejaVu Sans"  # comes with matplotlib
# Families with the letters that it lacks, of which most machines have one: Linux, macOS, Windows.
OTHERS = (
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo",
    "Arial Unicode MS", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "SimHei", "Nirmala UI", "FreeSans", "Unifont",
)  # fmt: skip


@cache
def families() -> tuple[str, ...]:
    """The font families for names, of those that this machine has: a letter is of the first that has it."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return (FAMILY, *(family for family in OTHERS if family in installed))


@cache
def _fonts() -> tuple[FT2Font, ...]:
    return tuple(font_manager.get_font(font_manager.findfont(family)) for family in families())


def is_drawable(name: str) -> bool:
    """Whether the fonts of `families` have all letters of a name."""
    return all(any(font.get_char_index(ord(letter)) for font in _fonts()) for letter in name)


def figure_names(classes: Sequence[str], limit: int) -> tuple[list[str], int]:
    """The names for a picture, of at most `limit` letters, and how many could not be drawn.

    A name with a letter that no font has becomes `class 17`: its row in per_class.csv, from 0. Formulas, which
    matplotlib reads between dollars, stay text.
    """
    shown, unknown = [], 0
    for index, name in enumerate(map(printable, classes)):
        if not is_drawable(name):
            name, unknown = f"class {index}", unknown + 1
        shown.append(short(name, limit).replace("$", r"\$"))
    return shown, unknown


def short(name: str, limit: int) -> str:
    """The beginning and the end of a name of more than `limit` letters."""
    if len(name) <= limit:
        return name
    tail = limit // 3
    return f"{name[: limit - 1 - tail].rstrip()}…{name[len(name) - tail :].lstrip()}"
