"""Fleets on paper: replicas, the autoscaler around them, and what becomes of requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.load import Outcome, Plan
from benchmarks.profiles import PROFILES
from benchmarks.simulation.autoscaler import Autoscaler
from benchmarks.simulation.calibration import ServiceTimes, fit
from benchmarks.simulation.fleet import Course, Fleet, simulate
from benchmarks.simulation.replica import Job, Replica
from benchmarks.simulation.target import Unusable
from benchmarks.simulation.timeline import summary
from benchmarks.workloads import Request
from deployment.ray.arguments import EngineOptions

SERVICE = ServiceTimes(
    request=0.05, picture=0.02, step=0.01, row=0.005, own_pixels=64 * 64, error=0, pictures=1
)


def fleet(**changes: Any) -> Fleet:
    options = {"min_replicas": 1, "max_replicas": 4, "upscale_delay": 2, "downscale_delay": 20}
    names = EngineOptions.model_fields.keys()
    known = {name: changes.pop(name) for name in list(changes) if name in names}
    return Fleet(
        **{
            "options": EngineOptions(**options | known),
            "service": [SERVICE],
            "replica_start": 5.0,
            "node_start": 10.0,
            "node_idle": 30.0,
            "replicas_per_node": 1,
            "max_queue": 64,
            **changes,
        }
    )


def plan(**changes: Any) -> Plan:
    fields: dict[str, Any] = {
        "url": "", "workload": "mixed", "seconds": 200.0, "rate": 2.0, "profile": "burst"
    }  # fmt: skip
    return Plan(**fields | changes)


def outcomes(course: Course) -> Counter[Outcome]:
    return Counter(record.outcome for record in course.records)


def a_request(steps: int, guidance: float = 1.0) -> Request:
    return Request(0, "x", steps, guidance, 64, "ddim", 1)


def test_profiles_have_their_shapes() -> None:
    for profile in PROFILES.values():
        times = list(profile.times(20.0, 100.0, seed=3))
        assert times == list(profile.times(20.0, 100.0, seed=3))
        assert times == sorted(times)
        assert times[-1] <= 100
        tenths = Counter(int(time // 10) for time in times)
        for tenth in range(10):
            wanted = sum(profile.share((tenth + part / 20) / 10) for part in range(20)) * 10
            assert tenths[tenth] == pytest.approx(wanted, abs=5 * max(9.0, wanted) ** 0.5)


def test_a_replica_shares_its_passes_among_its_jobs() -> None:
    replica = Replica("one", 0, SERVICE, rows_per_pass=2)
    jobs = [Job(a_request(10), 0.0, 1.0) for _ in range(3)]
    replica.accept(0.0, jobs[0])
    alone = 10 * (SERVICE.step + SERVICE.row) + SERVICE.picture
    assert replica.next_done() == pytest.approx(alone)
    assert replica.work_left(alone / 2) == pytest.approx(5)
    # Three rows are two passes of two.
    for job in jobs[1:]:
        replica.accept(alone / 2, job)
    each = 2 * SERVICE.step + 3 * SERVICE.row + 3 * SERVICE.picture / 10
    assert replica.next_done() == pytest.approx(alone / 2 + 5 * each)
    replica.withdraw(alone / 2, jobs[0])
    assert replica.work_left(alone / 2) == pytest.approx(20)
    done = replica.next_done()
    assert done == pytest.approx(alone / 2 + 10 * (SERVICE.step + 2 * SERVICE.row) + 0.04)
    assert replica.done(done or 0) == jobs[1:]
    assert replica.open == 0
    assert replica.next_done() is None


def test_the_autoscaler_waits_for_what_lasts() -> None:
    options = EngineOptions(
        min_replicas=0, max_replicas=3, target_row_steps=100, upscale_delay=3, downscale_delay=5,
        look_back=1,
    )  # fmt: skip
    scaler = Autoscaler(options, 1.0)
    assert scaler.look(0, {}, 0, 0) == 0
    assert scaler.look(1, {}, 1, 1) == 1, "from nothing at once"
    targets = [scaler.look(time, {"a": 900.0}, 0, 9) for time in range(2, 7)]
    assert targets == [1, 1, 1, 3, 3]
    targets = [scaler.look(time, {"a": 0.0, "b": 0.0, "c": 0.0}, 0, 0) for time in range(7, 19)]
    assert targets == [3] * 5 + [1] * 6 + [0], "the last one goes alone"


def test_equal_arguments_give_equal_courses() -> None:
    one, other = simulate(fleet(), plan()), simulate(fleet(), plan())
    assert one == other
    assert one.records != simulate(fleet(), plan(seed=2)).records
    sent = [time for time, _ in plan().arrivals()]
    assert sorted(record.sent for record in one.records) == pytest.approx(sent)


def test_more_replicas_serve_more_and_cost_more() -> None:
    few, many = (
        simulate(fleet(min_replicas=warm, max_replicas=warm), plan(rate=8.0)) for warm in (1, 4)
    )
    assert outcomes(few)[Outcome.REFUSED] > outcomes(many)[Outcome.REFUSED]
    assert outcomes(few)[Outcome.PICTURE] < outcomes(many)[Outcome.PICTURE]
    assert few.replica_seconds == pytest.approx(200)
    assert many.replica_seconds == pytest.approx(800)
    assert {one.replicas for one in many.samples} == {4}


def test_replicas_that_share_a_machine_slow_each_other_down_while_both_are_busy() -> None:
    slow = replace(SERVICE, step=2 * SERVICE.step, row=2 * SERVICE.row, picture=2 * SERVICE.picture)
    two = {"min_replicas": 2, "max_replicas": 2}

    def waited(**changes: Any) -> float:
        course = simulate(fleet(**two, **changes), plan(rate=1.0, profile="steady"))
        return sum(record.latency for record in course.records)

    apart = waited(service=[SERVICE, slow])
    assert apart == waited(service=[SERVICE])
    together = waited(service=[SERVICE, slow], replicas_per_node=2)
    always = waited(service=[slow], replicas_per_node=2)
    assert 1.2 * apart < together < 0.9 * always


@pytest.mark.parametrize("policy", ["work", "requests"])
def test_replicas_and_nodes_come_with_the_load_and_go(policy: str) -> None:
    course = simulate(
        fleet(min_replicas=0, policy=policy, target_row_steps=60, target_requests=2),
        plan(seconds=400.0, rate=6.0),
    )
    replicas = [one.replicas or 0 for one in course.samples]
    assert replicas[0] == 0
    assert max(replicas) > 1
    first = course.records[0]
    assert first.latency > 15, "a node and a replica had to start"
    # Nodes stay for a while after their replicas.
    assert course.node_seconds > course.replica_seconds
    figures = summary("it", course.records, course.samples, 400.0, 6.0, (1.0, 2.0))["figures"]
    assert figures["pictures"] == outcomes(course)[Outcome.PICTURE]
    assert figures["replicas"]["most"] == max(replicas)


def test_clients_leave_are_refused_and_kept_back() -> None:
    cold = simulate(fleet(min_replicas=0, node_start=100.0), plan(seconds=60.0, timeout=20.0))
    assert outcomes(cold)[Outcome.TIMEOUT] == len(cold.records)
    assert all(record.latency == pytest.approx(20) for record in cold.records)
    full = outcomes(simulate(fleet(max_replicas=1, max_queue=2), plan(rate=20.0)))
    assert full[Outcome.REFUSED] > full[Outcome.PICTURE] > 0
    bounded = outcomes(simulate(fleet(max_replicas=1), plan(rate=20.0, most_open=5)))
    assert bounded[Outcome.UNSENT] > 0
    assert bounded[Outcome.REFUSED] == 0


def test_service_times_are_learnt_from_latencies() -> None:
    rounds = []
    for rate in (0.3, 1.0, 2.0):
        load = plan(seconds=300.0, rate=rate, profile="steady")
        course = simulate(fleet(max_replicas=1), load)
        requests = {request.number: request for _, request in load.arrivals()}
        rounds.append([(requests[record.number], record) for record in course.records])
    learnt = fit(rounds, SERVICE.own_pixels)
    assert learnt.error < 0.05
    assert learnt.row == pytest.approx(SERVICE.row, rel=0.15)
    assert learnt.step == pytest.approx(SERVICE.step, rel=0.25)
    # Two engines that share the work look like one that has half of it.
    shared = [[*pairs, *pairs] for pairs in rounds]
    assert fit(shared, SERVICE.own_pixels, replicas=2).step == pytest.approx(learnt.step, rel=0.01)
    with pytest.raises(Unusable, match="0 pictures"):
        fit([[]], 4096)
