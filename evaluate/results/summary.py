"""summary.json, the facts and scores of an evaluation: read, and compared with the files beside it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from common.files import OtherFileError, open_plain_text
from common.json_text import json_text
from data.store.origin import whole_content

SUMMARY = "summary.json"
LARGEST = 2**26  # bytes
FILES = "files"  # the entry that tells a changed file: a digest of each, by name


def read_summary(path: Path) -> dict[str, Any] | None:
    """What a summary holds; None if there is none, or another file."""
    with (
        suppress(OSError, OtherFileError, ValueError, RecursionError),
        open_plain_text(path, LARGEST) as file,
    ):
        found = json.load(file)
        if isinstance(found, dict):
            return found
    return None


def with_digests(summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The summary with digests of the files in its folder, and of itself."""
    digests = {name: whole_content([file]) for name, file in _files_in(folder)}
    return {**summary, FILES: digests | {SUMMARY: _digest_of(summary)}}


def _files_in(folder: Path) -> list[tuple[str, Path]]:
    """The files in a folder and its folders, with their names relative to it."""
    return [(path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file()]


def changed_in(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """The files of an evaluation that are not as it wrote them: somebody may have noted in a table what is wrong.

    Older versions kept no digests.
    """
    known = summary.get(FILES)
    if not isinstance(known, Mapping):
        return []
    now = {name: whole_content([path]) for name, path in _files_in(folder) if name in known}
    now[SUMMARY] = _digest_of(summary)
    return sorted(name for name, digest in now.items() if digest != known.get(name))


def _digest_of(summary: Mapping[str, Any]) -> str:
    """A digest of all of a summary but its digests."""
    text = json_text({name: entry for name, entry in summary.items() if name != FILES})
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def ids_of(summary: Mapping[str, Any]) -> list[object]:
    """Hashes of the videos that an evaluation is of, for each split."""
    passports = summary.get("passport")
    if not isinstance(passports, Mapping):
        return []
    return [each.get("ids") for each in passports.values() if isinstance(each, Mapping)]


def bad_ids(summary: Mapping[str, Any]) -> set[str]:
    """The videos that an evaluation left out of the scores, as it could not read them."""
    found = summary.get("bad_videos")
    return {str(each.get("id")) for each in found if isinstance(each, Mapping)} if isinstance(found, list) else set()
