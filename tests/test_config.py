from pathlib import Path

import pytest
import yaml

from pipeline.config import Config, describe_keys, is_override, known_keys, load_config
from pipeline.errors import UserError

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def test_default_yaml_lists_every_key_with_its_default() -> None:
    text = (CONFIGS / "default.yaml").read_text()
    values = yaml.safe_load(text)
    assert load_config(CONFIGS / "default.yaml", []) == Config()
    flat = {f"{g}.{k}" for g, v in values.items() if isinstance(v, dict) for k in v}
    flat |= {"device"}
    assert flat == set(known_keys())
    for _, sentence, _ in describe_keys():
        first_words = " ".join(sentence.split()[:4])
        assert first_words in text


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_every_config_loads_and_says_how_to_run_it(file: Path) -> None:
    load_config(file, [])
    assert file.name in file.read_text().splitlines()[0]


def test_every_key_has_a_sentence() -> None:
    for key, sentence, _ in describe_keys():
        assert sentence.endswith("."), key


def test_command_line_wins_over_file_over_default(tmp_path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("train:\n  max_epochs: 3\n  patience: 2\n")
    config = load_config(file, ["train.max_epochs=4"])
    assert (config.train.max_epochs, config.train.patience) == (4, 2)
    assert config.explicit("train") == {"max_epochs": 4, "patience": 2}


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("train.max_epoch=3", "Did you mean 'train.max_epochs'?"),
        ("frame_rate_hz=3", "Did you mean 'clip.frame_rate_hz'?"),
        ("train.learning_rate=2", "train.learning_rate=2 (from the command line)"),
        ("clip.frame_rate_hz=6", "clip.audio_rate_hz (16000) divided by clip.frame_rate_hz (6)"),
        (
            "train.patience=99 train.max_epochs=9",
            "train.patience (99) is larger than train.max_epochs (9)",
        ),
        ("model.head=gur", "choose from gru, lstm, rnn"),
        ("nonsense", "is not key=value"),
        ("model.step_dropout=0.1", "is for layer_norm_gru and layer_norm_lstm"),
    ],
)
def test_mistakes_are_named(item: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, item.split(" ") if "=" in item else [item])
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("clip: [1", "cannot be read"), ("- a", "groups of keys"), ("clip:\n  fps: 1\n", "clip.fps")],
)
def test_broken_files_are_named(tmp_path, text: str, says: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml") as caught:
        load_config(file, [])
    assert says in str(caught.value)


def test_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml", [])


def test_exponents_and_words_mean_what_they_say() -> None:
    config = load_config(None, ["train.learning_rate=3e-4", "split.test_fold=5"])
    assert config.train.learning_rate == 3e-4
    assert config.split.test_fold == "5"


def test_overrides_are_told_from_files(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_override("clip.frame_rate_hz=2")
    assert not is_override("videos/a=b.mp4")
    assert not is_override("clip.mp4")
    (tmp_path / "clip.x=1").touch()
    assert not is_override("clip.x=1")


def test_the_file_of_all_defaults_can_be_given_with_fewer_epochs() -> None:
    config = load_config(CONFIGS / "default.yaml", ["train.max_epochs=4"])
    assert (config.train.max_epochs, config.train.patience) == (4, "auto")


@pytest.mark.parametrize(
    "text",
    ["010", "01", "0x1F", "0b11", "1_000", "1:30", "12:30:45", ".5", "1e3", "1.", "yes", "no", "on",
     "off", "true", "2024-01-01", "~", "#1", "&x", "a: b", "[a,b]", "Y", "+1", ".inf"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["split.test_fold", "labels.column", "model.frame_encoder"])
def test_text_stays_as_it_was_written(tmp_path, key: str, text: str) -> None:
    group, name = key.split(".")
    file = tmp_path / "c.yaml"
    file.write_text(f"{group}:\n  {name}: '{text}'\n")
    for config in (load_config(None, [f"{key}={text}"]), load_config(file, [])):
        assert getattr(getattr(config, group), name) == text


@pytest.mark.parametrize(("text", "expected"), [("null", None), ("", None), ("'null'", "null")])
def test_no_text_and_the_text_null(text: str, expected: str | None) -> None:
    assert load_config(None, [f"split.test_fold={text}"]).split.test_fold == expected


@pytest.mark.parametrize(
    ("item", "value"),
    [("clip.frame_size_px=0224", 224), ("clip.frame_rate_hz=010", 10.0), ("train.seed=010", 10),
     ("limits.max_picture_px=1e8", 10**8), ("train.patience=none", None),
     ("train.learning_rate=1e-3", 1e-3), ("model.audio_strides=[2, 010]", (2, 10)),
     ("train.mirror=never", "never"), ("train.class_weights=off", False),
     ("clip.audio_channel=2", 2), ("clip.audio_channel=loudest", "loudest")],
)  # fmt: skip
def test_numbers_are_decimal(item: str, value: object) -> None:
    key = item.partition("=")[0]
    group, name = key.split(".")
    assert getattr(getattr(load_config(None, [item]), group), name) == value


@pytest.mark.parametrize(
    "item",
    ["clip.frame_rate_hz=1_0", "clip.frame_rate_hz=0x10", "clip.frame_rate_hz=yes",
     "clip.frame_rate_hz=1:30", "train.seed=0b11", "train.max_epochs=true",
     "classify.min_probability=0,5", "train.mirror=no"],
)  # fmt: skip
def test_what_is_no_number_or_word_is_shown_as_written(item: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(None, [item])
    assert f"{item} (from the command line)" in str(caught.value)


def test_a_key_that_stands_twice_in_a_file_is_an_error(tmp_path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("clip:\n  frame_rate_hz: 2\nclip:\n  frame_size_px: 64\n")
    with pytest.raises(UserError, match=r"'clip' appears twice .line 3"):
        load_config(file, [])


def test_a_default_that_a_file_writes_out_asks_for_nothing() -> None:
    config = load_config(CONFIGS / "default.yaml", [])
    groups = [name for name in type(config).model_fields if name != "device"]
    assert all(config.explicit(group) == {} for group in groups)
    asked = load_config(CONFIGS / "default.yaml", ["model.head_units=128"])
    assert asked.explicit("model") == {"head_units": 128}
