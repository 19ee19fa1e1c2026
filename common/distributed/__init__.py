"""One run of several processes (ranks): starting them, connecting them, and stopping them after the same step.

Takes the environment of torchrun or of `launch`; gives a `Ranks`. Imports only `common`.
"""
