"""A small round of benchmarks.chaos."""

from __future__ import annotations

from benchmarks import chaos
from tests.effort import only_in_full


@only_in_full
def test_nothing_is_lost_when_it_is_killed() -> None:
    plan = chaos.Plan("local", 16, kills=2, pause=(1.0, 4.0), interval=0.2)
    outcome = chaos.run(plan)
    assert outcome.kills["all"] == 2
    assert outcome.right, outcome.table()
