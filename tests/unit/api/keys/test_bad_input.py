"""Mistakes that any route can be sent, on every route of the document, as two clients with keys.

What is particular to a protocol is with its tests. A route, a field or a parameter that is added is
in here without further ado.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import PIL.Image
import pytest
from starlette.testclient import TestClient

from api.keys.key import new_key
from api.keys.scopes import Scope
from tests.unit.api.conftest import ColourBackend
from tests.unit.api.keys.sites import own_host, site_of, with_keys

ADA, ADAS_KEY = new_key("ada", scope=Scope.ADMIN)
BOB, BOBS_KEY = new_key("bob")
LIMIT: Final = 256 * 1024
_UNKNOWN: Final = "nobody_knows_it"
_FILE = io.BytesIO()
PIL.Image.new("RGB", (64, 64), "teal").save(_FILE, "PNG")
_BASE64: Final = base64.b64encode(_FILE.getvalue()).decode()
_PART: Final = ("a.png", _FILE.getvalue(), "image/png")
_PROMPT: Final = {"prompt": "x", "num_inference_steps": 2}
_DATA: Final = {"img": _PART, "data": (None, '{"prompt": "x", "num_inference_steps": 2}')}

# What is right, by the end of the path.
RIGHT_JSON: Final[dict[str, dict[str, Any]]] = {
    "/predictions": {"input": {"prompt": "x"}},
    "/predictions/{id}": {"input": {"prompt": "x"}},
    "/generations": _PROMPT,
    "/edits": {**_PROMPT, "images": [{"image_url": f"data:image/png;base64,{_BASE64}"}]},
    ":predict": {"instances": [_PROMPT]},
    "/infer": {"inputs": [], "parameters": _PROMPT},
    "/index": {},
    "/load": {},
    "/unload": {},
    "/sdapi/v1/txt2img": {"prompt": "x", "steps": 2},
    "/sdapi/v1/img2img": {"prompt": "x", "steps": 2, "init_images": [_BASE64]},
    "/png-info": {"image": _BASE64},
    "/interrogate": {"image": _BASE64},
    "/options": {},
    "/txt2img": _PROMPT,
}
RIGHT_FORMS: Final[dict[str, dict[str, Any]]] = {
    "/edits": {"image": _PART, "prompt": (None, "x")},
    "/variations": {"image": _PART},
    "/img2img": _DATA,
    "/inpaint": {**_DATA, "mask": _PART},
    "/classify": {"img": _PART},
}
# A value of another type, by the types that a field may have.
_WRONG: Final[dict[str, Any]] = {"string": 7, "object": "x", "array": "x", "other": {"a": 1}}
# What takes any JSON there.
_FREE: Final = {"script_args"}
_MALFORMED: Final = (b"{", b"[]", b"null", b"7", b'{"a": "\xff"}', b"")
# What is well without a body.
_OPTIONAL: Final = ("/index", "/load", "/unload", "/sdapi/v1/options", "/interrogate")


@dataclass(frozen=True, slots=True)
class Operation:
    """One of the document."""

    template: str
    method: str
    given: dict[str, Any]

    @property
    def path(self) -> str:
        """A path where there is something of Ada's."""
        names = {"id": "adas", "index": "0", "owner": "any", "model": "tiny", "name": "tiny"}
        names["version"] = "1" if self.template.startswith("/v2") else "tiny"
        return self.template.format(**names)

    @property
    def bodies(self) -> dict[str, dict[str, Any]]:
        """The schemas of its bodies, by media type."""
        content = self.given.get("requestBody", {}).get("content", {})
        return {kind: one["schema"] for kind, one in content.items()}

    def right(self, bodies: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """A body without mistakes."""
        return next(body for end, body in bodies.items() if self.template.endswith(end))


class Site:
    """The service, and what its document says."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.document = client.get("/docs.json", headers=_key(ADA)).json()
        self.operations = [
            Operation(template, method.upper(), given)
            for template, methods in self.document["paths"].items()
            for method, given in methods.items()
        ]

    def taking(self, kind: str) -> list[Operation]:
        """The operations that take a body of that media type."""
        return [one for one in self.operations if kind in one.bodies]

    def ask(self, one: Operation, path: str = "", key: str = ADA, **more: Any) -> httpx2.Response:
        headers = {**_key(key), **more.pop("headers", {})}
        return self.client.request(one.method, path or one.path, headers=headers, **more)

    def schema(self, given: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in given:
            given = self.document["components"]["schemas"][given["$ref"].rpartition("/")[2]]
        return given

    def types(self, given: dict[str, Any]) -> set[str]:
        """The types that a value may have; empty where it may have any."""
        schema = self.schema(given)
        if "type" in schema:
            kinds = schema["type"]
            return {kinds} if isinstance(kinds, str) else set(kinds)
        if "enum" in schema or "const" in schema:
            return {"string"}
        within = [one for name in ("anyOf", "oneOf", "allOf") for one in schema.get(name, [])]
        return {kind for one in within for kind in self.types(one)}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    changes = {"store": str(tmp_path_factory.mktemp("store")), "max_body_bytes": LIMIT}
    settings = with_keys([ADAS_KEY, BOBS_KEY]).model_copy(update={**changes, "model_control": True})
    backend = ColourBackend()
    made = site_of(settings, backend)
    with TestClient(own_host(made, backend), raise_server_exceptions=False) as client:
        for name, key in (("adas", ADA), ("bobs", BOB)):
            order = {"id": name, "input": {"prompt": "x"}}
            waiting = {**_key(key), "Prefer": "wait"}
            done = client.post("/predictions", json=order, headers=waiting)
            assert done.json()["status"] == "succeeded"
        yield Site(client)
        client.portal.call(made.close, 0)  # type: ignore[union-attr]


def refused(one: Operation, response: httpx2.Response, *statuses: int, names: str = "") -> None:
    """Assert a refusal in the words of the path's protocol, that names what is wrong."""
    told = f"{one.method} {one.template}: {response.status_code} {response.text[:300]}"
    assert response.status_code in statuses, told
    body, path = response.json(), one.template
    if path.startswith(("/v2", "/v1/models/{model}:")):
        sentence = body["error"]
    elif path.startswith("/sdapi"):
        sentence = body["detail"]
        assert body["errors"] == sentence, told
    elif re.search("/predictions|/webhooks|{owner}", path):
        sentence = body["detail"]
        assert body["status"] == response.status_code, told
        assert response.headers["content-type"] == "application/problem+json", told
    else:
        sentence = body["error"]["message"]
        own = {"type", "param"} if path.startswith("/v1/") else {"request_id"}
        assert own <= body["error"].keys(), told
    assert names in sentence, told


def test_parameters_of_urls(site: Site) -> None:
    """Refused, or reported in a header where the clients of a protocol may send any."""
    asked = {_UNKNOWN: "1"}
    for one in site.operations:
        tolerant = one.template.startswith(("/sdapi", "/v1/images", "/v2/health"))
        if not tolerant and one.template not in {"/v1/models", "/v1/models/{model}"}:
            refused(one, site.ask(one, params=asked), 400, names=_UNKNOWN)
            continue
        body: dict[str, Any] = {}
        if "application/json" in one.bodies:
            body = {"json": one.right(RIGHT_JSON)}
        elif one.bodies:
            body = {"files": one.right(RIGHT_FORMS)}
        response = site.ask(one, params=asked, **body)
        assert response.status_code == 200, (one.template, response.text[:300])
        assert f'"{_UNKNOWN}\\" in the URL is ignored' in response.headers["x-warnings"]


def test_what_is_no_json(site: Site) -> None:
    for one in site.taking("application/json"):
        kind = {"Content-Type": "application/json"}
        for content in _MALFORMED:
            if content or not one.template.endswith(_OPTIONAL):
                refused(one, site.ask(one, content=content, headers=kind), 400)
        # KServe's clients do not always say what they send.
        if not one.template.startswith(("/v2", "/v1/models/{model}:")):
            for headers in ({}, {"Content-Type": "text/csv"}):
                response = site.ask(one, content=b"{}", headers=headers)
                refused(one, response, 415, names="Content-Type")
        too_long = site.ask(one, content=b" " * (LIMIT + 1), headers=kind)
        refused(one, too_long, 413, names=f"got {LIMIT + 1}")


def test_fields_of_json(site: Site) -> None:
    """Missing, unknown, or of another type: each is named."""
    for one in site.taking("application/json"):
        schema, right = site.schema(one.bodies["application/json"]), one.right(RIGHT_JSON)
        response = site.ask(one, json={**right, _UNKNOWN: 1})
        if one.template.startswith("/sdapi"):
            assert response.status_code == 200
            assert _UNKNOWN in response.text
        else:
            refused(one, response, 400, names=_UNKNOWN)
        for name in schema.get("required", ()):
            left = {key: value for key, value in right.items() if key != name}
            refused(one, site.ask(one, json=left), 400, names=name)
        for name, field in schema["properties"].items():
            kinds = site.types(field)
            if kinds and name not in _FREE:
                wrong = next((_WRONG[kind] for kind in _WRONG if kind in kinds), _WRONG["other"])
                refused(one, site.ask(one, json={**right, name: wrong}), 400, 422, names=name)


def test_parts_of_forms(site: Site) -> None:
    for one in site.taking("multipart/form-data"):
        right = one.right(RIGHT_FORMS)
        refused(one, site.ask(one, files={**right, _UNKNOWN: (None, "1")}), 400, names=_UNKNOWN)
        for name in right:
            twice = [*right.items(), (name, right[name])]
            # OpenAI's clients may send several pictures, of which one can be used.
            refused(one, site.ask(one, files=twice), 400, names=name)
            left = {key: value for key, value in right.items() if key != name}
            if left:
                refused(one, site.ask(one, files=left), 400, names=name)
        form = {"Content-Type": "multipart/form-data; boundary=B"}
        too_long = site.ask(one, content=b" " * (LIMIT + 1), headers=form)
        refused(one, too_long, 413, names=f"got {LIMIT + 1}")


def test_ids_of_nobody_and_of_another_client(site: Site) -> None:
    """There is no difference between the two, whatever is asked for."""
    for one in site.operations:
        if "{id}" not in one.template:
            continue
        body: dict[str, Any] = {"json": one.right(RIGHT_JSON)} if one.bodies else {}
        theirs = site.ask(one, one.path.replace("adas", "bobs"), **body)
        refused(one, theirs, 404, names='"bobs"')
        if one.method != "PUT":
            nobodys = site.ask(one, one.path.replace("adas", "none"), **body)
            refused(one, nobodys, 404)
            assert _without(nobodys, "none") == _without(theirs, "bobs")
    (mine,) = site.client.get("/predictions", headers=_key(BOB)).json()["results"]
    assert (mine["id"], mine["status"]) == ("bobs", "succeeded")


def _without(response: httpx2.Response, name: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    del body["request_id"]
    return {key: str(value).replace(name, "it") for key, value in body.items()}


def _key(text: str) -> dict[str, str]:
    return {"X-API-Key": text}
