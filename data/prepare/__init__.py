"""Commands that make a dataset: videos and official annotations come in, frame databases and label files go out.

Imports `data.labels`, `data.store` and `common`; nothing else in the project imports it.
"""
