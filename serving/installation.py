"""The installation: a site on a BentoML service."""

from __future__ import annotations

import bentoml.legacy

from assembly.site import Site
from serving.descriptors import input_of, output_of
from serving.fallback import FallbackRouter


def install(site: Site, service: bentoml.legacy.Service) -> None:
    """Have a service respond with a site, also where BentoML has routes of its own."""
    for layer in site.middleware:
        service.add_asgi_middleware(layer.cls, **layer.kwargs)
    service.add_asgi_middleware(FallbackRouter, site=site.app)
    service.mount_asgi_app(site.app)
    for endpoint in site.protocols.endpoints:
        # BentoML's own endpoints are POST; other methods are routes of the mounted site, and so are
        # paths with names in them (``FallbackRouter``).
        if "POST" in endpoint.methods and not endpoint.has_names:
            service.api(
                input=input_of(endpoint, site.protocols.schemas),
                output=output_of(endpoint),
                route=endpoint.path.removeprefix("/"),
            )(endpoint.handler)
