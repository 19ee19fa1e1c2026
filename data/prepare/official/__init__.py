"""Readers of the datasets' official annotations, one module for each: their files come in, an `Official` goes out.

Used by the command `data.prepare.labels`. Imports `data.labels` and `common`.
"""
