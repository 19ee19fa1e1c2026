"""The log of a run holds what the program says: a folder that somebody gave can neither write to it nor redirect it."""

import io
import logging
import re
import warnings

import pytest
from rich.markup import escape
from rich.table import Table

from common.console import safe_console
from common.errors import DataError
from common.logs import LOG, LogFile, log_table, log_to_file, start_logging

LINE = "2026-01-01 12:00:00,000 INFO    an epoch\n"
FORGED = "/d\n2026-01-01 12:00:00,000 INFO    epoch 9: top-1 99.0\ntouch X\n\x1b[2J"


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Starts the log of a run, and returns the lines of its file."""
    before, of_warnings = warnings.showwarning, logging.getLogger("py.warnings")
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(LOG, name, getattr(LOG, name))
        monkeypatch.setattr(of_warnings, name, getattr(of_warnings, name))
    start_logging(safe_console(file=io.StringIO()), is_first_rank=True, debug=False)
    log_to_file(tmp_path / "train.log")
    yield lambda: (tmp_path / "train.log").read_text().splitlines()
    for each in LOG.handlers:
        if isinstance(each, LogFile):
            each.close()
    logging.captureWarnings(False)
    warnings.showwarning = before


def test_a_value_of_a_file_makes_no_line_of_the_log(log):
    """An option in a checkpoint could add epochs to a log, and commands to a log that leads to a start-up file."""
    LOG.warning("the dataset was %s, now it is %r", FORGED, "/e")
    LOG.warning("%(path)s is gone", {"path": FORGED})
    LOG.error("%s", DataError(FORGED))
    assert len(log()) == 3
    assert all("/d\\n2026" in line and "touch X\\n\\x1b[2J" in line for line in log())


def test_a_warning_and_its_line_of_the_program_are_one_line(log):
    warnings.warn(f"odd {FORGED}", stacklevel=1)
    assert len(log()) == 1 and "odd /d 2026" in log()[0]


def test_tables_and_tracebacks_keep_their_lines(log):
    table = Table("name", "value")
    table.add_row(escape(FORGED), "1")
    table.add_row("b", "2")
    log_table(table)
    try:
        raise ValueError(FORGED)
    except ValueError:
        LOG.critical("the run failed", exc_info=True)
    lines = log()
    assert sum(line.startswith(("│", "┃")) for line in lines) >= 3
    assert any(re.match("    Traceback", line) for line in lines)
    assert sum(line.startswith("2026") and "epoch 9" in line for line in lines) == 0
    assert not any("\x1b" in line or line.startswith("touch") for line in lines)


@pytest.mark.parametrize("content", [None, "", "export PATH\n"])
def test_a_link_of_a_run_s_folder_begins_no_file_elsewhere(tmp_path, content):
    """`train.log` of a folder that somebody gave led to `~/.bash_login`, which was made and then run by the shell."""
    target, link = tmp_path / ".bash_login", tmp_path / "train.log"
    link.symlink_to(target)
    if content is not None:
        target.write_text(content)
    with pytest.raises(DataError, match=r"train\.log.* --log-file"):
        log_to_file(link)
    assert (content is None and not target.exists()) or target.read_text() == content


def test_a_log_that_lies_on_another_disk_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(LOG, "handlers", [])
    (tmp_path / "kept.log").write_text(LINE)
    (tmp_path / "train.log").symlink_to(tmp_path / "kept.log")
    log_to_file(tmp_path / "train.log")
    LOG.warning("another epoch")
    LOG.handlers[-1].close()
    assert (tmp_path / "kept.log").read_text().startswith(LINE) and "another" in (tmp_path / "kept.log").read_text()


def test_the_output_may_be_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(LOG, "handlers", [])
    (tmp_path / "train.log").symlink_to("/dev/null")
    assert log_to_file(tmp_path / "train.log")
    LOG.handlers[-1].close()
