"""The application builder: ``serve run deployment.ray.app:build models=embedded``.

The ingress is in front of one engine deployment for each group of models, and of the classifier.
"""

# No postponed annotations: Serve looks at the builder's to know the type of its arguments.
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from assembly import startup
from deployment.ray.arguments import Arguments, Engines
from deployment.ray.classifier import CLASSIFIER, ClassifierReplica
from deployment.ray.engine import EngineReplica
from deployment.ray.ingress import Ingress, Plan
from deployment.ray.policy import ROW_STEPS_PER_REQUEST, WorkPolicy
from deployment.ray.router import EngineRouter
from deployment.ray.split import (
    check,
    check_settings,
    deployment_name,
    group_settings,
    placement,
)
from settings import Settings

# CPUs that Ray sets aside for those that need few. Not none: those it may place where nothing else
# is to run.
LITTLE = 0.1
# Calls at a time, above what an engine accepts: it shall say itself that it is full.
MORE_CALLS = 16
# After the work in flight, for what is left to do.
LAST_SECONDS = 10.0
STATS_SECONDS = 1.0
# Serve gives the code of a replica, and its router, threads of their own, in case that it blocks.
# The site's does not, and every message would go from one to the other and back.
ONE_THREAD = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
}


def build(arguments: Arguments) -> serve.Application:
    """Compose the application.

    Raises:
        RuntimeError: says in a sentence what is wrong with the settings.
        UnusableSplit: likewise with the arguments.
    """
    with startup.explained(RuntimeError):
        settings = Settings()
        check_settings(settings)
        groups = arguments.groups(settings.models)
        settings = settings.model_copy(
            update={"models": tuple(name for group in groups for name in group.models)}
        )
        check(startup.load_models(settings), groups)
    divided = [group_settings(settings, group) for group in groups]
    minimum = {deployment_name(group.models): group.min_replicas for group in groups}
    classifier = None
    if settings.classifier != "none":
        classifier = _classifier(settings)
        minimum[CLASSIFIER] = 1
    plan = Plan(
        placements={name: placement(each) for each in divided for name in each.models},
        minimum=minimum,
        start_seconds=arguments.start_seconds,
    )
    ingress: Any = serve.deployment(serve.ingress()(Ingress))
    return ingress.options(
        name="ingress",
        num_replicas=arguments.ingress_replicas,
        ray_actor_options={"num_cpus": LITTLE, "runtime_env": {"env_vars": ONE_THREAD}},
        # It bounds what it lets in itself, and says so in the words of each protocol.
        max_ongoing_requests=settings.max_connections,
        max_queued_requests=-1,
        graceful_shutdown_timeout_s=settings.drain + LAST_SECONDS,
    ).bind(
        settings,
        plan,
        [group.models for group in groups],
        [_engines(each, group) for each, group in zip(divided, groups, strict=True)],
        classifier,
    )


def _engines(settings: Settings, group: Engines) -> serve.Application:
    policy: dict[str, Any] = {}
    if group.policy == "work":
        policy["policy"] = AutoscalingPolicy(
            policy_function=WorkPolicy,
            policy_kwargs={
                "target_row_steps": group.target_row_steps,
                "row_steps_per_request": ROW_STEPS_PER_REQUEST,
            },
        )
    engine: Any = serve.deployment(EngineReplica)
    return engine.options(
        name=deployment_name(group.models),
        ray_actor_options={
            "num_cpus": group.num_cpus,
            "num_gpus": group.num_gpus,
            # Ray's own choice has one thread for less than a CPU, and otherwise the same.
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(max(1, int(group.num_cpus)))}},
        },
        max_ongoing_requests=settings.max_queue + MORE_CALLS,
        # Those wait that come while none is there. Of each ingress.
        max_queued_requests=settings.max_queue,
        autoscaling_config=AutoscalingConfig(
            min_replicas=group.min_replicas,
            max_replicas=group.max_replicas,
            target_ongoing_requests=group.target_requests,
            upscale_delay_s=group.upscale_delay,
            downscale_delay_s=group.downscale_delay,
            look_back_period_s=group.look_back,
            **policy,
        ),
        request_router_config=RequestRouterConfig(
            request_router_class=EngineRouter, request_routing_stats_period_s=STATS_SECONDS
        ),
        graceful_shutdown_timeout_s=settings.drain + LAST_SECONDS,
    ).bind(settings)


def _classifier(settings: Settings) -> serve.Application:
    classifier: Any = serve.deployment(ClassifierReplica)
    return classifier.options(
        name=CLASSIFIER,
        ray_actor_options={"num_cpus": LITTLE},
        max_ongoing_requests=settings.max_classifications,
        max_queued_requests=settings.max_classifications,
        graceful_shutdown_timeout_s=settings.drain + LAST_SECONDS,
    ).bind(settings)
