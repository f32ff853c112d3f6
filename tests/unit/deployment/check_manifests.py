"""The program that checks Kubernetes manifests: ``python check_manifests.py < documents.json``.

Runs in the environment of the deployment's tools. Reads a list of documents and prints a list of
faults, each a sentence. Core kinds are checked against the schemas of Kubernetes, others against
those in ``crds/``, with their rules in CEL. Unknown fields are faults, and so are kinds without a
schema.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

KUBERNETES = "1.37"
CRDS = Path(__file__).with_name("crds")

Schema = dict[str, Any]


@cache
def custom() -> dict[tuple[str, str], Schema]:
    """The schemas in ``crds/``, by API version and kind."""
    found = {}
    for file in CRDS.glob("*.json"):
        schema = json.loads(file.read_text())
        kind = schema["x-kubernetes-group-version-kind"]
        found[f"{kind['group']}/{kind['version']}", kind["kind"]] = schema
    return found


def strict(node: Any) -> Any:
    """A CRD's schema as JSON Schema that refuses what the API server would drop or refuse."""
    if isinstance(node, list):
        return [strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    made: Schema = {}
    for name, value in node.items():
        if name in ("properties", "$defs"):
            made[name] = {field: strict(one) for field, one in value.items()}
        else:
            made[name] = strict(value)
    properties = made.get("properties")
    if isinstance(properties, dict):
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
        # The API server fills in defaults before it validates.
        made["required"] = [
            name
            for name in made.get("required", [])
            if "default" not in (properties.get(name) or {})
        ]
    if made.pop("x-kubernetes-int-or-string", False):
        made.pop("anyOf", None)
        made["type"] = ["integer", "string"]
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def custom_faults(document: dict[str, Any], schema: Schema) -> Iterator[str]:
    from jsonschema import Draft202012Validator

    whole = strict(schema)
    # Which a CRD leaves to the API server.
    whole["properties"]["metadata"] = {"type": "object"}
    for error in Draft202012Validator(whole).iter_errors(document):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
    yield from rule_faults(schema, schema, document, "")


def rule_faults(schema: Schema, root: Schema, value: Any, path: str) -> Iterator[str]:
    """What breaks a rule in CEL. Rules about changes are left out: there is no old object."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not holds(rule["rule"], value):
            yield f"{path.lstrip('.')}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        rest = schema.get("additionalProperties")
        for name, one in value.items():
            below = schema.get("properties", {}).get(name) or rest
            if isinstance(below, dict):
                yield from rule_faults(below, root, one, f"{path}.{name}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for place, one in enumerate(value):
            yield from rule_faults(schema["items"], root, one, f"{path}.{place}")


def holds(rule: str, value: Any) -> bool:
    import cel

    context = cel.Context()
    context.add_variable("self", value)
    # Of Kubernetes' own library.
    context.add_function("find", lambda text, pattern: (re.search(pattern, text) or [""])[0])
    context.add_function("split", lambda text, separator: text.split(separator))
    return cel.evaluate(rule, context) is True


def faults(document: dict[str, Any]) -> Iterator[str]:
    import kubernetes_validate

    schema = custom().get((document["apiVersion"], document["kind"]))
    if schema is not None:
        yield from custom_faults(document, schema)
        return
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message[:200]}"
    except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError):
        yield "there is no schema for this kind"


def main() -> None:
    said = [
        f"{document['kind']} {document['metadata']['name']}: {fault}"
        for document in json.load(sys.stdin)
        for fault in faults(document)
    ]
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
