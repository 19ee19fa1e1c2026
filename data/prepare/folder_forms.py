"""Names in two spellings, now and in an earlier run, or of two classes.

Where only the Unicode form of accents is another one than in the earlier run, as after a copy over a Mac, videos keep
the class and id of that run, which name their databases and label rows.
"""

from collections.abc import Collection, Iterable, Sequence

from common.errors import DataError
from common.text import composed, quoted
from data.labels.text import canonical_name, counted, first_names, note_on_form
from data.prepare.folder_layout import Video
from data.prepare.folder_names import Key


def classes_as_before(videos: Sequence[Video], before: Collection[str], notes: list[str]) -> list[Video]:
    """The videos with the class of an earlier run, `before`, where only its form differs, which a line says."""
    now = {video.label for video in videos}
    forms = {composed(label): label for label in before if label not in now}
    new = {label: forms[composed(label)] for label in now.difference(before) if composed(label) in forms}
    if not new:
        return list(videos)
    named = first_names([quoted(label) for label in sorted(new.values())])
    what = "named as in the earlier run, as only the Unicode form is another"
    notes.append(f"{what}: {counted(len(new), 'class')}, {named}")
    return [video._replace(label=new.get(video.label, video.label)) for video in videos]


def keys_as_before(keys: Sequence[Key], before: Collection[Key], notes: list[str]) -> list[Key]:
    """The keys by which an earlier run, `before`, knows the videos: those in another form only, which a line counts."""
    now = set(keys)
    forms = {tuple(map(composed, key)): key for key in before if key not in now}
    known = [key if key in before else forms.pop(tuple(map(composed, key)), key) for key in keys]
    if number := sum(old != key for old, key in zip(known, keys, strict=True)):
        what = "named as in the earlier run, as only the Unicode form of the path is another"
        notes.append(f"{what}: {counted(number, 'video')}")
    return known


def check_spellings(labels: Iterable[str], earlier: Collection[str] = ()) -> None:
    """DataError if two classes would share a folder, as `playing guitar` and `playing_guitar`.

    Those in `earlier` are of an earlier run, and have no video now.
    """
    first: dict[str, str] = {}
    for label in labels:
        if (other := first.setdefault(canonical_name(label), label)) != label:
            old, new = (label, other) if label in earlier else (other, label)
            remedy = "give both the same name"
            if old in earlier:
                remedy = f"{quoted(old)} is a class of an earlier run: name it so again, or give --replace-labels"
            what = f"{quoted(old)} and {quoted(new)} would be one class folder{note_on_form(old, new)}"
            raise DataError(f"{what}: {remedy}")
