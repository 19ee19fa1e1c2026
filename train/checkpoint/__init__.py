"""The state of a run -> files that are whole or absent, and back: where a run starts.

May import train.schedule, train.monitor, the optimiser, evaluate, network and common.
"""
