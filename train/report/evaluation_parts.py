"""The sections of the page about evaluations: scores, classes, confusions and the worst videos."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic

from common.errors import DataError
from common.text import shortened
from train.report.evaluation_files import CONFUSION, PER_CLASS, SUMMARY, WORST, EvaluationFiles, Value
from train.report.filmstrips import filmstrip
from train.report.markup import Html, facts, joined, table, tag, warned
from train.report.problems import Problems, number
from train.report.run_parts import INTERVAL, NAMES, Section, date_of, from_stamp, other_dataset
from train.report.video_places import VideoPlaces

STRIPS = 12  # of the worst videos
LISTED = 100  # of the worst videos, as text
FILTERED = 15  # a table of classes with more rows has a box to filter them
ABOUT = {
    "checkpoint": "file",
    "dataset": "dataset",
    "videos": "videos",
    "bad_videos": "unreadable videos",
    "clip": "clip",
    "interval": "interval",
    "crop_scale": "crop scale",
    "normalisation": "normalisation",
    "precision": "precision",
}
"""Facts of a summary that are shown, and their names."""
MOST_SECONDS, MOST_SECONDS_OF_ALL = 30, 180  # in which video files are decoded for the page
LARGEST_PICTURES = 6 * 2**20  # bytes of all pictures in the page


class Pictures:
    """Pictures as parts of the page, as long as they are not too many bytes together, and do not take too long."""

    def __init__(self) -> None:
        self.left = LARGEST_PICTURES
        self._end = monotonic() + MOST_SECONDS_OF_ALL

    def strip(self, path: Path, meaning: str) -> Html | None:
        """Frames of a video. DataError if it cannot be read, or takes too long: a small file may hold huge frames."""
        content = filmstrip(path, min(self._end, monotonic() + MOST_SECONDS))
        return self.img(content, "jpeg", meaning, "strip")

    def img(self, content: bytes, kind: str, meaning: str, class_: str) -> Html | None:
        """The picture, of MIME type image/`kind`; None if the page has too many."""
        if len(content) > self.left:
            return None
        self.left -= len(content)
        source = f"data:image/{kind};base64,{b64encode(content).decode()}"
        return tag("img", src=source, alt=meaning, class_=class_)


def evaluation_sections(
    evaluations: Sequence[EvaluationFiles], dataset: object, problems: Problems, given: Path | None = None
) -> Iterator[Section]:
    """A section for each evaluation, the newest first.

    Frames are read from the dataset of the evaluation, or from `dataset`, which is the run's, or if given from `given`.
    """
    pictures = Pictures()
    if not evaluations:
        why = "there is no folder evaluation_<split>_<clips>x<crops> in the run"
        yield Section("evaluation", "Evaluation", Html(""), why)
    for position, each in enumerate(evaluations, start=1):
        clips, crops = each.views
        title = f"Evaluation: {each.split}, {clips} clip{'s' * (clips != 1)} × {crops} crop{'s' * (crops != 1)}"
        parts = (
            warned(each.warnings),
            _scores(each),
            _classes(each),
            _confusion(each, pictures),
            *_worst(each, VideoPlaces(_datasets(each, dataset), given), pictures, problems),
        )
        yield Section(f"evaluation{position}", title, joined(parts))


def _datasets(evaluation: EvaluationFiles, dataset: object) -> tuple[object, ...]:
    """Where its videos may be: another dataset may have others under the same names."""
    own = evaluation.summary.get("dataset")
    return (own,) if other_dataset(evaluation, dataset) else (own, dataset)


def _scores(evaluation: EvaluationFiles) -> Html:
    """Scores by the number of clips, with their intervals."""
    sets = evaluation.scores
    about = facts(
        (name, shown)
        for name, shown in (
            *((name, _plain(evaluation.summary.get(key))) for key, name in ABOUT.items()),
            ("date", date_of(from_stamp(evaluation.time))),
        )
        if shown is not None
    )
    if not sets:
        return _absent("Scores", SUMMARY, "has no scores" if evaluation.summary else "is not there")
    given = dict.fromkeys(name for scores in sets.values() for name in scores)
    names = [*(name for name in NAMES if name in given), *(name for name in given if name not in NAMES)]
    ordered = sorted(sets.items(), key=lambda item: number(item[0]) or 0)
    lines = [(clips or "", *(_interval(name, scores.get(name)) for name in names)) for clips, scores in ordered]
    heads = ("clips", *(NAMES.get(name, name) for name in names))
    said = tag("p", f"Percent, and the loss; small: {INTERVAL}s over the videos.", class_="dim")
    return joined((about, table(heads, lines, "plain", right=range(1, len(heads))), said))


def _plain(value: object) -> object:
    """A fact of a summary that is shown: the name of a file, a number, how many there are of a list."""
    if isinstance(value, list):
        return f"{len(value)} left out" if value else None
    if isinstance(value, str):
        return value.rstrip("/").rpartition("/")[2]
    return f"{value:,}" if isinstance(value, int | float) else None


def _interval(name: str, value: Value | None) -> Html:
    if value is None:
        return tag("td", "")
    digits = 4 if name == "loss" else 2
    inside = None
    if value.low is not None and value.high is not None:
        inside = tag("small", f" {value.low:.{digits}f} to {value.high:.{digits}f}")
    return tag("td", tag("b", f"{value.value:.{digits}f}"), inside, class_="n")


def _classes(evaluation: EvaluationFiles) -> Html:
    """The table of classes, the weakest first."""
    lines = evaluation.classes
    if not lines:
        return _absent("Classes", PER_CLASS)
    ordered = sorted(lines, key=lambda row: (_or_most(row["top1"]), -(number(row["videos"]) or 0)))
    body = []
    for row in ordered:
        times = number(row["times"])
        confused = f"{row['most_confused_with']} ({row['times']}×)" if row["most_confused_with"] and times else ""
        name = tag("td", row["class"], class_="name")
        body.append(
            (name, _bare(row["videos"]), _bar(row["top1"]), _bar(row["top5"]), tag("td", confused, data_v=times or 0))
        )
    box = None
    if len(lines) > FILTERED:
        box = tag(
            "input",
            type="search",
            placeholder="filter classes",
            aria_label="filter classes",
            class_="filter",
            hidden=True,
        )
    heads = ("class", "videos", "top-1 (%)", "top-5 (%)", "most confused with")
    said = f"{len(lines):,} classes, the weakest first"
    title = tag("div", tag("h3", "Classes ", tag("small", said)), box, class_="bar")
    listed = tag("div", table(heads, body, "sortable", right=(1, 2, 3)), class_="tall")
    return tag("div", title, listed, class_="classes")


def _or_most(value: str) -> float:
    found = number(value)
    return float("inf") if found is None else found


def _bare(value: str) -> Html:
    found = number(value)
    return tag("td", "" if found is None else f"{found:,.0f}", class_="n", data_v=found)


def _bar(value: str) -> Html:
    """A percentage with a bar behind it."""
    found = number(value)
    if found is None:
        return tag("td", "", class_="n")
    width = min(100.0, max(0.0, found))
    return tag("td", f"{found:.1f}", class_="n share", style=f"--v:{width:.1f}%", data_v=f"{found:.6g}")


def _confusion(evaluation: EvaluationFiles, pictures: Pictures) -> Html:
    if not evaluation.confusion:
        return _absent("Confusions", CONFUSION)
    meaning = f"matrix of confusions of {evaluation.folder.name}"
    picture = pictures.img(evaluation.confusion, "png", meaning, "sheet")
    if picture is None:
        return _absent("Confusions", CONFUSION, "is left out: the page has many pictures already")
    return joined((tag("h3", "Confusions"), picture))


def _worst(evaluation: EvaluationFiles, places: VideoPlaces, pictures: Pictures, problems: Problems) -> Iterator[Html]:
    """Frames of the worst videos, and a table of more of them."""
    lines = evaluation.worst
    if not lines:
        yield _no_worst(evaluation)
        return
    yield tag("h3", "Worst videos ", tag("small", "misclassified, the lowest probability of their own class first"))
    strips, missing = [], []
    for row in lines[:STRIPS]:
        try:
            picture = pictures.strip(places.of(row["id"], row["path"]), f"frames of {row['id']}")
        except (DataError, OSError, ValueError) as error:
            missing.append(str(error))
            continue
        if picture is not None:
            strips.append(tag("figure", picture, tag("figcaption", *_caption(row)), class_="film"))
    if strips:
        said = f"Frames from {', '.join(places.used)}"
        problems.frames_from |= places.used
        yield joined((tag("div", *strips, class_="films"), tag("p", f"{said}.", class_="dim")))
    if missing:
        said = f"{len(missing)} of {min(STRIPS, len(lines))} videos have no frames here: {shortened(missing[0], 200)}"
        problems.notes.append(f"{evaluation.folder / WORST}: {said}")
        yield tag("p", said, class_="dim")
    rows = [
        (
            *(row[name] for name in ("id", "label")),
            _share(row["probability"]),
            row["predicted"],
            _share(row["predicted_probability"]),
        )
        for row in lines[:LISTED]
    ]
    heads = ("video", "class", "probability", "predicted", "its probability")
    more = f" (the first {LISTED} of {len(lines):,} in {WORST})" if len(lines) > LISTED else ""
    listed = tag("div", table(heads, rows, "sortable", right=(2, 4)), class_="tall")
    yield tag("details", tag("summary", f"All {min(len(lines), LISTED)} as a table{more}"), listed, open_=not strips)


def _no_worst(evaluation: EvaluationFiles) -> Html:
    top1 = evaluation.best_scores.get("top1")
    if evaluation.worst is None:
        return _absent("Worst videos", WORST)
    if top1 is None or top1.value < 100:
        return _absent("Worst videos", WORST, "has no rows")
    videos = number(evaluation.summary.get("videos"))
    said = f"All {videos:,.0f} videos are" if videos is not None and videos > 1 else "Every video is"
    return joined((tag("h3", "Worst videos"), tag("p", f"{said} classified correctly.", class_="dim")))


def _caption(row: dict[str, str]) -> tuple[object, ...]:
    own = f"{row['label']} {_percent(row['probability'])}"
    other = f"{row['predicted']} {_percent(row['predicted_probability'])}"
    name = Path(row["id"]).name
    return (tag("b", own), " predicted as ", tag("b", other, class_="wrong"), tag("small", name))


def _percent(value: str) -> str:
    found = number(value)
    return "" if found is None else f"({100 * found:.2g} %)" if found < 0.1 else f"({100 * found:.0f} %)"


def _share(value: str) -> Html:
    found = number(value)
    return tag("td", "" if found is None else f"{found:.3g}", class_="n", data_v=found)


def _absent(title: str, name: str, why: str = "is not there") -> Html:
    return joined((tag("h3", title), tag("p", f"{name} {why}.", class_="dim")))
