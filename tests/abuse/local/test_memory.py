"""What the abuse before has left behind in the host without BentoML."""

from __future__ import annotations

from tests.abuse.target import Target


def test_the_memory_is_that_after_the_warm_up(victim: Target) -> None:
    victim.assert_memory_is_given_back()


def test_no_fault_of_the_service_is_in_its_log(victim: Target) -> None:
    victim.assert_no_fault_in_log()
