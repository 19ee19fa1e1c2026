"""Options -> a trained network and its checkpoints.

`main` puts everything together, `trainer` runs it. May import evaluate, data, network and common.
"""

from common.interrupt import end_quietly_until_run

end_quietly_until_run("train")
