"""The version of the project, which checkpoints and frame databases name.

It is the only line to change for another one.
"""

VERSION = "0.1.0"
