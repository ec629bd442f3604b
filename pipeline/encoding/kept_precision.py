"""Which layers of a converted encoder stay in float32 when it runs in bfloat16.

A CNN's first layers have few channels, and what bfloat16 rounds off there every later layer builds
on. With the first quarter of its convolutions in float32, EfficientNet-Lite2's features are off by
half as much as with none, of photographs (benchmarks/tried.py), and by a ninth as much of frames
that differ little, a sky with something small in it; that costs a quarter of the time gained.
"""

from __future__ import annotations

from xml.etree import ElementTree

_IN_FLOAT32 = 0.25  # share of the convolutions, from the input on
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


def marked(description: bytes) -> bytes:
    """OpenVINO's description of a CNN (.xml), the first layers marked to be kept in float32.

    They lie in the file in the order in which they are computed. What comes before the CNN, such as
    making pictures of sound, is among them.
    """
    root = ElementTree.fromstring(description)  # noqa: S314  what OpenVINO has just written
    layers = root.findall("./layers/layer")
    convolutions = [i for i, layer in enumerate(layers) if _convolves_pictures(layer)]
    if not convolutions:
        return description
    end = convolutions[int(_IN_FLOAT32 * len(convolutions))]
    for layer in layers[:end]:
        if layer.get("type") not in ("Const", "Parameter"):
            _mark(layer)
    return ElementTree.tostring(root)


def _convolves_pictures(layer: ElementTree.Element) -> bool:
    """Whether it is one of the CNN's: these give [N, C, H, W], those over samples [N, C, S]."""
    dimensions = layer.findall("./output/port/dim")
    return layer.get("type") in _CONVOLUTIONS and len(dimensions) == 4


def _mark(layer: ElementTree.Element) -> None:
    """The attribute by which OpenVINO's plugins leave a layer's precision alone."""
    notes = layer.find("rt_info")
    if notes is None:
        notes = ElementTree.Element("rt_info")
        layer.insert(0 if layer.find("data") is None else 1, notes)
    ElementTree.SubElement(notes, "attribute", name="precise", version="0")
