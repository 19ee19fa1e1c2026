"""The results as CSV, as JSON and as tables on the console."""

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from common.errors import DataError
from common.files import atomic_file, check_output, reason, what_is_at, write_errors
from common.json_text import json_text
from common.logs import LOG
from common.text import printable
from data.store.own_films import PREDICT, maker_named, maker_of
from evaluate.prediction.results import Best, Segment, VideoResult

MADE_BY = PREDICT
SUFFIXES = (".csv", ".json", ".mp4")
SEGMENT_COLUMNS = ["video", "start", "end", "class", "score", "windows"]
"""Of the CSV of segments."""
LIST = '"videos": ['
"""The end of the first line of a JSON file; other programs write all in one line, or this in a later one."""
LONGEST = 2**20  # characters of a first line; one has two columns a class
BESIDES = 2  # classes of a row after the best one
PRINTED = 30  # rows of a table on the console, where a file has all


def segments_path(output: Path) -> Path:
    """Where the segments go that belong to a CSV of windows: `x_segments.csv`."""
    return output.with_name(f"{output.stem}_segments.csv")


def check_place(output: Path, source: Path, has_windows: bool) -> None:
    """DataError unless a result may be written to `output`: a file of another kind that is there is kept."""
    check_output(output, SUFFIXES, "--output", source)
    folder = output.parent
    if what_is_at(folder) != "folder":
        raise DataError(f"--output {output}: there is no folder {folder}")
    places = [output, segments_path(output)] if has_windows and output.suffix.lower() == ".csv" else [output]
    for path in places:
        there = what_is_at(path)
        if (there and there != "file") or (there == "file" and path.stat().st_size and not _is_own(path)):
            raise DataError(
                f"--output: {path} is there and was not written by this command, or was changed since: give another "
                "name"
            )
    with write_errors(output), tempfile.TemporaryFile(dir=folder):
        pass


def remove_old_segments(output: Path) -> None:
    """Remove the segments of an earlier CSV of this name, which had windows. A file of another kind stays."""
    path = segments_path(output)
    with write_errors(path):
        if what_is_at(path) != "file" or path.is_symlink() or _first_columns(path) != SEGMENT_COLUMNS:
            return
        path.unlink()
    LOG.info("%s removed: it was of the windows that %s had before", path, output)


def _is_own(path: Path) -> bool:
    """Whether a file was written by this command, and has no more columns since, as somebody adds to check it."""
    try:
        if path.suffix.lower() == ".mp4":
            with path.open("rb"):  # PermissionError
                return maker_of(path) == maker_named(MADE_BY)
        if path.suffix.lower() == ".json":
            line = _first_line(path)
            return MADE_BY in line and line.rstrip().endswith(LIST)
        columns = _first_columns(path)
        has_windows = columns[1:2] == ["start"]
        top = (len(columns) - len(_columns(0, has_windows))) // 2
        return columns == SEGMENT_COLUMNS or (top > 0 and columns == _columns(top, has_windows))
    except (OSError, ValueError) as error:  # ValueError: no CSV
        if isinstance(error, PermissionError):
            raise DataError(f"--output {path}: {reason(error)}") from error
        return False


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline(LONGEST)


def _first_columns(path: Path) -> list[str]:
    return _first_line(path).strip().split(",")


def _escaped(text: str) -> str:
    r"""The text with control characters as `\x1b`, and bytes of a file name that are not UTF-8 as `\udce9`.

    So names that differ stay different.
    """
    return printable(text.encode("utf-8", errors="backslashreplace").decode("utf-8"))


def write_csv(path: Path, results: Iterable[VideoResult], classes: Sequence[str], top: int, has_windows: bool) -> None:
    """A row a video, or a row a window: `video[, start, end], class_1, score_1, ..., problem`.

    A video that could not be read is a row with its problem, and no classes. DataError if it cannot be written.
    """
    before_problem = len(_columns(top, has_windows)) - 2

    def rows() -> Iterator[list[Any]]:
        for result in results:
            name = _escaped(result.name)
            if result.problem:
                yield [name, *[""] * before_problem, _escaped(result.problem)]
            for each in result.windows:
                pairs = zip(each.classes[:top], each.scores, strict=False)
                values = [value for label, score in pairs for value in (classes[label], score)]
                yield [name, *_times(each, has_windows), *values, ""]

    _write_rows(path, _columns(top, has_windows), rows())


def _columns(top: int, has_windows: bool) -> list[str]:
    best = [column for number in range(1, top + 1) for column in (f"class_{number}", f"score_{number}")]
    return ["video", *(["start", "end"] if has_windows else []), *best, "problem"]


def write_segments(path: Path, segments: Mapping[str, Sequence[Segment]], classes: Sequence[str]) -> None:
    """A row a segment."""
    _write_rows(
        path,
        SEGMENT_COLUMNS,
        (
            [_escaped(name), *_times(each, True), classes[each.label], round(each.score, 6), each.windows]
            for name, of_video in segments.items()
            for each in of_video
        ),
    )


def _write_rows(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with write_errors(path), atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _times(part: Best | Segment, wanted: bool) -> list[float]:
    return [round(part.start, 3), round(part.end, 3)] if wanted else []


def write_json(
    path: Path,
    results: Iterable[VideoResult],
    segments: Mapping[str, Sequence[Segment]] | None,
    classes: Sequence[str],
    top: int,
    about: Mapping[str, Any],
) -> None:
    """The same as objects: `{"made_by", ..., "videos": [{"video", "predictions": [{"class", "score"}]}]}`.

    With windows (`segments` is not None), a video has "windows" and "segments". DataError if it cannot be written.
    """

    def predictions(best: Best) -> list[dict[str, Any]]:
        pairs = zip(best.classes[:top], best.scores, strict=False)
        return [{"class": classes[label], "score": score} for label, score in pairs]

    def times(part: Best | Segment) -> dict[str, float]:
        return dict(zip(("start", "end"), _times(part, True), strict=True))

    def video(result: VideoResult) -> dict[str, Any]:
        facts: dict[str, Any] = {"video": _escaped(result.name)}
        if result.problem:
            return facts | {"problem": _escaped(result.problem)}
        if segments is None:
            facts["predictions"] = predictions(result.windows[0])
        else:
            facts["windows"] = [times(each) | {"predictions": predictions(each)} for each in result.windows]
            facts["segments"] = [
                times(each) | {"class": classes[each.label], "score": round(each.score, 6), "windows": each.windows}
                for each in segments[result.name]
            ]
        return facts | ({"warnings": [_escaped(each) for each in result.warnings]} if result.warnings else {})

    with write_errors(path), atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        facts = {name: fact for name, fact in about.items() if name != "videos"}  # their number; here is their list
        head = json_text({"made_by": MADE_BY, **facts})
        file.write(f"{head[:-1]}, {LIST}")  # a video at a time: there may be many
        for number, result in enumerate(results):
            file.write(f"{',' * (number > 0)}\n{json.dumps(video(result), ensure_ascii=False)}")
        file.write("\n]}\n")


def video_table(results: Sequence[VideoResult], classes: Sequence[str], top: int, limit: int | None) -> Table:
    """A row a video that was read: its best classes. A single video has a row a class."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column, style in (("video", ""), ("class", "bold"), ("score", ""), ("then", "dim")):
        table.add_column(column, style=style, overflow="fold", justify="right" if column == "score" else "left")
    shown = [each for each in results if each.windows]
    if len(results) == 1:
        return _class_table(shown[0], classes, top)
    for result in shown[:limit]:
        best = result.windows[0]
        pairs = list(zip(best.classes, best.scores, strict=True))[1:top]
        then = ", ".join(f"{classes[label]} {100 * score:.0f}%" for label, score in pairs[:BESIDES])
        _row(table, result.name, classes[best.classes[0]], percent(best.scores[0]), then)
    return table


def _class_table(result: VideoResult, classes: Sequence[str], top: int) -> Table:
    title = Text(_escaped(result.name))  # a text would be read as markup
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left", title_style="")
    table.add_column("class", style="bold", overflow="fold")
    table.add_column("score", justify="right")
    best = result.windows[0]
    for label, score in list(zip(best.classes, best.scores, strict=True))[:top]:
        _row(table, classes[label], percent(score))
    return table


def segment_table(segments: Mapping[str, Sequence[Segment]], classes: Sequence[str], limit: int | None) -> Table:
    """A row a segment."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("video", "from", "to", "class", "score", "windows"):
        table.add_column(
            column,
            style="bold" if column == "class" else "",
            justify="left" if column in ("video", "class") else "right",
            overflow="fold",
        )
    rows = [(name, each) for name, of_video in segments.items() for each in of_video]
    before = None
    for name, each in rows[:limit]:
        shown = "" if name == before else name
        before = name
        _row(
            table, shown, clock(each.start), clock(each.end), classes[each.label], percent(each.score),
            str(each.windows),
        )  # fmt: skip
    return table


def _row(table: Table, *cells: str) -> None:
    table.add_row(*(Text(_escaped(cell)) for cell in cells))


def percent(score: float) -> str:
    """`97.3 %`."""
    return f"{100 * score:.1f} %"


def clock(seconds: float) -> str:
    """`1:04.5`, or `2:01:04.5`."""
    tenths = round(10 * seconds)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600
    text = f"{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{text}" if hours else text
