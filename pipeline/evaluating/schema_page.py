"""METRICS.md, made from the schema's own descriptions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from pipeline.evaluating import schema
from pipeline.evaluating.schema import Metrics, Part


def described() -> str:
    """METRICS.md."""
    lines = ["# metrics.json, version 2", "", *(schema.__doc__ or "").strip().splitlines()[2:4], ""]
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


def _type(annotation: Any) -> str:
    text = str(annotation) if not isinstance(annotation, type) else annotation.__name__
    for cut in ("pipeline.evaluating.schema.", "typing."):
        text = text.replace(cut, "")
    if "Annotated[list[float]" in text:
        text = "[low, high] or null"
    return text.replace("|", "or").replace("NoneType", "null").replace("None", "null")
