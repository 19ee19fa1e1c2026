"""What was measured, in files that are whole at any moment: results.json, results.md, profiles.txt."""

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.files import atomic_file
from common.json_text import json_text

COLUMNS = ("section", "what", "shape", "dtype", "result", "device", "torch", "date")


class Results:
    """The results in a folder. Every change is written at once; only one process may write at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.json_file, self.table_file = folder / "results.json", folder / "results.md"
        self.profiles_file, self.log_file = folder / "profiles.txt", folder / "log.txt"
        self._lock = threading.Lock()

    def read(self) -> dict[str, Any]:
        """`sections` by letter, and the list of `measurements`; empty ones if there is no file or it is not ours."""
        try:
            content = json.loads(self.json_file.read_text(encoding="utf-8"))
            return {"sections": dict(content["sections"]), "measurements": list(content["measurements"])}
        except (OSError, ValueError, KeyError, TypeError):
            return {"sections": {}, "measurements": []}

    def begin(self, section: str, title: str) -> None:
        """Drop what an earlier run has of the section."""
        with self._lock:
            content = self.read()
            content["measurements"] = [row for row in content["measurements"] if row["section"] != section]
            content["sections"][section] = {"title": title, "status": "not finished"}
            self._write(content)

    def note(self, section: str, **facts: Any) -> None:
        """Add facts about a section, such as its `status`."""
        with self._lock:
            content = self.read()
            content["sections"].setdefault(section, {}).update(facts)
            self._write(content)

    def add(self, row: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Add a measurement; `row` has the other COLUMNS. One of the same section, name, shape and dtype goes."""
        with self._lock:
            content = self.read()
            rows = content["measurements"]
            for number, other in enumerate(rows):
                if all(other.get(name) == row.get(name) for name in ("section", "what", "shape", "dtype")):
                    rows[number] = {**row, "values": dict(values)}
                    break
            else:
                rows.append({**row, "values": dict(values)})
            self._write(content)

    def profile(self, title: str, text: str) -> None:
        """Append a table of the profiler."""
        with self.profiles_file.open("a", encoding="utf-8") as file:
            file.write(f"{title}\n\n{text.rstrip()}\n\n\n")

    def remove_leftovers(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def _write(self, content: dict[str, Any]) -> None:
        for path, text in ((self.json_file, json_text(content, indent=1)), (self.table_file, markdown(content))):
            with atomic_file(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")


def markdown(content: Mapping[str, Any]) -> str:
    """The sections as a list, and all measurements as one table."""
    lines = ["# Measurements on a GPU", ""]
    for letter, section in sorted(content["sections"].items()):
        seconds = f", {section['seconds']:.0f} s" if "seconds" in section else ""
        lines.append(f"- {letter}: {section.get('title', '')}{seconds}: {_cell(section.get('status', ''))}")
    lines += ["", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [f"| {' | '.join(_cell(cell) for cell in cells(row))} |" for row in ordered(content)]
    return "\n".join(lines)


def ordered(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The measurements by section, each in the order in which they were made."""
    return sorted(content["measurements"], key=lambda row: row["section"])


def cells(row: Mapping[str, Any]) -> list[str]:
    """A measurement's texts for COLUMNS."""
    result = ", ".join(f"{name} {number(value)}" for name, value in row["values"].items())
    return [result if name == "result" else str(row.get(name, "")) for name in COLUMNS]


def number(value: Any) -> str:
    """Four significant digits, without an exponent for everyday numbers."""
    if isinstance(value, float):
        return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"
    return str(value)


def _cell(text: Any) -> str:
    return " ".join(str(text).replace("|", "\\|").split())
