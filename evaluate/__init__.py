"""A network and videos -> scores.

Takes batches from data.loading and a network; gives Scores, which training and the commands report. May import data,
network and common.
"""

from common.interrupt import end_quietly_until_run

end_quietly_until_run("evaluate")
