"""What an evaluation by a training script says of its checkpoint."""

from types import SimpleNamespace

import pytest

from common.ranks import Ranks
from evaluate.results.checkpoint_file import checkpoint_facts
from train import evaluating


class Seen(Exception):
    """The facts of the results."""


@pytest.mark.parametrize("is_given", [True, False])
def test_the_file_is_described_as_it_was_before_it_was_read(tmp_path, monkeypatch, is_given):
    """A run that wrote `best` anew meanwhile made the scores those of a file that is as it was found."""
    best = tmp_path / "tiny_best.pth"
    best.write_bytes(b"as it was read")
    before = checkpoint_facts(best)
    options = SimpleNamespace(
        network="tiny", keep=1, pretrained_3d=best if is_given else None, device="cpu", precision="fp32",
        time_probe=False,
    )  # fmt: skip

    def find(*_):
        best.write_bytes(b"newer")
        return SimpleNamespace(path=best), options, []

    def results(*arguments):
        raise Seen(arguments[-1])

    stubs = {
        "_find": find,
        "_results": results,
        "_load": lambda *_: (None, None, None, [], []),
        "spec_of": lambda *_: None,
        "agreed_contents": lambda *_: ({"val": None}, {}),
        "_preprocessing": lambda *_: None,
        "content_facts": lambda *_: {},
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(evaluating, name, stub)
    with pytest.raises(Seen) as seen:
        evaluating.run_evaluation(options, None, Ranks(0, 0, 1), tmp_path, None, before if is_given else {}, None)
    assert seen.value.args == (before,)
