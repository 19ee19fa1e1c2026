"""The version of the project, which checkpoints and frame databases name.

VERSION is the only line to change for another one.
"""

import platform

VERSION = "0.1.0"


def versions() -> dict[str, str]:
    """The versions of the project, torch and Python."""
    import torch  # here, for the processes that convert videos have no need of it

    return {"srtg": VERSION, "torch": str(torch.__version__), "python": platform.python_version()}
