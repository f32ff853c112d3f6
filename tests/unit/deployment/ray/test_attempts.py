"""When another replica is asked for the same request."""

from __future__ import annotations

from contract.errors import ErrorCode
from contract.events import Failed, Queued
from deployment.ray.attempts import MOST_ASKED, MOST_LOST, Attempts

LOST = Failed(ErrorCode.NOT_READY, "lost")
FULL = Failed(ErrorCode.BUSY, "full", retry_after=3)


def test_a_lost_replica_is_replaced_a_few_times() -> None:
    attempts = Attempts(300, 60)

    answers = [attempts.another(LOST, f"r{number}") for number in range(MOST_LOST + 1)]

    assert answers == [True] * MOST_LOST + [False]
    assert attempts.avoid == ("r0", "r1", "r2", "r3")


def test_a_request_that_no_replica_had_is_tried_again() -> None:
    attempts = Attempts(300, 60)
    assert attempts.another(LOST, None)
    assert attempts.avoid == ()


def test_a_replica_that_ends_is_no_loss() -> None:
    attempts = Attempts(300, 60)
    refusals = [attempts.another(LOST, "r0", accepted=False) for _ in range(3 * MOST_LOST)]
    assert all(refusals)
    assert attempts.pause == 1
    assert [attempts.another(LOST, f"r{number}") for number in range(1, MOST_LOST + 1)] == (
        [True] * MOST_LOST
    )
    assert not Attempts(300, 0).another(LOST, "r0", accepted=False), "in no time another has come"


def test_others_are_asked_where_one_is_full() -> None:
    attempts = Attempts(300, 60)

    assert attempts.another(FULL, "r0")
    # There is no other one.
    assert not attempts.another(FULL, "r0")


def test_not_every_replica_of_a_fleet_is_asked() -> None:
    attempts = Attempts(300, 60)
    answers = [attempts.another(FULL, f"r{number}") for number in range(MOST_ASKED)]
    assert answers == [True] * (MOST_ASKED - 1) + [False]


def test_one_that_nobody_could_take_is_refused() -> None:
    assert not Attempts(300, 60).another(FULL, None)


def test_what_another_replica_would_not_do_better_is_final() -> None:
    attempts = Attempts(300, 60)
    for code in ErrorCode:
        if code not in (ErrorCode.NOT_READY, ErrorCode.BUSY):
            assert not attempts.another(Failed(code, "no"), f"r-{code}")
    assert not attempts.another(Queued(0), "r0")


def test_the_deadline_counts_while_a_replica_has_it() -> None:
    attempts = Attempts(300, 60)
    assert attempts.seconds_left == 300
    with attempts.at():
        first = attempts.seconds_left
    kept = attempts.seconds_left

    assert kept <= first <= 300
    assert attempts.seconds_left == kept
    assert Attempts(0, 60).seconds_left == 0
