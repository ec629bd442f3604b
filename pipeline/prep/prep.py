"""prep: scan, decode and encode a labelled data set into a work folder. Resumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.clip import ClipSource
from data_prep.dataset.clip_store import ClipOutcome, with_outcome
from data_prep.manifest import ManifestRow, usable_sources, write_manifest
from data_prep.settings import ClipSettings, DecodeSettings
from models.audio.encoder import resolve_strides
from models.audio.front_end import AudioFrontEnd
from models.settings import RANDOM_WEIGHTS, ModelSettings
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.features.backend import Backend, resolve_backend
from pipeline.features.batch_encoder import EncoderSource
from pipeline.features.decode_pool import DecodePool
from pipeline.features.encode_stream import Encoders, encode_clips
from pipeline.features.encoded_clip import EncodedChunk, EncodedItem
from pipeline.features.encoder_weights import encoder_size_px, encoder_source, load_frame_encoder
from pipeline.features.feature_extractor import open_encoders
from pipeline.features.feature_store import FeatureStore, open_store
from pipeline.features.spectrogram_windows import spectrogram_windows
from pipeline.prep.prep_plan import (
    encodes_mirrored,
    estimate_work,
    refuse_other_encoder,
    refuse_other_versions,
    stored_request,
    windows_to_encode,
    with_stored_windows,
)
from pipeline.prep.scanning import (
    UNKNOWN_DURATION_S,
    estimate_bytes,
    scan_data,
    with_frame_rate,
)
from pipeline.reporter import ProgressReporter
from pipeline.storage.locks import LOCK_NAME, exclusive_lock
from pipeline.storage.run_record import environment
from pipeline.storage.workspace import (
    PrepRecord,
    Workspace,
    refuse_full_disk,
    refuse_other_settings,
    with_task,
)
from pipeline.tasks import get_task
from pipeline.text_format import counted

_CLIPS_PER_PART = 16  # a killed run loses at most the part it was writing
_SECONDS_PER_PART = 900.0  # of media, for the same reason with long clips


@dataclass(frozen=True)
class PrepSummary:
    """Result of prep: the manifest, and the numbers of new and of reused clips."""

    rows: list[ManifestRow]
    prepared: int
    reused: int
    decode_strategies: Counter[str]
    """Number of new clips by strategy of reading frames (see `data_prep.video.frame_reader`)."""

    @property
    def by_status(self) -> Counter[str]:
        return Counter(str(row.status) for row in self.rows)


def prepare(data: Path, work: Path, config: Config, progress: ProgressReporter) -> PrepSummary:
    """Prepare a labelled data set. Raises UserError and DataSetError."""
    with exclusive_lock(work / LOCK_NAME, work):
        return _prepare(data, work, config, progress)


def _prepare(data: Path, work: Path, config: Config, progress: ProgressReporter) -> PrepSummary:
    space = Workspace(work)
    record = space.read_record() if work.exists() else None
    size_px = encoder_size_px(config.model.frame_encoder)
    if record is not None:  # resumed, or more clips for the same folder
        refuse_other_settings(record, config, work, size_px)
        config = with_task(config, record, work)
    clip = record.clip if record is not None else config.clip.sized(size_px)
    check_audio(config.model, clip)  # before files are scanned
    backend = (
        resolve_backend(config)
        if record is None
        else resolve_backend(config, record.encoder.name, record.encoder)
    )
    scanned = scan_data(data, work, config, progress)
    task = get_task(config.task)
    task.check_rows(scanned.rows, config.limits.max_labels, scanned.split)
    clip = with_frame_rate(clip, scanned.rows)
    check_audio(config.model, clip)  # the frame rate may have been chosen just now
    refuse_full_disk(work, estimate_bytes(scanned.rows, clip, config.limits.longest_s))
    model = _encoder_settings(config.model, record)
    assert clip.frame_size_px is not None
    source = encoder_source(model, clip.frame_size_px)
    new_record = PrepRecord(
        clip=clip,
        encoder=source.identity(backend),
        frame_weights=model.frame_weights,
        sound_windows=windows_to_encode(record, config),
        mirrored=encodes_mirrored(record, config, scanned.rows, progress),
        asked=stored_request(
            config.model_copy(update={"split": scanned.split, "labels": scanned.labels})
        ),
        environment=environment(),
        max_duration_s=config.limits.longest_s,
    )
    if record is not None:
        refuse_other_encoder(record, new_record, work)
        new_record = _merge_records(record, new_record)
    else:
        estimate = estimate_work(clip, new_record.mirrored, new_record.sound_windows, scanned.rows)
        if estimate.calls:
            progress.note(estimate.text())
    # before the first clip, so that a killed run is resumed with the same settings
    space.write_record(new_record)
    store = open_store(space, new_record)
    # opened in _encode, once decoding is running
    opened = partial(record_encoders, source, backend, config, model, new_record)
    # other versions matter only if they would encode some of the clips
    if record is not None and _is_unfinished(scanned.rows, store, config):
        refuse_other_versions(record, new_record.environment, work)
    finished, new = _encode(scanned.rows, store, clip, config, opened, progress)
    outcomes = finished | new
    rows = [with_outcome(row, outcomes.get(row.id)) for row in scanned.rows]
    write_manifest(space.manifest, rows)
    strategies = Counter(
        outcome.decode_strategy for outcome in new.values() if outcome.decode_strategy
    )
    return PrepSummary(rows, len(new), len(finished), strategies)


def _encoder_settings(model: ModelSettings, record: PrepRecord | None) -> ModelSettings:
    """The settings with the frame encoder that the folder was prepared with, if it has a record."""
    weights = absolute_weights(model.frame_weights) if record is None else record.frame_weights
    name = model.frame_encoder if record is None else record.encoder.name
    return model.model_copy(update={"frame_encoder": name, "frame_weights": weights})


def _merge_records(record: PrepRecord, new: PrepRecord) -> PrepRecord:
    """The new record with the folder's earlier settings, unless this command sets them."""
    # clips that were cut at another maximum duration are read again
    kept = {key: value for key, value in record.asked.items() if key != "limits.max_duration_s"}
    return new.model_copy(update={
        "asked": kept | new.asked,
        "environment": record.environment or new.environment,
    })  # fmt: skip


def _is_unfinished(rows: Iterable[ManifestRow], store: FeatureStore, config: Config) -> bool:
    finished = store.finished(config.limits)
    return any(source.id not in finished for source in usable_sources(rows))


def _encode(
    rows: Iterable[ManifestRow],
    store: FeatureStore,
    clip: ClipSettings,
    config: Config,
    opened: Callable[[], Encoders],
    progress: ProgressReporter,
) -> tuple[dict[str, ClipOutcome], dict[str, ClipOutcome]]:
    """Decode and encode the clips that are not stored yet → (earlier outcomes, new outcomes)."""
    store.clean()  # parts that a killed run left incomplete
    finished = store.finished(config.limits)
    todo = longest_sources_first([s for s in usable_sources(rows) if s.id not in finished])
    if finished and todo:
        progress.note(f"{counted(len(finished), 'clip')} prepared before; {len(todo)} to go")
    settings = DecodeSettings(clip, config.limits, want_jpegs=True)
    with DecodePool(config.classify.workers) as pool:
        items = encode_clips(
            todo, settings, pool,
            opened,
            # else the last clip of a part would wait for frames of the next part
            flush_after={part[-1].id for part in plan_parts(todo)},
        )  # fmt: skip
        progress.start("preparing clips", len(todo) + len(finished), len(finished))
        new = _write_parts(store, todo, items, clip.step_s, progress)
        progress.finish()
    return finished, new


def record_encoders(
    source: EncoderSource,
    backend: Backend,
    config: Config,
    model: ModelSettings,
    record: PrepRecord,
) -> Encoders:
    """Open the encoders of the features in a work folder's record."""
    spectrograms = record.sound_windows is not None
    return open_encoders(
        source,
        lambda: load_frame_encoder(model),
        with_stored_windows(model, record) if spectrograms else model,
        record.clip,
        backend,
        config.classify,
        frames=True,
        spectrograms=spectrograms,
        mirror=record.mirrored,
    )


def longest_sources_first(sources: list[ClipSource]) -> list[ClipSource]:
    """Sort by duration, longest first; segments of one file stay together."""
    # a long clip at the end would keep one core busy and the others idle
    longest: dict[str, float] = {}
    for source in sources:
        duration_s = source.duration_s or UNKNOWN_DURATION_S
        longest[source.path] = max(duration_s, longest.get(source.path, 0.0))
    return sorted(sources, key=lambda s: (-longest[s.path], s.path, s.start_s or 0.0))


def check_audio(model: ModelSettings, clip: ClipSettings) -> None:
    """Raise UserError if no audio encoder fits the rates: now, not after hours of decoding."""
    try:
        spectrogram_windows(model, clip)
        model.band_edges_hz(clip.audio_rate_hz)
        front_end = AudioFrontEnd(model, clip.audio_rate_hz, clip.samples_per_step)
        resolve_strides(model, front_end.frames_per_step)
    except ValueError as error:
        raise UserError(str(error)) from error


def absolute_weights(file: str | None) -> str | None:
    """Absolute path of the weights file: train and eval may run in another directory."""
    return file if file is None or file == RANDOM_WEIGHTS else str(Path(file).absolute())


def plan_parts(sources: Iterable[ClipSource]) -> Iterator[list[ClipSource]]:
    """Split clips into parts of at most 16 clips or 15 minutes, in order."""
    part: list[ClipSource] = []
    seconds = 0.0
    for source in sources:
        part.append(source)
        seconds += source.duration_s or UNKNOWN_DURATION_S
        if len(part) >= _CLIPS_PER_PART or seconds >= _SECONDS_PER_PART:
            yield part
            part, seconds = [], 0.0
    if part:
        yield part


def _write_parts(
    store: FeatureStore,
    todo: list[ClipSource],
    items: Iterator[EncodedItem],
    step_s: float,
    progress: ProgressReporter,
) -> dict[str, ClipOutcome]:
    outcomes: dict[str, ClipOutcome] = {}
    for number, part in enumerate(plan_parts(todo), store.next_part()):
        for source, item in store.write_part(number, items, len(part)):
            if isinstance(item, EncodedChunk):
                progress.advance(0, media_s=item.n_steps * step_s)
            else:
                outcomes[source.id] = item
                # the last step reaches past the end of the clip, so the excess is subtracted
                beyond_s = item.n_steps * step_s - (item.duration_s or item.n_steps * step_s)
                progress.advance(1, failed=not item.status.usable, media_s=-max(0.0, beyond_s))
    return outcomes
