"""A notebook's cells as a script: a ClipLoader that is left in one way or another. Arguments: dataset, ending."""

import sys
from contextlib import suppress

from data import ClipLoader, open_split

clips = open_split(
    sys.argv[1], "train", clip_length=4, clip_size=16, interval=2, report=lambda line: print(line, file=sys.stderr)
)
ending = sys.argv[2]
loader = ClipLoader(clips, batch_size=4, workers=2)
if ending == "broken off":
    for _ in loader:
        break
elif ending == "deleted while iterated":
    iterator = iter(loader)
    next(iterator)
    del loader, iterator
elif ending == "in an error":
    for _ in loader:
        raise ValueError("the reason")
elif ending == "interrupted":
    with suppress(KeyboardInterrupt):
        while True:
            for _ in loader:
                if "ready" not in globals():
                    ready = print("ready", flush=True)
    for _ in loader:
        pass
else:
    assert ending == "never iterated"
print("end", flush=True)
