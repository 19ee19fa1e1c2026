"""Options -> a trained network and its checkpoints.

`main` puts everything together, `trainer` runs it. May import evaluate, data, network and common.
"""
