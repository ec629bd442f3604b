"""Samples to probabilities, clip by clip: a clip's numbers cannot depend on other clips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from models.classifier import AudioVisualClassifier
from pipeline.samples import Sample, collate

Probabilities = npt.NDArray[np.float64]


def predict(classifier: AudioVisualClassifier, sample: Sample) -> Probabilities:
    """float64 [K], sums to one."""
    with torch.inference_mode():
        logits = classifier.eval()(collate([sample]))[0]
    probabilities: Probabilities = logits.double().softmax(dim=0).numpy()
    return probabilities
