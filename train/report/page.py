"""The whole page: one HTML file that loads nothing, in which no other script than its own can run."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from train.report.markup import Html, joined, tag
from train.report.run_parts import Section
from train.report.style import SCRIPT, STYLE

GENERATOR = "SRTG run report"
MARK = f'<meta name="generator" content="{GENERATOR}"/>'
"""By this a report is recognised."""


def page(name: str, head: Html, sections: Sequence[Section], problems: Sequence[str]) -> str:
    """The page of a run called `name`; `problems` are lines about files that could not be used."""
    script = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{script}'"
    metas = (
        tag("meta", charset="utf-8"),
        Html(MARK),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: report of a run"),
        tag("style", Html(STYLE)),
    )
    shown = [section for section in sections if section.content]
    links = tag("nav", *(tag("a", section.title, href=f"#{section.key}") for section in shown))
    said = tag("div", tag("ul", *(tag("li", line) for line in problems)), class_="problems") if problems else None
    now = datetime.now().strftime("%-d %B %Y, %H:%M")
    parts = (
        tag("header", head, class_="head"),
        links,
        said,
        *(_section(section) for section in sections),
        tag("footer", f"Made on {now} by python -m evaluate.report.", class_="dim"),
    )
    body = tag("body", tag("main", *parts), tag("script", Html(SCRIPT)))
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *metas), body, lang="en") + "\n"


def _section(section: Section) -> Html:
    if not section.content:
        return tag("p", tag("b", section.title), f": left out, {section.why_not}.", class_="dim left-out")
    return tag("section", tag("h2", section.title), joined([section.content]), id=section.key)
