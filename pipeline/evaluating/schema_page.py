"""METRICS.md, made from the schema's own descriptions."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.evaluating import schema
from pipeline.evaluating.schema import METRICS_VERSION, Metrics, Part


def described() -> str:
    """METRICS.md."""
    intro = (schema.__doc__ or "").strip().splitlines()[2:4]
    lines = [f"# metrics.json, version {METRICS_VERSION}", "", *intro, ""]
    kinds: list[type[BaseModel]] = [Metrics, *sorted(Part.__subclasses__(), key=_name)]
    for kind in dict.fromkeys(kinds):
        lines += [f"## {kind.__name__}", "", (kind.__doc__ or "").strip(), ""]
        lines += ["| key | type | meaning |", "|---|---|---|"]
        for key, field in kind.model_fields.items():
            lines.append(f"| `{key}` | {_type(field.annotation)} | {field.description or ''} |")
        lines.append("")
    return "\n".join(lines)


def _name(kind: type[BaseModel]) -> str:
    return kind.__name__


def _type(kind: Any) -> str:
    """As a reader of the file would say it."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return "[low, high]" if get_origin(parts[0]) is list else _type(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_type, parts))
    if origin is Literal:
        return " or ".join(map(json.dumps, parts))
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_type, parts))}]"
    return {NoneType: "null", Any: "anything"}.get(kind) or str(kind.__name__)
