"""Readers of the datasets' official annotations, one module each; `data.prepare.labels` is the command over them."""
