"""A labelled set with known leaks in it: copies, re-encodes, cropped starts, sounds under others.

    PYTHONPATH=. python benchmarks/studies/planted.py ../shared/media/flying /tmp/planted

Of every five clips one is planted again, in some disguise, in another group. `planted.csv` says
which (path, source, how); `labels.csv` is the set, real clips by their own paths.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

_EVERY = 5
_RATE_HZ = 24_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder with labels.csv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="pictures to put sounds under")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = list(csv.DictReader((args.source / "labels.csv").open(encoding="utf-8")))
    plant(rows, args.source, args.out, random.Random(args.seed), args.pictures)


def plant(
    rows: list[dict[str, str]], source: Path, out: Path, draw: random.Random, pictures: Path | None
) -> None:
    chosen = draw.sample(rows, len(rows) // _EVERY)
    files = sorted(pictures.rglob("*.mp4")) if pictures else []
    planted = []
    for number, row in enumerate(chosen):
        path = source / row["path"]
        sees, hears = _kinds(path)
        ways = ["copy", "smaller", "cropped"]
        other = draw.choice(files) if files else None
        if hears and (other is not None or sees):
            ways.append("other_picture")
        how = ways[number % len(ways)]
        suffix = ".mp4" if sees or how == "other_picture" else ".ogg"
        target = out / f"planted_{number:03d}{path.suffix if how == 'copy' else suffix}"
        if how == "copy":
            shutil.copyfile(path, target)
        elif how == "smaller":
            _write(target, path if sees else None, path if hears else None, scale=0.6, crf=33)
        elif how == "cropped":
            start_s = draw.uniform(0.4, 3.2)
            _write(target, path if sees else None, path if hears else None, start_s, 1.3, 27)
        else:
            others = [r for r in rows if r["group"] != row["group"]]
            _write(target, other or source / draw.choice(others)["path"], path, crf=28)
        planted.append({"path": target.name, "source": str(path.resolve()), "how": how})
        planted[-1] |= {"label": row["label"], "group": f"planted{number}"}
    with (out / "planted.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", "source", "how", "label", "group"])
        writer.writeheader()
        writer.writerows(planted)
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        writer.writerows(
            [str((source / r["path"]).resolve()), r["label"], r["group"]] for r in rows
        )
        writer.writerows([p["path"], p["label"], p["group"]] for p in planted)


def _kinds(path: Path) -> tuple[bool, bool]:
    with av.open(str(path)) as container:
        return bool(container.streams.video), bool(container.streams.audio)


def _write(
    target: Path, picture: Path | None, sound: Path | None, start_s: float = 0.0,
    scale: float = 1.0, crf: int = 28,
) -> None:  # fmt: skip
    with av.open(str(target), "w") as container:
        video = audio = None
        if picture is not None:
            width, height, rate = _shape(picture, scale)
            video = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if sound is not None:
            if target.suffix == ".ogg":
                audio = container.add_stream("libopus", rate=_RATE_HZ, layout="mono")
            else:
                audio = container.add_stream("aac", rate=_RATE_HZ, layout="mono")
            audio.bit_rate = 40_000
        if video is not None and picture is not None:
            for frame in _pictures(picture, start_s):
                container.mux(video.encode(frame.reformat(video.width, video.height, "yuv420p")))
            container.mux(video.encode(None))
        if audio is not None and sound is not None:
            resampler = av.AudioResampler(audio.codec_context.format, "mono", _RATE_HZ)
            samples = _samples(sound)[round(start_s * _RATE_HZ) :]
            for k in range(0, samples.size, _RATE_HZ):
                block = np.ascontiguousarray(samples[None, k : k + _RATE_HZ])
                frame = av.AudioFrame.from_ndarray(block, "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = _RATE_HZ, k, Fraction(1, _RATE_HZ)
                for part in resampler.resample(frame):
                    container.mux(audio.encode(part))
            container.mux(audio.encode(None))


def _shape(path: Path, scale: float) -> tuple[int, int, Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width, height = (round(side * scale / 2) * 2 for side in (stream.width, stream.height))
        return width, height, Fraction(stream.average_rate)


def _pictures(path: Path, start_s: float) -> Iterator[Any]:
    with av.open(str(path)) as container:
        rate, number = Fraction(container.streams.video[0].average_rate), 0
        for frame in container.decode(video=0):
            if float(frame.time or 0.0) >= start_s:
                frame.pts, frame.time_base = number, 1 / rate
                frame.pict_type = 0
                number += 1
                yield frame


def _samples(path: Path) -> Any:
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", _RATE_HZ)
        parts = []
        for frame in container.decode(audio=0):
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
        parts += [f.to_ndarray()[0] for f in resampler.resample(None)]
    return np.concatenate(parts).astype(np.float32)


if __name__ == "__main__":
    main()
