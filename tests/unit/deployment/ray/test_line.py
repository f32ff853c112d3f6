"""Who waits in front of whom."""

from __future__ import annotations

from deployment.ray.line import Line


def test_places_move_up_as_those_in_front_leave() -> None:
    line = Line()
    with line.joined(2) as first:
        with line.joined(3) as second, line.joined(1) as third:
            assert [first.position, second.position, third.position] == [0, 2, 5]
        with line.joined(1) as fourth:
            assert fourth.position == 2
    with line.joined(1) as fifth:
        assert fifth.position == 0
