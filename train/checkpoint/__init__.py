"""The state of a run -> checkpoint files, each whole or absent; and from a checkpoint back to a run.

May import train.schedule, train.monitor, the optimiser, evaluate, network and common.
"""
