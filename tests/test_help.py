"""The help of every command, which is the first that a user reads of it."""

import re

import pytest

from tests.processes import ROOT

COMMANDS = sorted(
    path.relative_to(ROOT)
    for folder in ("data", "evaluate", "train", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if "run_command(main" in path.read_text(encoding="utf-8")
) + sorted(path.relative_to(ROOT) for path in ROOT.glob("train_*.py"))


def test_no_command_has_a_default_file_to_write():
    """Run in a clone without flags, such a command would overwrite a tracked picture."""
    assert len(COMMANDS) > 10
    for path in [*COMMANDS, *sorted((ROOT / "figures").glob("*.py")), ROOT / "train/monitor/curves.py"]:
        assert not re.search(r'default=Path\("[^")]*\.\w', (ROOT / path).read_text(encoding="utf-8")), path


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_the_help_has_a_usage_of_one_line_and_no_empty_defaults(server, tmp_path, command):
    """A page of usage, or `(default: None)` on every second flag, hides what matters."""
    module = ".".join(command.with_suffix("").parts).removesuffix(".__main__")
    words = ("-m", module) if command.parent.parts else (ROOT / command,)
    process = server.start(*words, "--help", folder=tmp_path)
    assert process.wait() == 0, process.output()
    page = re.sub(r"\s+", " ", process.stdout)
    usage = process.stdout.splitlines()[0]
    assert usage.startswith("usage: ") and usage.endswith("[options]") and usage.count("[options]") == 1
    assert not re.findall(r"\(default:? ?(?:None|False|\(.*?\)|\[.*?\])?\)", page)
