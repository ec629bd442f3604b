"""Registry of backbones, the networks that encode frames."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from models.backbones.base import Backbone, BackboneFamily

MODULES = ("efficientnet_lite", "torchvision_models")
"""Modules of this package with a FAMILY, searched in order; the last one is slow to import."""


@cache
def _family(module: str) -> BackboneFamily:
    family: BackboneFamily = import_module(f"models.backbones.{module}").FAMILY
    return family


def get_backbone(name: str) -> Backbone:
    """The backbone with this name. Raises ValueError for an unknown one."""
    for module in MODULES:
        # one family at a time: torchvision is not imported if an earlier one has the name
        backbone = _family(module).get(name)
        if backbone is not None:
            return backbone
    raise ValueError(f"model.frame_encoder '{name}' is not a known backbone")


def is_backbone(name: str) -> bool:
    """Whether there is a backbone with this name."""
    return any(_family(module).get(name) is not None for module in MODULES)


def backbone_names() -> list[str]:
    """Names of all backbones; slow, since it imports torchvision."""
    return [name for module in MODULES for name in _family(module).names()]
