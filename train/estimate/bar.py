"""What is being measured, on a terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn


class Bar:
    """A bar on standard error while its block runs, if that is a terminal. It moves only when it is called.

    A thread that moved it would take time from what is measured.
    """

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            BarColumn(24), TextColumn("{task.description}"), console=console, auto_refresh=False, transient=True,
            redirect_stdout=False, disable=not console.is_terminal,
        )  # fmt: skip
        self.task = self.progress.add_task("", total=1.0)

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()

    def __call__(self, text: str, share: float = 0.0) -> None:
        """Show what goes on now, and the share of the time that is over, 0 to 1."""
        self.progress.update(self.task, description=text, completed=min(1.0, share), refresh=True)
