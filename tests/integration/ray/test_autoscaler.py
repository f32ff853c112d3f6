"""The autoscaler on paper (``python -m benchmarks simulate --fleet``) decides as Serve's does."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.simulation.autoscaler import Autoscaler
from deployment.ray.arguments import EngineOptions
from deployment.ray.policy import ROW_STEPS, ROW_STEPS_PER_REQUEST, WorkPolicy

OPTIONS: dict[str, Any] = {"max_replicas": 6, "upscale_delay": 4, "downscale_delay": 9}


@pytest.mark.parametrize("policy", ["work", "requests"])
@pytest.mark.parametrize("least", [0, 2])
def test_it_decides_as_serve_does(policy: Any, least: int) -> None:
    from ray.serve import autoscaling_policy as serves
    from ray.serve.config import AutoscalingConfig

    options = EngineOptions(policy=policy, min_replicas=least, look_back=1, **OPTIONS)
    config = AutoscalingConfig(
        min_replicas=least,
        max_replicas=options.max_replicas,
        target_ongoing_requests=options.target_requests,
        upscale_delay_s=options.upscale_delay,
        downscale_delay_s=options.downscale_delay,
    )
    inner = (
        WorkPolicy(options.target_row_steps, ROW_STEPS_PER_REQUEST)
        if policy == "work"
        else serves._core_replica_queue_length_policy
    )
    now = 0.0
    apply_delay = serves._apply_delay_logic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serves, "_apply_delay_logic", lambda *given: apply_delay(*given, _now=now))
        decide = serves._apply_autoscaling_config(_named(inner))
        ours = Autoscaler(options, 1.0)
        target, state, running = least, dict[str, Any](), least
        dice = random.Random(5)
        load = 0
        for second in range(600):
            now = float(second)
            load = dice.choice((0, 0, 1, 8, 30, 60)) if second % 7 == 0 else load
            work = {str(number): 40.0 * load / max(1, running) for number in range(running)}
            waiting = 0 if running else load
            context = SimpleNamespace(
                current_num_replicas=running,
                target_num_replicas=target,
                total_num_requests=load,
                total_queued_requests=waiting,
                aggregated_metrics={ROW_STEPS: work},
                policy_state=state,
                config=config,
            )
            wanted, state = decide(context)
            target = min(max(int(wanted), least), options.max_replicas)
            assert ours.look(now, work, waiting, load) == target, second
            # They take a while to come.
            running += (target > running) - (target < running)


def _named(policy: Any) -> Any:
    def decide(context: Any) -> Any:
        return policy(context)

    return decide
