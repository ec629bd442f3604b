"""A decoding process whose decoder dies in the way that the file's name asks for."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from data_prep.clips import clip_decoder, file_survey
from data_prep.worker import worker

_decode_clip, _survey = clip_decoder.decode_clip, file_survey.survey_file


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__("a decoder's own error")
        self.lock = threading.Lock()

    def __reduce__(self):
        raise TypeError("cannot pickle this")


def _die(path: str) -> None:
    kind = Path(path).stem
    if kind == "sigsegv":
        ctypes.string_at(0)
    elif kind in ("sigkill", "sigabrt", "sigbus"):
        os.write(2, b"[h264 @ 0x55] useful last line\n")
        os.kill(os.getpid(), getattr(signal, kind.upper()))
    elif kind == "loop":
        while True:
            pass
    elif kind == "busy":  # alive, but never done
        while True:
            time.sleep(0.01)
            clip_decoder.expect_duration(0.1)
            worker.heartbeat.beat()
    elif kind == "memory":
        hoard = []
        while True:
            hoard.append(bytearray(64 << 20))
    elif kind == "unpicklable":
        raise UnpicklableError
    elif kind == "exit":
        os._exit(0)
    elif kind == "sysexit":
        sys.exit(0)
    elif kind == "chatter":
        os.write(1, b"garbage on standard output\n" * 1000)
        os.write(2, b"noise\n" * 100_000)


def _dying_decode(source, settings, buffers=None):
    _die(source.path)
    if Path(source.path).stem == "hoard":  # fails when it has a slot already
        buffers.acquire(1, 64)
        raise MemoryError
    if Path(source.path).stem == "late":
        chunks = _decode_clip(source, settings, buffers)
        yield next(chunks)
        os.kill(os.getpid(), signal.SIGSEGV)
    return (yield from _decode_clip(source, settings, buffers))


def _dying_survey(path, limits, *rest):
    _die(path)
    return _survey(path, limits, *rest)


clip_decoder.decode_clip, file_survey.survey_file = _dying_decode, _dying_survey

if __name__ == "__main__":
    worker.main()
