"""Configurations as JSON and back."""

import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from scripts.run.config_file import config_from_json, config_to_json, differing_fields


class Storage(enum.Enum):
    RAW = enum.auto()
    LZ4 = enum.auto()


@dataclass(frozen=True, kw_only=True)
class Game:
    name: str = "Pong"
    frame_skip: int = 4

    def __post_init__(self) -> None:
        if self.frame_skip < 1:
            raise ValueError(f"frame_skip must be at least 1, got {self.frame_skip}")


@dataclass(frozen=True, kw_only=True)
class Catch:
    rows: int = 7


@dataclass(frozen=True, kw_only=True)
class Config:
    game: Game | Catch = field(default_factory=Game)
    output: Path | None = None
    storage: Storage = Storage.LZ4
    loss: Literal["huber", "squared"] = "huber"
    learning_rate: float = 1.0
    layers: tuple[int, ...] = (3, 5)
    size: tuple[int, float] = (2, 0.5)
    names: list[str] = field(default_factory=list)
    seed: Annotated[int, "the seed"] = 0
    compile: bool | None = None


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(
            game=Catch(rows=11), output=Path("runs/a"), storage=Storage.RAW, layers=(), names=["a", "b"], compile=True
        ),
    ],
)
def test_a_configuration_comes_back_from_json_as_it_was(config: Config) -> None:
    assert config_from_json(Config, json.loads(json.dumps(config_to_json(config)))) == config


def test_a_whole_number_in_a_file_is_a_float_where_one_is_expected() -> None:
    read = config_from_json(Config, {"learning_rate": 2})
    assert isinstance(read.learning_rate, float)


def test_a_field_that_the_file_lacks_takes_its_default() -> None:
    assert config_from_json(Config, {"seed": 3}) == Config(seed=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 3}, "config has no field 'seeds' in Config"),
        ({"seed": "3"}, "config.seed must be int, got '3'"),
        ({"seed": True}, "config.seed must be int, got True"),
        ({"loss": "hinge"}, "config.loss must be .*Literal.*, got 'hinge'"),
        ({"storage": "ZIP"}, "config.storage must be Storage, got 'ZIP'"),
        ({"layers": [1, "2"]}, r"config.layers\[1\] must be int, got '2'"),
        ({"size": [1]}, r"config.size must have 2 values, got \[1\]"),
        ({"size": 1}, "config.size must be a list, got 1"),
        ({"game": {"rows": 7, "name": "Pong"}}, "config.game fits none of Game, Catch"),
        ([], r"config must be the fields of a Config, got \[\]"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_from_json(Config, values)


def test_the_validation_of_the_dataclass_itself_applies() -> None:
    with pytest.raises(ValueError, match="frame_skip must be at least 1, got 0"):
        config_from_json(Game, {"frame_skip": 0})


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="a configuration holds .* got set"):
        config_to_json({"a": {1}})


def test_differing_fields_are_named_with_their_path() -> None:
    first = config_to_json(Config())
    second = config_to_json(Config(game=Game(frame_skip=3), seed=1))
    assert differing_fields(first, second) == ["game.frame_skip", "seed"]
    assert differing_fields(first, first) == []
    assert differing_fields({"a": 1}, {"a": 1, "b": None}) == ["b"]
