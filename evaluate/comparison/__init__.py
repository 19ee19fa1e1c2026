"""Several evaluations beside each other: whether they differ, and what differs in how they came about.

Takes files of predictions; gives differences with intervals and tests. `evaluate.compare` and `evaluate.fuse` use it.
"""
