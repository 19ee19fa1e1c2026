"""Which class and split each video of a folder has, by its folders or by its name."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import inode_of
from common.text import quoted, shortened
from data.labels.clip_length import Times, cut_times
from data.labels.label_file import SPLITS, FolderNameError, check_folder_name, check_name_length
from data.labels.text import counted, first_names, some
from data.prepare.file_names import is_hidden_folder, is_video
from data.prepare.folder_contents import Found, entries_of
from data.prepare.folder_tree import Tree
from data.prepare.previews import may_be_preview
from data.prepare.report import Problem
from data.prepare.sources import UNCERTAIN_CLASS, previews_of_classes
from data.store.folder_entries import is_folder
from data.store.video_file import Span

NAMES = {**{name: split for name, split in SPLITS.items() if name}, "valid": "val"}  # of folders of a split
LIKE_SPLITS = {"dev", "eval", "evaluation", "holdout"}
ELSE = (
    "or name a label file with --labels, or say with --class-from where in a file's path its class is; "
    "docs/own-videos.md shows the layouts"
)


class Video(NamedTuple):
    """A video of the dataset to be: a file or a folder of frames, or a part of one."""

    path: Path
    label: str
    name: str  # the id that it has if no other video of its class has that
    folders: tuple[str, ...]  # in which it lies, below its class
    split: str = ""  # "train", "val" or "test" if its folder or label file says it
    span: Span | None = None
    cut: Times | None = None  # as in sources.Source
    frames: tuple[int, int] | None = None  # in place of `span`
    above: tuple[str, ...] = ()  # the folder of its split, in which that of its class lies


class Layout(NamedTuple):
    """What a folder holds: a line that says how its classes were found, the videos, and what is left out."""

    said: str
    videos: list[Video]
    problems: list[Problem]
    notes: list[str]
    is_nested: bool = False  # folders below the classes may be those of subjects
    is_plain: bool = False  # the classes are folders


def by_folders(tree: Tree) -> Layout:
    """The layout of class folders, or of class folders in split folders. DataError if it is neither."""
    if not tree.found:
        raise DataError(_nothing(tree))
    splits = split_folders(tree)
    inner = {} if splits else inner_splits(tree)
    if not splits:
        check_like_splits(tree)
    roots = [tree.videos / name for name in splits] if splits else [tree.videos]
    below = 1 if splits else 0
    _check_loose(tree, below)
    layout = Layout("", [], [], [], is_plain=True)
    previews = {path for root in roots for path in _previews(tree, root, layout.problems)}
    bad: dict[str, tuple[str, int]] = {}
    deepest = 0
    for each in tree.found:
        parts = tree.parts(each)
        if len(parts) <= below + 1:  # only frames: _check_loose refuses files
            what = "left out: it holds pictures itself; put it into the folder of its class"
            layout.problems.append(Problem("warning", "/".join(parts), what))
            continue
        label, folders = parts[below], parts[below + 1 : -1]
        if tree.videos.joinpath(*parts[: below + 1]) in previews:
            continue
        if why := label_problem(label):
            place = "/".join(parts[: below + 1])
            bad[place] = why, bad.get(place, ("", 0))[1] + 1
            continue
        split = splits[parts[0]] if splits else ""
        above = parts[:below]
        if inner:
            split, above, folders = inner[parts[1]], parts[1:2], folders[1:]
        deepest = max(deepest, len(folders))
        cut = cut_times(None, each.name)
        layout.videos.append(Video(each.path, label, each.name, folders, split, None, cut, above=above))
    for place, (why, number) in bad.items():
        layout.problems.append(Problem("failed", place, f"{counted(number, 'video')} left out: {why}"))
    said = "<class>/" + ("<split>/" if inner else "") + ("<folders>/" if deepest else "") + "<video>"
    said = f"<split>/{said}" if splits else said
    if splits or inner:
        said += f", the splits are the folders {', '.join(splits or inner)}"
    _check_classes(tree, layout)
    known = {each.path.relative_to(tree.videos).parts[: below + 1] for each in tree.found}
    if empty := [place for root in roots for place in _folders_in(root, tree) if Path(place).parts not in known]:
        layout.notes.append(f"warning: without a video: {counted(len(empty), 'class folder')}, {first_names(empty)}")
    return layout._replace(said=f"layout: {said}", is_nested=deepest > 0)


def folder_of_class(tree: Tree, videos: Sequence[Video], label: str) -> tuple[str, ...]:
    """The folders in which that of a class lies: of its split, if it is not in the class."""
    video = next(video for video in videos if video.label == label)
    parts = video.path.relative_to(tree.videos).parts
    return video.above if parts[len(video.above)] == label else ()


def by_pattern(tree: Tree, pattern: re.Pattern[str]) -> Layout:
    """The class is what `pattern` finds in the path of a video. DataError if it finds nothing in any."""
    splits = split_folders(tree)
    inner = {} if splits else inner_splits(tree)
    group = "class" if "class" in pattern.groupindex else 1
    layout = Layout("", [], [], [])
    for each in tree.found:
        parts = tree.parts(each)
        item = "/".join(parts)
        match = pattern.search(item)
        label = match[group] if match else None
        if label is None:
            layout.problems.append(Problem("left out", item, "--class-from finds no class in this path"))
            continue
        if why := label_problem(label):
            layout.problems.append(Problem("failed", item, f"left out: its class would be {quoted(label)}: {why}"))
            continue
        split = splits[parts[0]] if splits else inner[parts[1]] if inner else ""
        above, folders = (parts[:1], parts[1:-1]) if splits else ((), parts[:-1])
        above, folders = (parts[1:2], (parts[0], *parts[2:-1])) if inner else (above, folders)
        folders = folders[1:] if folders[:1] == (label,) else folders
        cut = cut_times(None, each.name)
        layout.videos.append(Video(each.path, label, each.name, folders, split, None, cut, above=above))
    if not layout.videos:
        first = f", such as {'/'.join(tree.parts(tree.found[0]))}" if tree.found else ""
        raise DataError(
            f"--class-from {quoted(pattern.pattern)} finds no class in {counted(len(tree.found), 'path')} "
            f"in {tree.videos}{first}; it is a regular expression for the path below VIDEOS"
        )
    if not splits and any(video.path.relative_to(tree.videos).parts[0] != video.label for video in layout.videos):
        check_like_splits(tree)
    said = f"layout: the class is what {quoted(pattern.pattern)} finds in the path"
    said += f", the splits are the folders {', '.join(splits or inner)}" if splits or inner else ""
    return layout._replace(said=said)


def split_folders(tree: Tree) -> dict[str, str]:
    """The folders that are those of splits, if all are: name -> split. DataError if some are and others are not."""
    parts = [tree.parts(each) for each in tree.found]
    tops = dict.fromkeys(each[0] for each in parts if len(each) > 1)
    splits = {name: NAMES[name.casefold()] for name in tops if name.casefold() in NAMES}
    others = [name for name in tops if name not in splits]
    if "train" not in splits.values() or (others and len(set(splits.values())) < 2):
        return {}
    if others or any(len(each) == 1 for each in parts):
        what = some(others, "folder") if others else "videos"
        raise DataError(
            f"{tree.videos} holds the split folders {' and '.join(splits)}, and beside them {what} with videos: are "
            "these classes or splits? Move what does not belong there"
        )
    if twice := [name for name, number in Counter(splits.values()).items() if number > 1]:
        names = " and ".join(name for name, split in splits.items() if split == twice[0])
        raise DataError(f"{tree.videos}: the folders {names} are both {twice[0]}; put their videos into one")
    return dict(sorted(splits.items(), key=lambda item: ("train", "val", "test").index(item[1])))


def inner_splits(tree: Tree) -> dict[str, str]:
    """The folders of splits in those of the classes, <class>/<split>/<video>: name -> split; none if there are none.

    DataError if there are train and other splits, but not all videos are in them.
    """
    parts = [tree.parts(each) for each in tree.found]
    names = dict.fromkeys(each[1] for each in parts if len(each) > 2)
    splits = {name: NAMES[name.casefold()] for name in names if name.casefold() in NAMES}
    if "train" not in splits.values() or len(set(splits.values())) < 2:
        return {}
    for each in parts:
        if len(each) < 3 or each[1] not in splits:
            raise DataError(
                f"{tree.videos} has folders {' and '.join(splits)} in those of classes, but {'/'.join(each)} is in "
                "none of them: are these splits or subjects? Put all videos into them, or rename them"
            )
    return splits


def check_like_splits(tree: Tree) -> None:
    """DataError if the folders in VIDEOS seem to be splits: then those in them are the classes."""
    inner: dict[str, set[str]] = {}
    for each in tree.found:
        parts = tree.parts(each)
        if len(parts) > 1:
            inner.setdefault(parts[0], set()).update(parts[1:2] if len(parts) > 2 else ())
    splits = [name for name in inner if name.casefold() in NAMES]
    same = [name for name in inner if name not in splits and any(inner[name] & inner[split] for split in splits)]
    if len(inner) > 1 and all(map(_is_like_split, inner)):
        same = list(inner)
    if same:
        names = some(dict.fromkeys([*splits, *same]), "folder")
        raise DataError(
            f"{tree.videos} holds {names}, which may be splits: name them train, val and test, all with folders of "
            "classes. If they are classes, say --class-from '^([^/]+)/'"
        )


def _is_like_split(name: str) -> bool:
    """Whether a folder may be that of a split, such as test_set, dev or train2."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return any(word.removesuffix("set") in NAMES.keys() | LIKE_SPLITS for word in words)


def label_problem(label: str) -> str:
    """Why a class of this name cannot be; empty if it can."""
    if label != label.strip():
        return "its class begins or ends with a space, which label files do not keep: rename it"
    if label.startswith("."):
        return "the name of its class begins with a dot, as that of a hidden folder"
    if not label.isprintable():
        try:
            label.encode()
        except UnicodeEncodeError:
            return "the name of its class is not UTF-8: rename it"
        return "the name of its class holds a line break or another character that cannot be seen: rename it"
    try:
        check_folder_name(label, "class", "")
        check_name_length(label, "class")
    except FolderNameError as error:
        return str(error).removeprefix(": ")
    return ""


def _nothing(tree: Tree) -> str:
    """What to say of a folder without any video."""
    others = f"; {counted(tree.ignored.total(), 'other file')}" if tree.ignored else ""
    problems = f"; {tree.problems[0].item}: {tree.problems[0].reason}" if tree.problems else ""
    return (
        f"no videos in {tree.videos}: expected VIDEOS/<class>/<video file> or another layout of docs/own-videos.md"
        + (others + problems)
    )


def _check_loose(tree: Tree, below: int) -> None:
    """DataError if video files lie beside the class folders, or if there is no class folder."""
    loose = [tree.parts(each) for each in tree.found if len(tree.parts(each)) <= below + 1]
    files = ["/".join(parts) for parts in loose if is_video(parts[-1])]
    if files or len(loose) == len(tree.found):
        names = some(files or ["/".join(parts) for parts in loose], "video")
        raise DataError(
            f"{tree.videos} holds {names} outside class folders: put each video into the folder of its class, {ELSE}"
        )


def _check_classes(tree: Tree, layout: Layout) -> None:
    """DataError if there is only one class: the folder is one above or below the right one."""
    labels = dict.fromkeys(video.label for video in layout.videos)
    if not labels:
        raise DataError(
            f"no video in {tree.videos} can be taken: {layout.problems[0].item}, {layout.problems[0].reason}"
        )
    if len(labels) > 1:
        return
    (label,) = labels
    inner = dict.fromkeys(video.folders[0] for video in layout.videos if video.folders)
    remedy = f"if the folders in it are the classes ({first_names(list(inner))}), give that folder" if inner else ""
    if inner and any(not video.folders for video in layout.videos):
        remedy = f"if folders in it are classes of their own ({first_names(list(inner))}), move them out of {label}"
    remedy = remedy or "training needs two or more: is it the folder above that you mean?"
    raise DataError(f"all {counted(len(layout.videos), 'video')} in {tree.videos} are of one class, {label}: {remedy}")


def _folders_in(root: Path, tree: Tree) -> Iterable[str]:
    """The folders in one that may be those of classes, as paths below VIDEOS; not those of the dataset."""
    own = {inode_of(tree.out), inode_of(tree.out / "jpg"), inode_of(tree.out / "labels")}
    for entry in entries_of(root, tree.videos, []):
        if is_folder(entry) and not is_hidden_folder(entry.name) and inode_of(Path(entry.path)) not in own:
            yield str(Path(entry.path).relative_to(tree.videos))


def _previews(tree: Tree, root: Path, problems: list[Problem]) -> Iterable[Path]:
    """The class folders that hold previews of the other classes, which are told in `problems`."""
    found: dict[tuple[str, str], Found] = {}
    folders: dict[str, list[str]] = {}
    files: Counter[str] = Counter()
    for each in tree.found:
        if each.path.parent.parent == root:
            label = each.path.parent.name
            found[label, each.name] = each
            if each.kind == "video":
                files[label] += 1
            else:
                folders.setdefault(label, []).append(each.name)
    left_out = dict(previews_of_classes(root, found, folders, files))
    for label, why in left_out.items():
        problems.append(Problem("warning", str((root / label).relative_to(tree.videos)), f"left out: {why}"))
    classes = {each.path.relative_to(root).parts[0] for each in tree.found if each.path.is_relative_to(root)}
    for label in sorted(label for label in classes.difference(left_out) if _may_be_of_others(label, classes)):
        problems.append(Problem("warning", str((root / label).relative_to(tree.videos)), UNCERTAIN_CLASS))
    return [root / label for label in left_out]


def _may_be_of_others(label: str, classes: Collection[str]) -> bool:
    """Whether a class is named as a folder of frames or previews, also of one of the `classes`: run_frames of run."""
    parts = re.fullmatch(r"(.+?)[ _.-]+([^ _.-]+)", label)
    return may_be_preview(label) or bool(parts and parts[1] in classes and may_be_preview(parts[2]))


def class_pattern(text: str) -> re.Pattern[str]:
    """A regular expression with one group, or a group named class. ValueError for another text."""
    pattern = compiled(text)
    if pattern.groups != 1 and "class" not in pattern.groupindex:
        raise ValueError(f"{shortened(text)!r} needs one group for the class, such as '^([a-z]+)_', or (?P<class>...)")
    return pattern


def compiled(text: str) -> re.Pattern[str]:
    """A regular expression with a group. ValueError for another text."""
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{shortened(text)!r} is no regular expression: {error}") from None
    if not pattern.groups:
        raise ValueError(f"{shortened(text)!r} has no group: put what is meant in brackets, such as '(s[0-9]+)'")
    return pattern
