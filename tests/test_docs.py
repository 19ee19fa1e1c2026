"""README.md and docs/: every command is accepted by its parser, and every link leads to a file and a heading."""

import argparse
import importlib.util
import re
import runpy
import shlex
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from torch.distributed.run import get_args_parser

from common.cli import CommandParser
from network.registry import check_name
from tests.processes import ROOT

README = ROOT / "README.md"
PAGES = [README, ROOT / "results" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNABLE = {"benchmarks", "data", "evaluate", "train"}  # packages whose modules may be commands with a parser
FOREIGN = {  # flags that the pages name although they belong to other programs
    "--requeue", "--signal",  # sbatch
    "--conv1_t_stride", "--no_max_pool",  # 3D-ResNets-PyTorch
    "--logdir",  # tensorboard
}  # fmt: skip
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
MACHINE_PATH = re.compile(r"(?<![\w.~}-])/(?:work|home|root|mnt|tmp|Users)\b")


class Parsed(Exception):
    """Raised in place of a command's work, with its parser and what it has parsed."""

    def __init__(self, parser: CommandParser, options: argparse.Namespace | None) -> None:
        super().__init__()
        self.parser = parser
        self.options = options


class Line(NamedTuple):
    """A command in a page."""

    page: str
    number: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.number} {' '.join(self.words)}"


def commands_in(page: Path) -> Iterator[Line]:
    """The lines of the page's bash blocks that start python, torchrun or make; variables stand for 1."""
    text = page.read_text(encoding="utf-8")
    for fence in FENCE.finditer(text):
        if fence[1] != "bash":
            continue
        number = text.count("\n", 0, fence.start(2)) + 1
        for line in re.split(r"(?<!\\)\n", fence[2]):
            words = shell_words(line)
            if words and words[0] in ("python", "torchrun", "make"):
                yield Line(page.relative_to(ROOT).as_posix(), number, words)
            number += line.count("\n") + 1


def shell_words(line: str) -> tuple[str, ...]:
    """The words of a line's first command, without assignments and srun before it."""
    line = re.sub(r"\$\{?\w+\}?", "1", line.replace("\\\n", " "))
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:  # a quotation that goes on in the next line: no command of ours
        return ()
    while words and (words[0] in ("srun", "exec") or re.match(r"\w+=", words[0])):
        del words[0]
    end = next((i for i, word in enumerate(words) if set(word) <= set("();<>|&")), len(words))
    return tuple(words[:end])


def run_until_parsed(target: str, arguments: tuple[str, ...], parse: bool) -> Parsed:
    """Start a module or script as a command and stop it when it has parsed (or, without `parse`, made its parser)."""
    original = CommandParser.parse_args

    def parse_args(self: CommandParser, args=None, namespace=None):
        raise Parsed(self, original(self, args, namespace) if parse else None)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # runpy's, of modules that are imported already
        patch.setattr(CommandParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", [target, *arguments])
        try:
            if target.endswith(".py"):
                runpy.run_path(str(ROOT / target), run_name="__main__")
            else:
                runpy.run_module(target, run_name="__main__")
        except Parsed as parsed:
            return parsed
    pytest.fail(f"{target} has parsed no arguments")


def check_command(words: tuple[str, ...]) -> None:
    """Fail unless the project would take this command."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
        return
    if words[0] == "torchrun":
        parsed = get_args_parser().parse_args(words[1:])
        words = ("python", parsed.training_script, *parsed.training_script_args)
    target, arguments = (words[2], words[3:]) if words[1] == "-m" else (words[1], words[2:])
    if words[1] != "-m":
        assert (ROOT / target).is_file(), f"there is no script {target}"
    else:
        assert importlib.util.find_spec(target), f"there is no module {target}"
        if target.split(".")[0] not in RUNNABLE:
            return
    options = run_until_parsed(target, arguments, parse=True).options
    if getattr(options, "network", "") and target != "train.export":
        check_name(options.network)


@cache
def flags_of(target: str) -> frozenset[frozenset[str]]:
    """The flags of a command, each with its other spellings."""
    actions = run_until_parsed(target, (), parse=False).parser._actions
    by_option: dict[str, set[str]] = {}
    for action in actions:
        by_option.setdefault(action.dest, set()).update(action.option_strings)
    return frozenset(frozenset(spellings) for spellings in by_option.values() if spellings)


def commands() -> list[Line]:
    return [line for page in PAGES for line in commands_in(page)]


def code_spans(page: Path) -> list[str]:
    """What stands between backticks in a page's prose; a table's `a\\|b` is `a|b`."""
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`\n]+)`", prose(page))]


def mentioned(page: Path) -> set[tuple[str, ...]]:
    """The commands in a page's prose, which may lack arguments."""
    return {words for span in code_spans(page) if (words := shell_words(span)) and words[0] == "python" and words[1:]}


def targets() -> set[str]:
    """Every script, and every module with a parser that the pages start or mention."""
    started = {line.words for line in commands()} | {words for page in PAGES for words in mentioned(page)}
    modules = {words[2] for words in started if words[:2] == ("python", "-m")}
    return {path.name for path in ROOT.glob("train_*.py")} | {
        name for name in modules if name.split(".")[0] in RUNNABLE
    }


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(f"{anchor}-{found.count(anchor)}" if anchor in found else anchor)
    return set(found)


@pytest.mark.parametrize("line", commands(), ids=str)
def test_a_command_of_the_documentation_is_accepted(line, capsys):
    """Else who follows the page gets an error in place of a result."""
    try:
        check_command(line.words)
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def test_a_wrong_command_is_not_accepted():
    """The check above must be able to fail."""
    for words in (
        "python train_hacs.py --dataset DIR --batchsize 4",
        "python train_hacs.py --dataset DIR --network srtg_r3d_35",
        "python train_hac.py --dataset DIR",
        "python -m data.prepare.unconvert VIDEOS OUT",
        "python -m data.prepare.convert VIDEOS OUT --shard 4/3",
        "torchrun --nproc-per-node 2 train_hacs.py --dataset DIR --nodes 2",
        "make demonstration",
    ):
        with pytest.raises((AssertionError, SystemExit, ModuleNotFoundError, ValueError)):
            check_command(shell_words(words))


def test_a_command_is_found_wherever_it_stands_in_a_block(tmp_path):
    """Else it would not be checked."""
    line = "TORCH=1 srun torchrun --nnodes $N \\\n    train_hacs.py --dataset DIR &  # both"
    assert shell_words(line) == ("torchrun", "--nnodes", "1", "train_hacs.py", "--dataset", "DIR")
    assert {line.words[0] for line in commands()} == {"python", "torchrun", "make"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_flag_that_a_page_names_exists(page):
    """Else a user looks for a flag that was renamed."""
    known = {flag for target in targets() for spellings in flags_of(target) for flag in spellings}
    known |= {flag for action in get_args_parser()._actions for flag in action.option_strings} | FOREIGN
    assert {flag for span in code_spans(page) for flag in FLAG.findall(span)} - known == set()
    for words in mentioned(page):
        target = words[2] if words[1] == "-m" else words[1]
        if "*" not in target:
            own = {flag for spellings in flags_of(target) for flag in spellings}
            assert {word for word in words if word.startswith("--")} <= own, words


def test_every_flag_of_the_scripts_is_explained():
    """Else --help is the only place that tells of it."""
    named = {flag for page in PAGES for flag in FLAG.findall(page.read_text(encoding="utf-8"))}
    scripts = [path.name for path in ROOT.glob("train_*.py")]
    unexplained = {flags for script in scripts for flags in flags_of(script) if not flags & named}
    assert unexplained - {frozenset({"-h", "--help"})} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page):
    """Else the reader is left with nothing."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_linked_from_the_readme():
    """Else nobody finds it."""
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README.read_text(encoding="utf-8"))}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")} <= linked


def test_the_readme_is_short():
    """It is to be read to its end."""
    assert README.read_text(encoding="utf-8").count("\n") <= 200


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_names_a_path_of_some_machine(page):
    """What works on the author's machine alone is no instruction."""
    text = re.sub(r"https?://\S+", "", page.read_text(encoding="utf-8"))
    assert MACHINE_PATH.findall(text) == []
