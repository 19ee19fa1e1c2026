"""Sizes of files in words."""


def size_text(count: float) -> str:
    """`27 kB`, `3.1 MB`, `120 GB`."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.{0 if count >= 10 * size else 1}f} {unit}"
    return f"{count / 1e3:.0f} kB"
