"""The request router: a request goes to the replica where it is done soonest.

Serve's own choice goes by the number of requests, and its multiplexing by a cache of its own; an
engine knows what it has in memory, and how much work is in front of it. Each replica says so every
second (``record_routing_stats``), and the router knows what it has sent there itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

from contract.request import GenerationRequest
from deployment.ray.ranking import Need, Standing, ranked


class EngineRouter(RequestRouter):
    """Ranks the replicas for calls of ``generate(request, avoid=names)``; others go to any."""

    def initialize_state(self, **_: Any) -> None:
        # The work that was sent from here and is not done, by replica and call.
        self._sent: defaultdict[str, dict[str, float]] = defaultdict(dict)

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """One replica a rank. Serve takes the first that has room (``max_ongoing_requests``)."""
        if pending_request is not None:
            # Nobody else is tried first, so wait a little when all are full.
            pending_request.routing_context.should_backoff = True
        request = _request(pending_request)
        if pending_request is None or request is None:
            return [candidate_replicas]
        replicas = {one.replica_id.unique_id: one for one in candidate_replicas}
        self._forget(replicas)
        order = ranked(
            Need.of(request),
            (self._standing(name, one.routing_stats) for name, one in replicas.items()),
            _avoid(pending_request),
        )
        return [[replicas[name]] for name in order]

    def on_request_routed(
        self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any
    ) -> None:
        """Note the work that a replica was sent."""
        request = _request(pending_request)
        if request is not None:
            call = pending_request.metadata.internal_request_id
            self._sent[replica_id.unique_id][call] = Need.of(request).work

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """It is done, or was given up."""
        self._sent[replica_id.unique_id].pop(internal_request_id, None)

    def _standing(self, name: str, stats: dict[str, Any]) -> Standing:
        return Standing(
            name,
            # What it says is a second old, and what was sent from here is not all that it has.
            work_left=max(stats.get("work_left", 0), sum(self._sent[name].values())),
            models=frozenset(stats.get("models", ())),
            loras=frozenset(stats.get("loras", ())),
        )

    def _forget(self, there: dict[str, RunningReplica]) -> None:
        for name in self._sent.keys() - there.keys():
            del self._sent[name]


def _request(pending: PendingRequest | None) -> GenerationRequest | None:
    if pending is None or not pending.args or not isinstance(pending.args[0], GenerationRequest):
        return None
    return pending.args[0]


def _avoid(pending: PendingRequest) -> Sequence[str]:
    names: Sequence[str] = pending.kwargs.get("avoid", ())
    return names
