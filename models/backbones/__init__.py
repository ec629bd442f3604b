"""Backbones by name: the networks that encode frames."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from models.backbones.base import Backbone, BackboneFamily

MODULES = ("efficientnet_lite", "torchvision_models")
"""Modules of this package with a FAMILY, asked in this order; the last one takes long to load."""


@cache
def _family(module: str) -> BackboneFamily:
    family: BackboneFamily = import_module(f"models.backbones.{module}").FAMILY
    return family


def get_backbone(name: str) -> Backbone:
    """Raises ValueError for an unknown name."""
    for module in MODULES:
        backbone = _family(module).get(name)
        if backbone is not None:
            return backbone
    raise ValueError(f"model.frame_encoder '{name}' is no known backbone")


def is_backbone(name: str) -> bool:
    return any(_family(module).get(name) is not None for module in MODULES)


def backbone_names() -> list[str]:
    return [name for module in MODULES for name in _family(module).names()]
