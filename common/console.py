"""A rich console for foreign text: names of files, classes and runs cannot steer the terminal."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

from common.text import printable


def safe_console(**settings: Any) -> Console:
    """A Console that prints control characters within texts, tables and titles as escapes; its own colours stay."""
    console = Console(**settings)
    console.push_render_hook(_Printable())
    return console


class _Printable(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_PrintableText(each) for each in renderables]


class _PrintableText:
    def __init__(self, shown: RenderableType) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self.shown, options):
            yield Segment(text if control else printable(text, keep="\n\t"), style, control)
