"""A fleet on paper: engines and machines that come and go, event by event.

Requests go where the service's own router would send them (``deployment.ray.ranking``), as many
replicas are there as its own policy wants (``deployment.ray.policy``), and a full one is passed
over as often as its ingress does. Equal arguments give equal runs.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.load import Outcome, Plan, Record
from benchmarks.simulation.autoscaler import Autoscaler
from benchmarks.simulation.calibration import ServiceTimes
from benchmarks.simulation.observation import Sample
from benchmarks.simulation.replica import Job, Replica
from benchmarks.workloads import Request
from deployment.ray.arguments import EngineOptions
from deployment.ray.attempts import MOST_ASKED
from deployment.ray.ranking import Need, Standing, ranked

LOOK_SECONDS = 1.0  # how often replicas say what they have, as ``deployment.ray.machine`` sets it
ROWS_PER_PASS = 32  # SD_MAX_BATCH_ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What there may be, and what it takes to get it.

    Attributes:
        options: of the engine deployment: how many replicas, by which policy.
        service: what an engine takes for its work, where it alone is busy on its machine, where
            two are, and so on; the last for more.
        replica_start: seconds from the decision for a replica to its first request, on a machine
            that is there.
        node_start: seconds that a machine takes before that.
        node_idle: seconds after which a machine without replicas goes.
        replicas_per_node: how many fit.
        max_queue: requests that a replica takes at a time, and that wait where there is none.
    """

    options: EngineOptions
    service: Sequence[ServiceTimes]
    replica_start: float
    node_start: float
    node_idle: float
    replicas_per_node: int
    max_queue: int


@dataclass(frozen=True, slots=True)
class Course:
    """What happened; times are seconds since the start.

    Attributes:
        records: of the requests.
        samples: once a second.
        replica_seconds: paid for, starting and stopping included; likewise ``node_seconds``.
    """

    records: list[Record]
    samples: list[Sample]
    replica_seconds: float
    node_seconds: float


@dataclass(slots=True)
class _Node:
    ready_at: float
    replicas: int = 0
    idle_since: float | None = None


def simulate(fleet: Fleet, plan: Plan) -> Course:
    """Let a fleet have the requests of an open loop."""
    return _Simulation(fleet, plan).run()


@dataclass(slots=True, eq=False)
class _Simulation:
    fleet: Fleet
    plan: Plan
    now: float = 0.0
    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _replicas: dict[str, Replica] = field(default_factory=dict)
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _line: deque[Job] = field(default_factory=deque)
    _open: int = 0
    _replica_seconds: float = 0.0
    _node_seconds: float = 0.0

    def run(self) -> Course:
        arrivals = self.plan.arrivals()
        autoscaler = Autoscaler(self.fleet.options, LOOK_SECONDS)
        for _ in range(autoscaler.target):
            self._start_replica(warm=True)
        self._next_arrival(arrivals)
        self._look(autoscaler)
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return Course(self.records, self.samples, self._replica_seconds, self._node_seconds)

    def _at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._count), event))

    # Requests

    def _next_arrival(self, arrivals: Iterator[tuple[float, Request]]) -> None:
        following = next(arrivals, None)
        if following is None:
            return
        time, request = following

        def arrive() -> None:
            self._arrive(request)
            self._next_arrival(arrivals)

        self._at(time, arrive)

    def _arrive(self, request: Request) -> None:
        job = Job(request, self.now, self.fleet.service[0].rows(request))
        if self.plan.most_open is not None and self._open >= self.plan.most_open:
            self._record(job, Outcome.UNSENT, self.now)
            return
        self._open += 1
        self._at(self.now + self.plan.timeout, lambda: self._leave(job))
        self._send(job)

    def _send(self, job: Job) -> None:
        there = {
            name: one for name, one in self._replicas.items() if one.ready and not one.stopping
        }
        if not there:
            if len(self._line) < self.fleet.max_queue:
                self._line.append(job)
            else:
                self._end(job, Outcome.REFUSED)
            return
        need = Need(job.request.row_steps * job.rows / job.request.rows, frozenset(), frozenset())
        standings = [Standing(name, one.work_left(self.now)) for name, one in there.items()]
        for name in ranked(need, standings)[:MOST_ASKED]:
            if there[name].open < self.fleet.max_queue:
                there[name].accept(self.now, job)
                self._foresee(there[name])
                return
        self._end(job, Outcome.REFUSED)

    def _foresee(self, replica: Replica) -> None:
        """Foresee anew when a replica is done whose jobs have changed, and those beside it."""
        for one in dict.fromkeys((*self._paced(replica.node), replica)):
            self._await(one)

    def _paced(self, node: int) -> list[Replica]:
        """The replicas of a machine that work faster or slower than before, as others are busy."""
        services = self.fleet.service
        if len(services) == 1:
            return []
        busy = [one for one in self._replicas.values() if one.node == node and one.open]
        service = services[min(len(busy), len(services)) - 1]
        changed = [one for one in busy if one.service is not service]
        for one in changed:
            one.use(self.now, service)
        return changed

    def _await(self, replica: Replica) -> None:
        time, version = replica.next_done(), replica.version

        def deliver() -> None:
            if replica.version == version:
                self._deliver(replica)

        if time is not None:
            self._at(max(time, self.now), deliver)

    def _deliver(self, replica: Replica) -> None:
        for job in replica.done(self.now):
            done = self.now + replica.service.request
            if done - job.sent <= self.plan.timeout:
                self._end(job, Outcome.PICTURE, done)
            else:
                self._end(job, Outcome.TIMEOUT, job.sent + self.plan.timeout)
        self._foresee(replica)
        self._stop_if_idle(replica)

    def _leave(self, job: Job) -> None:
        if job.over:
            return
        if job.replica is None:
            self._line.remove(job)
        else:
            job.replica.withdraw(self.now, job)
            self._foresee(job.replica)
            self._stop_if_idle(job.replica)
        self._end(job, Outcome.TIMEOUT)

    def _end(self, job: Job, outcome: Outcome, done: float | None = None) -> None:
        job.over = True
        self._open -= 1
        self._record(job, outcome, self.now if done is None else done)

    def _record(self, job: Job, outcome: Outcome, done: float) -> None:
        self.records.append(
            Record.of(
                job.request,
                sent=job.sent,
                done=done,
                outcome=outcome,
                retry_after=outcome is Outcome.REFUSED,
            )
        )

    # Replicas

    def _look(self, autoscaler: Autoscaler) -> None:
        """Look at all that there is, have it scaled, and come again."""
        there = [one for one in self._replicas.values() if not one.stopping]
        ready = {one.name: one for one in there if one.ready}
        work = {name: one.work_left(self.now) for name, one in ready.items()}
        target = autoscaler.look(self.now, work, len(self._line), self._open)
        for _ in range(target - len(there)):
            self._start_replica()
        if target < len(there):
            for one in self._to_stop(there)[: len(there) - target]:
                one.stopping = True
                self._stop_if_idle(one)
        self._end_idle_nodes()
        running = sum(one.open for one in self._replicas.values())
        self.samples.append(
            Sample(
                time=self.now,
                replicas=sum(one.ready for one in self._replicas.values()),
                nodes=len(self._nodes),
                waiting=len(self._line),
                running=running,
            )
        )
        if self.now < self.plan.seconds:
            seconds = min(LOOK_SECONDS, self.plan.seconds - self.now)
            self._replica_seconds += len(self._replicas) * seconds
            self._node_seconds += len(self._nodes) * seconds
        if self.now < self.plan.seconds or self._open:
            self._at(self.now + LOOK_SECONDS, lambda: self._look(autoscaler))

    def _to_stop(self, replicas: list[Replica]) -> list[Replica]:
        """Those that are not ready first, then those of the emptiest machine, then the youngest."""
        youngest = list(reversed(replicas))
        return sorted(youngest, key=lambda one: (one.ready, self._nodes[one.node].replicas))

    def _start_replica(self, *, warm: bool = False) -> None:
        node = self._place(warm=warm)
        name = f"replica {next(self._count)}"
        replica = Replica(name, node, self.fleet.service[0], ROWS_PER_PASS)
        self._replicas[name] = replica
        if warm:
            replica.ready = True
            return

        def ready() -> None:
            if name not in self._replicas:
                return
            replica.ready = True
            waiting, self._line = self._line, deque()
            for job in waiting:
                self._send(job)

        there = max(self.now, self._nodes[node].ready_at)
        self._at(there + self.fleet.replica_start, ready)

    def _stop_if_idle(self, replica: Replica) -> None:
        if replica.stopping and not replica.open and replica.name in self._replicas:
            del self._replicas[replica.name]
            node = self._nodes[replica.node]
            node.replicas -= 1
            node.idle_since = None if node.replicas else self.now

    def _place(self, *, warm: bool) -> int:
        """A machine with room, a new one if there is none."""
        most = self.fleet.replicas_per_node
        room = (number for number, node in self._nodes.items() if node.replicas < most)
        number = next(room, None)
        if number is None:
            number = next(self._count)
            self._nodes[number] = _Node(self.now + (0.0 if warm else self.fleet.node_start))
        self._nodes[number].replicas += 1
        self._nodes[number].idle_since = None
        return number

    def _end_idle_nodes(self) -> None:
        for number, node in list(self._nodes.items()):
            if node.idle_since is not None and (self.now - node.idle_since >= self.fleet.node_idle):
                del self._nodes[number]
