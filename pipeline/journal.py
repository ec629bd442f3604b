"""The journal beside a table of predictions: one line per file as it is done, so runs resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np

from data_prep.status import Status
from pipeline.errors import UserError
from pipeline.predictions import Prediction

_TRIED_AGAIN = frozenset({Status.TIMEOUT, Status.MISSING})


class Journal:
    """Lines of JSON: a header that names model and settings, then one per file."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path, self._header = path, header
        self._file: IO[bytes] | None = None

    def open(self) -> dict[str, Prediction]:
        """Predictions already made, by id. Raises UserError for another model or settings."""
        known: dict[str, Prediction] = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = self._path.read_bytes().splitlines(keepends=True) if self._path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]  # a killed run cuts its last one
        if whole:
            try:
                header, *entries = [json.loads(line) for line in whole]
                self._refuse_other(header)
                made = {entry["id"]: _from_entry(entry) for entry in entries}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self._path} is no journal of framewave, or damaged; delete it"
                ) from error
            known = {k: p for k, p in made.items() if p.status not in _TRIED_AGAIN}
        self._file = self._path.open("r+b" if whole else "wb")
        assert self._file is not None
        self._file.seek(sum(len(line) for line in whole))
        self._file.truncate()
        if not whole:
            self._write({"framewave_journal": 1, **self._header})
        return known

    def add(self, clip_id: str, prediction: Prediction) -> None:
        chances = prediction.probabilities
        self._write(
            {
                "id": clip_id,
                "path": prediction.path,
                "status": str(prediction.status),
                "error": prediction.error,
                "probabilities": None if chances is None else [float(p) for p in chances],
                "has_video": prediction.has_video,
                "has_audio": prediction.has_audio,
                "duration_s": prediction.duration_s,
            }
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()

    def _write(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        line = json.dumps(entry, ensure_ascii=True) + "\n"
        self._file.write(line.encode())
        self._file.flush()

    def _refuse_other(self, header: dict[str, Any]) -> None:
        for key, value in self._header.items():
            if header.get(key) != value:
                raise UserError(
                    f"{self._path} was begun with {key}={header.get(key)}, this is {key}={value}; "
                    "choose another --out, or delete the journal to classify anew"
                )


def _from_entry(entry: dict[str, Any]) -> Prediction:
    chances = entry["probabilities"]
    return Prediction(
        entry["path"],
        Status(entry["status"]),
        entry["error"],
        None if chances is None else np.array(chances, np.float64),
        entry["has_video"],
        entry["has_audio"],
        entry["duration_s"],
    )
