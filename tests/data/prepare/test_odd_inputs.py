"""Odd and damaged trees, label files and lists end in a table of true rows, or in one line; never in a wrong label."""

import argparse
import contextlib
import csv
import io
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest

from common.cli import run_command
from data.prepare import folder
from data.prepare.conversion_run import Ended
from data.prepare.report import Report
from data.prepare.sources import Source, Sources
from data.prepare.time_limit import time_limit
from data.store.frame_store import FrameStore
from tests.data.prepare.odd.case import RATE, Case, Fact, Part, same_class
from tests.data.prepare.odd.inputs import make_case

SECONDS = 60  # of one case, at most; it takes some milliseconds, or two seconds with a conversion


class Ran(NamedTuple):
    """What a run gave: its status and output, the rows of the label files, and the source of each video."""

    status: int
    out: str
    err: str
    rows: dict[tuple[str, str], str]  # class and id: split
    sources: dict[tuple[str, str], Source]
    order: list[str]


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def run(case: Case, *flags: str) -> Ran:
    """Run the command in this process. But for real cases, all videos count as converted."""
    found: list[Source] = []
    convert = folder.convert_sources

    def note(sources: Sources, options: argparse.Namespace, has_labels: bool, report: Report) -> Ended:
        found.extend(sources.videos)
        if case.is_real:
            return convert(sources, options, has_labels, report)
        for problem in sources.problems:
            report.add(*problem)
        report.notes += sources.notes
        return Ended("", None, {options.out / "jpg" / each.label / each.video_id for each in sources.videos})

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    words = [str(case.videos), str(case.root / "out"), "--workers", "1", *case.flags, *flags]
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(folder, "convert_sources", note),
        pytest.raises(SystemExit) as ended,
        time_limit(SECONDS),
    ):
        run_command(partial(folder.main, words))
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]
    rows, order = read(case.root / "out" / "labels")
    return Ran(ended.value.code, *texts, rows, {(each.label, each.video_id): each for each in found}, order)  # type: ignore[arg-type]


def read(labels: Path) -> tuple[dict[tuple[str, str], str], list[str]]:
    """The rows of the label files, with the split of each, and the class order."""
    rows: dict[tuple[str, str], str] = {}
    for path in sorted(labels.glob("*.csv")) if labels.is_dir() else ():
        with path.open(newline="", encoding="utf-8") as file:
            for label, video in list(csv.reader(file))[1:]:
                assert (label, video) not in rows
                rows[label, video] = path.stem
    order = labels / "custom_classes.txt"
    return rows, order.read_text(encoding="utf-8").split("\n")[:-1] if order.exists() else []


def check(case: Case) -> int:
    """Run a case; AssertionError if a row is not true. Return the status."""
    before = contents(case.root)
    dry = run(case, "--dry-run") if case.seed % 2 else None
    assert contents(case.root) == before
    ran = run(case)
    assert ran.status in (0, 1, 2)
    assert "Traceback" not in ran.out + ran.err
    if dry:
        assert (dry.status == 2) == (ran.status == 2)
    if ran.status == 2:
        assert ran.err.count("\n") == 1 and ran.err.split(": ")[0] in ("error", "python -m data.prepare.folder"), (
            ran.err
        )
        assert len(ran.err) < 1500
        assert contents(case.root) == before
        return 2
    assert not case.is_refused
    check_rows(case, ran)
    if ran.rows and case.seed % 3 == 0:
        check_again(case, ran)
    return ran.status


def contents(root: Path) -> list[str]:
    return sorted(f"{place}/{name}" for place, inner, names in os.walk(root) for name in [*inner, *names])


def check_rows(case: Case, ran: Ran) -> None:
    """Each row is true, none is twice, splits and groups are right, and nothing is lost in silence."""
    if not ran.rows:
        assert "the label files were not written" in ran.err
        return
    assert "label files" in ran.out
    facts = {key: fact_of(case, ran.sources[key], split) for key, split in ran.rows.items()}
    assert len(set(facts.values())) == len(facts), "a video twice"
    labels = {label for label, _ in facts}
    assert len(labels) > 1
    assert not any(same_class(one, other) for one in labels for other in labels if one != other)
    truths = min(case.facts, key=lambda each: len(wrong_rows(each, facts)))
    wrong = wrong_rows(truths, facts)
    check_damaged_lines(case, ran, wrong)
    if case.is_sure and not any(word in ran.out for word in ("failed", "missing", "left out", "not in the label")):
        seen = {fact[:3] for fact in truths if not Path(fact.path).name.startswith(".")}
        assert seen == {fact[:3] for fact in facts.values()}, "lost in silence"
    splits: defaultdict[tuple[Any, ...], set[str]] = defaultdict(set)
    for fact in truths:
        splits[fact[:3]].add(fact.split)
    check_sides(case, ran, list(facts.values()), splits)
    check_order(case, ran.order, labels)
    if case.is_real:
        for key in ran.rows:
            check_frames(case, ran.sources[key], case.root / "out" / "jpg" / key[0] / key[1])


def wrong_rows(truths: set[Fact], facts: dict[tuple[str, str], Fact]) -> list[Fact]:
    known = {fact[:3] for fact in truths}
    return [fact for fact in facts.values() if fact[:3] not in known]


def check_damaged_lines(case: Case, ran: Ran, wrong: list[Fact]) -> None:
    """A line that was cut or changed may say something else, but only that line, and what it says is in the file."""
    damage = [*case.kind.split(), ""][1]
    most = {"cut": 1, "byte": 2, "quote": 2, "line": 1, "number": 1, "mixed": 3}.get(damage, 0)
    assert len(wrong) <= most, wrong


def fact_of(case: Case, source: Source, split: str) -> Fact:
    """What the command made of a source; a path through a link is that of the file itself."""
    path = source.path.relative_to(case.videos).as_posix()
    part: Part = ()
    if source.frames is not None:
        part = ("f", *source.frames)
    elif source.span is not None:
        part = ("s", source.span.start, source.span.end)
    return Fact(path, source.label, part, split)


def check_sides(case: Case, ran: Ran, facts: list[Fact], splits: dict[tuple[Any, ...], set[str]]) -> None:
    """Given splits are kept; no group or copy is on both sides of a random split; of given ones that is told."""
    given = {split for fact in facts if fact[:3] in splits for split in splits[fact[:3]]}
    is_random = given <= {"", "train"}
    for fact in facts if not is_random else ():
        own = {"val" if split == "test" and "val" not in given else split for split in splits.get(fact[:3], ())}
        assert not own or fact.split in own or "not read" in ran.out, (fact, own)
    sides: defaultdict[str, set[str]] = defaultdict(set)
    for fact in facts:
        content = case.files[fact.path]
        sides[f"content {content}" if content > -1 or content % 2 == 0 else f"path {fact.path}"].add(fact.split)
        sides[f"path {fact.path}"].add(fact.split)
        if is_random and (name := case.group(fact)):
            sides[f"group {name}"].add(fact.split)
    both = {name for name, splits in sides.items() if len(splits) > 1}
    if is_random:
        assert {fact.split for fact in facts} <= {"train", "val"}
        assert not both
    elif both:
        assert "in two splits" in ran.out


def check_order(case: Case, order: list[str], labels: set[str]) -> None:
    assert labels <= set(order)
    if case.order:
        assert order == case.order
    elif all(label.isascii() and label.isdigit() for label in order):
        assert order == sorted(order, key=lambda label: (int(label), label))
    else:
        assert order == sorted(order)


def check_frames(case: Case, source: Source, database: Path) -> None:
    """The database holds the frames of that very video, or of its part, but for one at each end."""
    start, count = case.numbers(case.files[source.path.relative_to(case.videos).as_posix()])
    with FrameStore(database) as store:
        frames = store.read(range(len(store)))
    mean = frames.reshape(len(frames), -1, 3).mean(axis=1).astype(int) // 32
    numbers = (mean @ np.array([64, 8, 1])).tolist()
    first, last = 0, count
    if source.frames:
        first, last = source.frames
    elif source.span:
        first, last = round(source.span.start * RATE), round(source.span.end * RATE)
    last = min(last, count)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert abs(numbers[0] - (start + first) % 512) <= bool(source.span)
    assert abs(len(numbers) - (last - first)) <= bool(source.span)


def check_again(case: Case, ran: Ran) -> None:
    """The same command changes nothing, and a video that is added moves no other one."""
    again = run(case)
    assert again.status == ran.status
    assert again.rows == ran.rows and again.order == ran.order
    videos = sorted(ran.rows)
    if case.kind != "folders" or case.has_inner or not videos:
        return
    beside = ran.sources[case.draw.choice(videos)]
    content = case.files[beside.path.relative_to(case.videos).as_posix()]
    is_copy = beside.path.is_file() and content > -1 and case.chance(0.5)
    if case.add(f"{beside.label}/new video.mp4", content if is_copy else None):
        more = run(case)
        assert more.status != 2 and ran.rows.items() <= more.rows.items()
        (added,) = more.rows.keys() - ran.rows.keys()
        assert added[0] == beside.label
        assert not is_copy or more.rows[added] == ran.rows[beside.label, beside.video_id]


def campaign(tmp_path: Path, seeds: range, is_real: bool = False) -> list[int]:
    """Check the cases of seeds; the status of each."""
    found = []
    for seed in seeds:
        case = make_case(seed, tmp_path / str(seed), is_real)
        try:
            found.append(check(case))
        except BaseException:
            print(f"seed {seed}, {case.kind}: {case.root}, {' '.join(case.flags)!r}", file=sys.stderr)
            raise
    return found


@pytest.mark.parametrize(("seeds", "is_real"), [(range(36), False), (range(36, 40), True)])
def test_no_wrong_label(tmp_path: Path, seeds: range, is_real: bool) -> None:
    """A video that is trained under another class, or on both sides of the split, is not noticed for weeks."""
    assert {0, 2} & set(campaign(tmp_path, seeds, is_real))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_wrong_label_of_many(tmp_path: Path, block: int) -> None:
    """As above: 540 cases, of which 40 are converted."""
    first = 1000 + 54 * block
    done = campaign(tmp_path, range(first, first + 50))
    done += campaign(tmp_path, range(first + 50, first + 54), is_real=True)
    assert done.count(0) + done.count(1) > 10
