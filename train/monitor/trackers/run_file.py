"""tracker.json in a run's folder: the runs of trackers that a resumed run continues."""

import json
from pathlib import Path
from typing import Any

from common.files import OtherFileError, atomic_file, open_plain_text
from common.json_text import json_text

NAME = "tracker.json"
LARGEST = 2**20  # bytes; the file has a few hundred


def saved_id(folder: Path, tracker: str, run_key: str) -> str:
    """The id that `tracker` has for the run `run_key`, if the file in the run's folder tells it; else empty."""
    entry = _read(folder).get(tracker)
    if not isinstance(entry, dict) or entry.get("run_key") != run_key:
        return ""
    found = entry.get("id")
    return found if isinstance(found, str) else ""


def save_id(folder: Path, tracker: str, run_key: str, run_id: str) -> None:
    """Write the id that `tracker` has for the run `run_key`; OSError."""
    entries = _read(folder) | {tracker: {"id": run_id, "run_key": run_key}}
    with atomic_file(folder / NAME) as temporary:
        temporary.write_text(json_text(entries, indent=2) + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    """The entries by tracker; none if there is no such file, or if it is damaged."""
    try:
        with open_plain_text(folder / NAME, LARGEST) as file:
            entries = json.load(file)
    except (OSError, OtherFileError, ValueError, RecursionError):  # ValueError: no JSON, or no UTF-8
        return {}
    return entries if isinstance(entries, dict) else {}
