"""What a file holds is shown on the terminal, and not obeyed by it."""

import io

from rich.table import Table
from rich.text import Text

from common.console import safe_console

STEERING = "a\x1b]0;title\x07b\x9b2Jc"


def test_texts_and_tables_cannot_steer_the_terminal():
    """A name in a file that somebody gave could clear the screen, write over lines, or set the terminal's title."""
    output = io.StringIO()
    console = safe_console(file=output, force_terminal=True, color_system="standard", width=200)
    table = Table(STEERING, title=STEERING)
    table.add_row(STEERING)
    for shown in (STEERING, Text(STEERING), table):
        console.print(shown, markup=False, highlight=False)
    text = output.getvalue()
    assert "\x1b]0" not in text and "\x9b" not in text
    assert text.count("a\\x1b]0;title") == 5


def test_colours_and_lines_stay():
    output = io.StringIO()
    console = safe_console(file=output, force_terminal=True, color_system="standard", width=200)
    console.print(Text("red\nand more", style="red"))
    console.print("a", "b", end="")
    assert output.getvalue() == "\x1b[31mred\x1b[0m\n\x1b[31mand more\x1b[0m\na b"
