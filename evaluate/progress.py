"""The progress of an evaluation while it runs: a bar on a terminal, else a line now and then."""

import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evaluate.metrics import Scores

SECONDS = 0.25
"""Between two looks at the running scores for the bar: each look waits for the device."""
SHOWN = ("loss", "top1")
COLUMNS = 74
"""Of a line without its bar."""


class EvaluationProgress:
    """Shows how many batches of an evaluation are done, with the loss and top-1 so far, of this rank's videos.

    On a terminal this is a bar, which is removed at the end; else `log` gets a line every `log_every` batches, besides
    the last one, which the result follows. Used as `with EvaluationProgress(...) as progress`, so that the terminal is
    clean whatever ends the evaluation; it may be used again for the next one. A failure of the display ends the
    display alone.
    """

    def __init__(
        self, console: Console, log: Callable[[str], None], log_every: int, name: str = "validation", ranks: int = 1
    ) -> None:
        """`name` stands at the beginning of the bar and of each line; `ranks` is the number of ranks."""
        self.console = console
        self.log = log
        self.log_every = log_every
        self.name = name
        self.whose = " of rank 0" if ranks > 1 else ""
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.next_look = 0.0
        self.has_failed = False

    def __call__(self, done: int, batches: int, running: Callable[[], Scores]) -> None:
        """Tell that `done` of `batches` are done. `running` returns the scores so far and waits for the device."""
        if self.has_failed:
            return
        if self.console.is_terminal:
            self._move(done, batches, running)
        elif done % self.log_every == 0 and done < batches:
            digits = len(str(batches))
            self._try(lambda: self.log(f"{self.name} [{done:0{digits}d}/{batches}] {self._text(running())}"))

    def __enter__(self) -> "EvaluationProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        bar, self.bar = self.bar, None
        if bar is not None:
            self._try(bar.stop)

    def _move(self, done: int, batches: int, running: Callable[[], Scores]) -> None:
        now = time.monotonic()
        if self.bar is None:
            self.next_look = now
            self._try(lambda: self._begin(batches))
        if self.bar is None:
            return
        if now >= self.next_look or done == batches:
            text = self._text(running())
            self.next_look = time.monotonic() + SECONDS
            self.bar.update(self.task, scores=text)
        self.bar.update(self.task, completed=done)

    def _begin(self, batches: int) -> None:
        width = max(5, min(40, self.console.width - COLUMNS - len(self.whose)))
        columns = (TextColumn("{task.description}"), BarColumn(width), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, TextColumn("{task.fields[scores]}"), console=self.console, transient=True)
        self.task = bar.add_task(self.name, total=batches, scores="")
        bar.start()
        self.bar = bar

    def _text(self, scores: Scores) -> str:
        """`loss 1.2714 top-1 25.00% (320 videos)`."""
        videos = f"({scores.examples:.0f} videos{self.whose})"
        return f"{scores.show(SHOWN)} {videos}" if scores.examples else videos

    def _try(self, show: Callable[[], None]) -> None:
        try:
            show()
        except Exception as error:
            self.has_failed = True
            self.log(f"the progress of {self.name} is not shown: {type(error).__name__}: {error}")
