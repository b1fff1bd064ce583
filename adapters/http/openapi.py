"""The OpenAPI 3.1 document, out of what handlers say about themselves.

Owns the form of the document. ``operation`` says what a handler declares; schemas are msgspec's
own, so that what is documented is what is checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.types import ControllerRouterHandler

from adapters.http import headers as documented
from adapters.http.doors import Rule, rule_of
from adapters.http.envelope import PageMeta
from adapters.http.operation import OPT, Operation
from adapters.http.problems import PROBLEMS
from adapters.http.routes import Route, walk
from domain.faults import Fault

_REF = "#/components/schemas/{name}"
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_PATH_TYPES: dict[str, dict[str, str]] = {
    "uuid": {"type": "string", "format": "uuid"},
    "int": {"type": "integer"},
    "date": {"type": "string", "format": "date"},
}

Json = dict[str, Any]


def document(
    handlers: Iterable[ControllerRouterHandler],
    *,
    title: str = "Mindstream",
    version: str = "1",
    description: str = "",
) -> bytes:
    """The document of these handlers as JSON; those without an ``Operation`` are left out.

    Raises:
        ValueError: two operations have one id, or an operation names an unknown problem.
    """
    described = [
        (route, route.handler.opt[OPT])
        for route in walk(handlers)
        if OPT in route.handler.opt and not route.handler.opt[OPT].internal
    ]
    schemas = _Schemas(operation for _, operation in described)
    paths: Json = {}
    seen: set[str] = set()
    for route, operation in described:
        for method in route.methods:
            if method in ("OPTIONS", "HEAD"):
                continue
            built = _operation(route, method, operation, schemas)
            if built["operationId"] in seen:
                raise ValueError(f"operation id {built['operationId']} is used twice")
            seen.add(built["operationId"])
            paths.setdefault(route.template, {})[method.lower()] = built
    tags = dict.fromkeys(tag for _, operation in described for tag in operation.tags)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version, "description": description},
            "servers": [{"url": "/"}],
            "security": [{"bearer": []}, {"apiKey": []}],
            "tags": [{"name": tag} for tag in tags],
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": schemas.components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                },
                "headers": documented.COMPONENTS,
            },
        }
    )


class _Schemas:
    """The schemas of every type that an operation names."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        types: dict[Any, None] = {Fault: None, PageMeta: None}
        for operation in operations:
            for kind in (operation.body, operation.response, operation.meta, operation.query):
                if kind is not None:
                    types[kind] = None
        every = list(types)
        refs, components = msgspec.json.schema_components(every, ref_template=_REF)
        self._of = dict(zip(every, refs, strict=True))
        self._queries: dict[Any, list[Json]] = {}
        self.components: Json = {**components, "Problem": _problem_schema()}

    def of(self, kind: Any) -> Json:
        """The schema of a type, most often a reference."""
        found: Json = self._of[kind]
        return found

    def query(self, kind: Any) -> list[Json]:
        """The parameters that a query's struct stands for."""
        if kind not in self._queries:
            self._queries[kind] = self._parameters(kind)
        return self._queries[kind]

    def _parameters(self, kind: Any) -> list[Json]:
        # By reference, since msgspec gives types of one name in two modules longer names.
        component = self.components[self.of(kind)["$ref"].rpartition("/")[2]]
        required = component.get("required", [])
        return [
            _parameter("query", name, _without_null(schema), name in required)
            for name, schema in component["properties"].items()
        ]


def _without_null(schema: Json) -> Json:
    """A parameter's schema: what is left out is absent, never null."""
    members = schema.get("anyOf")
    if members is not None:
        rest = [member for member in members if member != {"type": "null"}]
        others = {k: v for k, v in schema.items() if k != "anyOf"}
        schema = {**others, **(rest[0] if len(rest) == 1 else {"anyOf": rest})}
    if "enum" in schema and None in schema["enum"]:
        schema = {**schema, "enum": [value for value in schema["enum"] if value is not None]}
    if schema.get("default", 0) is None:
        schema = {k: v for k, v in schema.items() if k != "default"}
    return schema


def _parameter(place: str, name: str, schema: Json, required: bool) -> Json:
    description = schema.get("description")
    built: Json = {"name": name, "in": place, "required": required, "schema": schema}
    if description:
        built["description"] = description
    return built


def _operation(route: Route, method: str, operation: Operation, schemas: _Schemas) -> Json:
    rule = rule_of(route.template, operation)
    is_public = rule.open
    built: Json = {
        "operationId": operation.operation_id or route.handler.fn.__name__,
        "summary": operation.summary,
        "parameters": _parameters(route, method, operation, schemas),
        "responses": _responses(route, method, operation, schemas, is_public=is_public),
    }
    description = operation.description
    if rule.permission:
        description = f"{description}\n\nNeeds the permission `{rule.permission}`.".strip()
    if description:
        built["description"] = description
    if operation.tags:
        built["tags"] = list(operation.tags)
    built["security"] = _security(rule)
    if operation.body is not None:
        content: Json = {"schema": schemas.of(operation.body)}
        if operation.examples:
            content["examples"] = {
                name: {"value": msgspec.to_builtins(value)}
                for name, value in operation.examples.items()
            }
        built["requestBody"] = {
            "required": operation.body_required,
            "content": {operation.body_media_type: content},
        }
    return built


def _security(rule: Rule) -> list[Json]:
    """The ways in: none is needed, or a bearer or an API key with the permission."""
    if rule.open:
        return []
    scopes = [rule.permission] if rule.permission else []
    return [{"bearer": scopes}, *([{"apiKey": scopes}] if rule.keys else [])]


def _parameters(route: Route, method: str, operation: Operation, schemas: _Schemas) -> list[Json]:
    built = [
        _parameter("path", name, _PATH_TYPES.get(kind, {"type": "string"}), True)
        for name, kind in route.parameters
    ]
    if operation.query is not None:
        built += schemas.query(operation.query)
    if _needs_if_match(method, operation):
        built.append(documented.IF_MATCH)
    if _is_idempotent(method, operation):
        built.append(documented.IDEMPOTENCY_KEY)
    if operation.fresh:
        built += [documented.CONSISTENCY_TOKEN, documented.PREFER, documented.IF_NONE_MATCH]
    built += [
        {
            "name": name,
            "in": "header",
            "required": required,
            "description": text,
            "schema": {"type": "string"},
        }
        for name, text, required in operation.headers
    ]
    return built


def _needs_if_match(method: str, operation: Operation) -> bool:
    if operation.if_match is None:
        return method in ("PATCH", "DELETE")
    return operation.if_match


def _is_idempotent(method: str, operation: Operation) -> bool:
    if operation.idempotent is None:
        return method in _WRITES
    return operation.idempotent


def _responses(
    route: Route, method: str, operation: Operation, schemas: _Schemas, *, is_public: bool
) -> Json:
    built: Json = {}
    for status in operation.statuses:
        answer: Json = {
            "description": HTTPStatus(status).phrase,
            "headers": documented.of_answer(method, operation, status),
        }
        if status not in (204, 304):
            content: Json = {"schema": _body_schema(operation, schemas)}
            if operation.response_example is not None:
                content["example"] = msgspec.to_builtins(operation.response_example)
            other: Json = {"schema": {"type": "string", "format": "binary"}}
            answer["content"] = {
                operation.response_media_type: content,
                **dict.fromkeys(operation.other_media_types, other),
            }
        built[str(status)] = answer
    if operation.fresh and 304 not in operation.statuses:
        built["304"] = {"description": "What the client has is current"}
    codes: dict[int, list[str]] = {}
    for code in _problem_codes(route, method, operation, is_public=is_public):
        kind = PROBLEMS.get(code)
        if kind is None:
            raise ValueError(f"operation of {route.template} names unknown problem {code}")
        codes.setdefault(kind.status, []).append(code)
    for status, names in sorted(codes.items()):
        if str(status) not in built:
            built[str(status)] = {
                "description": ", ".join(dict.fromkeys(names)),
                "content": {
                    "application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}
                },
            }
    return dict(sorted(built.items()))


def _problem_codes(
    route: Route, method: str, operation: Operation, *, is_public: bool
) -> list[str]:
    """The codes that the operation itself names, and those that its kind implies."""
    codes = [*operation.problems, "RATE_LIMITED", "INTERNAL_ERROR", "UNAVAILABLE"]
    if not is_public:
        codes.append("UNAUTHENTICATED")
        codes.append("TOKEN_EXPIRED")
        codes += ["FORBIDDEN", "TENANT_SUSPENDED", "QUOTA_EXCEEDED"]
    if route.parameters:
        codes.append("NOT_FOUND")
    if operation.body is not None:
        codes += ["MALFORMED_JSON", "PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"]
    if operation.body is not None or operation.query is not None:
        codes += ["MALFORMED_REQUEST", "VALIDATION_FAILED"]
    if _needs_if_match(method, operation):
        codes += ["IF_MATCH_REQUIRED", "VERSION_STALE", "MALFORMED_REQUEST"]
    if _is_idempotent(method, operation):
        codes += ["IDEMPOTENCY_IN_PROGRESS", "IDEMPOTENCY_KEY_REUSED", "VALIDATION_FAILED"]
    if operation.page:
        codes.append("INVALID_CURSOR")
    if operation.fresh:
        codes += ["INVALID_CONSISTENCY_TOKEN", "READ_MODEL_BEHIND"]
    return list(dict.fromkeys(codes))


def _body_schema(operation: Operation, schemas: _Schemas) -> Json:
    inner: Json = {} if operation.response is None else schemas.of(operation.response)
    if not operation.enveloped:
        return inner
    properties: Json = {
        "success": {"const": True},
        "data": {"type": "array", "items": inner} if operation.page else inner,
        "message": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time"},
        "requestId": {"type": "string"},
    }
    if operation.meta is not None:
        properties["meta"] = schemas.of(operation.meta)
    elif operation.page:
        properties["meta"] = schemas.of(PageMeta)
    return {"type": "object", "properties": properties, "required": list(properties)}


def _problem_schema() -> Json:
    text = {"type": "string"}
    required = ("type", "title", "status", "detail", "success", "message", "timestamp")
    return {
        "type": "object",
        "description": "RFC 9457 problem details that also carry the envelope's fields.",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text,
            "success": {"const": False},
            "message": text,
            "timestamp": {"type": "string", "format": "date-time"},
            "requestId": text,
            "code": {"enum": sorted(PROBLEMS)},
            "errors": {"type": "array", "items": {"$ref": _REF.format(name="Fault")}},
        },
        "required": [*required, "requestId", "code"],
    }
