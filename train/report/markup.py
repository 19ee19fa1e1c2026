"""HTML and SVG as text in which whatever comes from a file is escaped: only `tag` makes markup."""

from collections.abc import Collection, Iterable, Sequence
from html import escape

from common.text import printable, shortened


class Html(str):
    """Text that is markup. Any other text is escaped when it becomes a part of an element."""

    __slots__ = ()


EMPTY = {"img", "input", "meta", "rect", "line", "path", "circle", "br"}  # they have no content


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. A child that is Html stays as it is, any other is escaped; None is left out.

    Attributes: `_` at the end of a name is dropped, further `_` become `-`; None and False are left out, True has no
    value.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        word = key.rstrip("_").replace("_", "-")
        words.append(word if value is True else f'{word}="{text(value)}"')
    opening = " ".join(words)
    return Html(f"<{opening}/>" if name in EMPTY else f"<{opening}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Elements and texts one after the other."""
    return Html("".join(child if isinstance(child, Html) else text(child) for child in children if child is not None))


def text(value: object) -> str:
    r"""A value as escaped text. Characters that HTML does not allow are written as escapes such as `\x1b`."""
    return escape(printable(str(value), keep="\n\t"))


def table(
    heads: Sequence[object], rows: Iterable[Sequence[object]], class_: str = "", right: Collection[int] = ()
) -> Html:
    """A table that scrolls sideways where the page is narrow. A cell is a `td`, or what becomes the content of one.

    The columns `right` have numbers, which are set right.
    """
    head = tag("tr", *(tag("th", each, scope="col", class_=_side(i in right)) for i, each in enumerate(heads)))
    body = (tag("tr", *(_cell(cell, i in right) for i, cell in enumerate(row))) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), class_=class_ or None), class_="wide")


def warned(lines: Sequence[str]) -> Html | None:
    """Warnings in a box; None without any."""
    return tag("ul", *(tag("li", shortened(line, 400)) for line in lines), class_="warned") if lines else None


def facts(pairs: Iterable[tuple[object, object]], class_: str = "") -> Html:
    """A list of names and values."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs),
        class_=f"facts {class_}".rstrip(),
    )


def _cell(cell: object, is_right: bool) -> Html:
    if isinstance(cell, Html) and cell.startswith("<td"):
        return cell
    return tag("td", cell, class_=_side(is_right))


def _side(is_right: bool) -> str | None:
    return "n" if is_right else None
