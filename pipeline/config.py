"""Configuration: typed groups of settings, read from YAML and `key=value` overrides.

Precedence, later wins: defaults, YAML file, command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data_prep.settings import (
    ClipSettings,
    LabelSettings,
    LimitSettings,
    SplitSettings,
    TaskSettings,
)
from models.settings import ModelSettings
from pipeline.errors import UserError, nearest

DEFAULT_PATIENCE = 20  # train.patience=auto with enough validation clips


class TrainSettings(BaseModel):
    """Training of the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_epochs: int = Field(30, ge=1, le=10_000, description="Largest number of epochs.")
    patience: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] | None = Field(
        "auto",
        description="Early stopping: epochs without improvement on the validation clips; the best "
        "epoch is kept. null: all epochs are trained and the last one is kept. auto: 20, or null "
        "with fewer than 20 validation clips (segments with task=timeline or forecast; at most 5 "
        "of a group and label count). Not used by crossval, whose folds choose the epoch for each "
        "other.",
    )
    choose_by: Literal["loss", "macro_f1"] = Field(
        "loss",
        description="Criterion of the best epoch: the lowest validation loss after temperature "
        "scaling, or the highest macro-F1, which is noisy on few clips. Used with patience.",
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Clips per optimiser step.")
    learning_rate: float = Field(
        2e-3,
        gt=0,
        le=1,
        description="Peak learning rate of AdamW (linear warm-up, then cosine decay to 0).",
    )
    weight_decay: float = Field(0.01, ge=0, le=10, description="Weight decay of AdamW.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest gradient norm.")
    label_smoothing: float = Field(
        0.05, ge=0, lt=1, description="Label smoothing of the cross-entropy."
    )
    teacher_forcing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the true events that the decoder of an event list is given in the "
        "last epoch; it falls evenly from 1 in the first (task=events).",
    )
    step_smoothing: float = Field(
        0.15,
        ge=0,
        le=100,
        description="Weight of the penalty on changes between neighbouring steps (timeline).",
    )
    window_steps: int = Field(
        256,
        ge=8,
        le=100_000,
        description="Longer clips are cut into windows of this many time steps for training "
        "(timeline); scores are always of whole files.",
    )
    class_weights: bool = Field(
        True, description="Weight classes in the loss by their inverse frequency."
    )
    own_loss: float = Field(
        1.0, ge=0, le=100, description="Weight of the loss of the unimodal heads."
    )
    modality_dropout: float = Field(
        0.25,
        ge=0,
        le=0.5,
        description="Probability of dropping the picture of a training clip that has both "
        "modalities, and the same for its sound.",
    )
    mirror: Literal["auto", "always", "never"] = Field(
        "auto",
        description="Horizontal flip of training clips. prep then encodes mirrored frames too, "
        "which doubles the CNN's time; auto: unless a label names a side.",
    )
    mixup: float = Field(
        0.4,
        ge=0,
        le=10,
        description="Mixup of pairs of training clips and their labels, with a weight drawn from "
        "Beta(mixup, mixup); 0: none.",
    )
    mixup_within: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Fraction of batches in which mixup is restricted to clips of the same label.",
    )
    sound_masking: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="Largest fraction of bands and of time masked in training (log_mel).",
    )
    sound_shift: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Largest random shift of the audio in training, earlier or later, as a "
        "fraction of a time step (log_mel and waveform).",
    )
    sound_gain_db: float = Field(
        0.0,
        ge=0,
        le=60,
        description="Largest random gain of the audio in training, up or down, in decibels "
        "(log_mel and waveform).",
    )
    seed: int = Field(
        0, ge=0, description="Seed of initialisation, order, dropout and augmentation."
    )

    @model_validator(mode="after")
    def _something_is_mixed(self) -> Self:
        if self.mixup_within and not self.mixup:
            raise ValueError("train.mixup_within needs train.mixup above 0")
        return self

    @model_validator(mode="after")
    def _patience_fits(self) -> Self:
        if isinstance(self.patience, int) and self.patience > self.max_epochs:
            raise ValueError(
                f"train.patience ({self.patience}) is larger than train.max_epochs "
                f"({self.max_epochs}), so it could never end the training"
            )
        return self


class CrossvalSettings(BaseModel):
    """Cross-validation: folds, and the model that is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="Number of folds; a group is never split between folds. null: the folds of the "
        "manifest, or 5.",
    )
    seeds: int = Field(
        3, ge=1, le=100, description="Networks per fold, whose predictions are averaged."
    )
    final: Literal["all", "ensemble"] = Field(
        "all",
        description="Final model: new networks, one per seed, trained on all clips (all), or the "
        "networks of all folds (ensemble).",
    )
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Networks trained in parallel on a CPU, each in its own process on one core; "
        "0: one per core, or one in all if the training is so short that starting processes would "
        "take longer.",
    )


class ClassifySettings(BaseModel):
    """Processing of files, in prep and in classify."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="Number of decoding processes, and of cores for the CNN in OpenVINO; 0: one "
        "per core.",
    )
    backend: Literal["auto", "openvino", "torch"] = Field(
        "auto",
        description="Library that runs the CNN; auto: torch on a GPU, OpenVINO on a CPU if it is "
        "installed.",
    )
    precision: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        description="Precision of the CNN; auto: float16 on a GPU; on a CPU bfloat16 for "
        "EfficientNet-Lite in OpenVINO with AMX, else float32.",
    )
    frame_batch: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Batch size of the CNN in frames; the last batch is padded. null: 1 with "
        "OpenVINO, 16 with torch on a CPU, 64 on a GPU.",
    )
    window_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Also classify windows of this many seconds of each file, into windows.csv; "
        "rounded to whole time steps. null: none.",
    )
    hop_s: float | None = Field(
        None,
        gt=0,
        le=3600,
        description="Seconds from one window to the next, rounded to whole time steps; null: "
        "classify.window_s, windows that do not overlap.",
    )
    min_probability: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Predictions with a lower probability are written as unsure; the evaluation "
        "report shows which value gives which accuracy.",
    )

    webvtt: bool = Field(
        False,
        description="Also write the predicted segments of each file as subtitles, into the folder "
        "webvtt (only for task=timeline).",
    )
    step_probabilities: bool = Field(
        False,
        description="Also write the probabilities of each time step, into "
        "step_probabilities.parquet (only for task=timeline).",
    )

    @model_validator(mode="after")
    def _windows_fit(self) -> Self:
        if self.hop_s is not None and self.window_s is None:
            raise ValueError("classify.hop_s needs classify.window_s")
        if self.hop_s is not None and self.window_s is not None and self.hop_s > self.window_s:
            raise ValueError(
                f"classify.hop_s ({self.hop_s:g}) is larger than classify.window_s "
                f"({self.window_s:g}), which would leave gaps"
            )
        return self


class Config(BaseModel):
    """All settings, in groups as in configs/default.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: TaskSettings = Field(default_factory=TaskSettings)
    clip: ClipSettings = Field(default_factory=ClipSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    split: SplitSettings = Field(default_factory=SplitSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    crossval: CrossvalSettings = Field(default_factory=CrossvalSettings)
    classify: ClassifySettings = Field(default_factory=ClassifySettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Device for the networks; auto: the GPU if there is one."
    )

    def changed(self, groups: Sequence[str]) -> dict[str, Any]:
        """{"group.key": value} for the settings of some groups that differ from the default."""
        return {
            f"{group}.{name}": value
            for group in groups
            for name, value in getattr(self, group).model_dump(mode="json").items()
            if value != getattr(getattr(Config(), group), name)
        }

    def explicit(self, group: str) -> dict[str, Any]:
        """{key: value} for the settings of a group that a file or the command line set."""
        settings = getattr(self, group)
        keys = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
        # auto leaves the choice to prep, so it contradicts no prepared frame rate
        return {k: v for k, v in keys.items() if (k, v) != ("frame_rate_hz", "auto")}


def load_config(file: Path | None, overrides: Sequence[str]) -> Config:
    """Load the configuration: defaults, then the file, then `key=value` items.

    file: a path, or the name of a preset in configs/. Raises UserError for unknown keys and invalid
    values, naming the key and where the value came from.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}  # key → where its value came from, for messages
    if file is not None:
        file = _preset(file)
        for key, value in _flatten(_read_yaml(file)):
            _set(values, sources, key, value, str(file))
        values = _other_than_default(_validated(values, sources))  # invalid files fail here
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator:
            raise UserError(f"'{item}' is not key=value, for example clip.frame_rate_hz=2")
        _set(values, sources, key.strip(), text.strip(), "the command line")
    return _validated(values, sources)


_TOP_LEVEL = frozenset({"device"})
"""Keys without a group."""
_SHORT = {"task": "task.name"}
"""Short forms of keys."""

PRESETS = Path(__file__).resolve().parent.parent / "configs"


def _preset(file: Path) -> Path:
    """The file, or if it does not exist, the preset of this name in configs/ (fast, demo)."""
    named = PRESETS / f"{file.name}.yaml"
    return named if str(file) == file.name and not file.is_file() and named.exists() else file


def _validated(values: Mapping[str, Any], sources: Mapping[str, str]) -> Config:
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_message(error, sources)) from error


def _other_than_default(config: Config) -> dict[str, Any]:
    """The values that differ from the default: writing out a default does not request it."""
    values: dict[str, Any] = {}
    for key in known_keys():
        group, _, name = key.rpartition(".")
        given, default = (getattr(c, group) if group else c for c in (config, Config()))
        if getattr(given, name) != getattr(default, name):
            (values.setdefault(group, {}) if group else values)[name] = getattr(given, name)
    return values


def known_keys() -> list[str]:
    """Every key with its group: clip.frame_rate_hz, …, device."""
    return [key for key, _ in _flatten(Config().model_dump())]


def describe_keys() -> Iterator[tuple[str, str, Any]]:
    """Yield (key, description, default) for every key, in order."""
    for name, group in Config.model_fields.items():
        kind = group.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for key, field in kind.model_fields.items():
                yield f"{name}.{key}", field.description or "", field.default
        else:
            yield name, group.description or "", group.default


def is_override(argument: str) -> bool:
    """Whether an argument on the command line is key=value, and not an existing file."""
    key, separator, _ = argument.partition("=")
    is_assignment = bool(separator) and re.fullmatch(r"[a-z_]+(\.[a-z_]+)?", key) is not None
    return is_assignment and not Path(argument).exists()  # file names may contain =


def _read_yaml(file: Path) -> Mapping[str, Any]:
    try:
        # as text: YAML 1.1 reads 010 as octal, 1:30 as base 60 and no as false
        values = yaml.load(file.read_text("utf-8"), _TextLoader)  # noqa: S506 - text alone
    except FileNotFoundError:
        raise UserError(f"the config file {file} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"the config file {file} cannot be read: {text}") from error
    if values in (None, ""):  # an empty file
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{file} must hold groups of keys, for example\nclip:\n  frame_rate_hz: 2")
    return values


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{name}.")
        elif value == "" and not prefix and name in Config.model_fields and name not in _TOP_LEVEL:
            continue  # a group whose keys are all commented out
        else:
            yield name, value


def _set(
    values: dict[str, Any], sources: dict[str, str], key: str, value: Any, source: str
) -> None:
    known, key = known_keys(), _SHORT.get(key, key)
    if key not in known:
        bare = [name for name in known if name.split(".")[-1] == key]  # the group is missing
        hint = f" Did you mean '{bare[0]}'?" if bare else nearest(key, known)
        raise UserError(f"unknown key '{key}' in {source}.{hint}")
    sources[key] = source
    group, _, name = key.rpartition(".")  # device has no group
    target = values.setdefault(group, {}) if group else values
    target[name] = _parse_value(key, value, source)


class _TextLoader(yaml.BaseLoader):
    """YAML loader that keeps scalars as text; the type of the key decides what 010 or no means."""


def _mapping(loader: _TextLoader, node: yaml.MappingNode) -> dict[str, Any]:
    """A mapping without duplicate keys, of which PyYAML silently keeps the last."""
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node, deep=True))
        if key in values:
            line = key_node.start_mark.line + 1
            # a YAMLError, so that the caller adds the name of the file
            raise yaml.YAMLError(f"'{key}' appears twice (line {line})")
        values[key] = loader.construct_object(value_node, deep=True)
    return values


_TextLoader.add_constructor("tag:yaml.org,2002:map", _mapping)

_NULL = frozenset({"", "null", "~", "none"})
_DIGITS = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # no hex, octal or 1:30


def _parse_value(key: str, value: Any, source: str) -> Any:
    """Convert the text of a value by the type of its key: to text, None, a number or a list.

    pydantic converts the rest. Raises UserError for a number with underscores.
    """
    if not isinstance(value, str):
        return value
    text, kinds = value.strip(), _types(key)
    # quotes make any text literal, also null
    if text[:1] in ("'", '"') and len(text) > 1 and text[-1] == text[0]:
        return text[1:-1]
    # ~ and none may be meant as text where text is allowed
    if type(None) in kinds and text.lower() in (("", "null") if str in kinds else _NULL):
        return None
    if str in kinds:
        return text
    if text.startswith("["):
        # a list on the command line; that of a file is already one
        return [part.strip() for part in text.strip("[]").split(",") if part.strip()]
    if (int in kinds or float in kinds) and _DECIMAL.fullmatch(text):
        number = int(text) if _DIGITS.fullmatch(text) else float(text)
        # 1e8 is a valid integer
        return int(number) if number == number // 1 and float not in kinds else number
    if {int, float} & kinds and re.fullmatch(r"[0-9_]+", text):  # pydantic would accept it
        raise UserError(f"{key}={text} (from {source}): a number is written without _")
    return text


def _types(key: str) -> set[Any]:
    """Types that a key's value may have, out of unions and annotations; Literals are omitted."""
    group, _, name = key.rpartition(".")
    fields = Config.model_fields
    if group:
        kind = fields[group].annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        fields = kind.model_fields
    types: set[Any] = set()
    pending: list[Any] = [fields[name].annotation]
    while pending:
        kind = pending.pop()
        origin = get_origin(kind)
        if origin is Annotated:
            pending.append(get_args(kind)[0])
        elif origin in (Union, UnionType):  # X | Y and Optional[X] differ in origin
            pending += get_args(kind)
        elif origin is not Literal:
            types.add(origin or kind)
    return types


def _message(error: ValidationError, sources: Mapping[str, str]) -> str:
    """The first error as one message: key, value, where it came from, and the description."""
    first = error.errors()[0]
    # the location continues into list items and members of unions
    key = ".".join(str(part) for part in first["loc"][:2] if not isinstance(part, int))
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return text  # our own validators name their keys
    sentence = next((f" {s}" for k, s, _ in describe_keys() if k == key), "")
    origin = f" (from {sources[key]})" if key in sources else ""
    return f"{key}={first['input']}{origin}: {text}.{sentence}"
