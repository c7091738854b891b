"""Writes configuration dataclasses as JSON values and builds them again from it."""

import dataclasses
import enum
import types
import typing
from pathlib import Path
from typing import Any


def config_to_json(config: object) -> Any:
    """Returns a dataclass, and everything in it, as dictionaries, lists, numbers and strings."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: config_to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, enum.Enum):
        return config.name
    if isinstance(config, dict):
        return {str(key): config_to_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [config_to_json(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    if config is None or isinstance(config, bool | int | float | str):
        return config
    raise TypeError(
        f"a configuration holds dataclasses, numbers, strings, paths and lists, got {type(config).__qualname__}"
    )


def config_from_json(kind: Any, value: Any, *, where: str = "config") -> Any:
    """Returns a `kind` (a dataclass, or the annotation of one of its fields) built from what `config_to_json` returned.

    Raises ValueError naming the field that does not fit. A field the file lacks takes its default.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return config_from_json(arguments[0], value, where=where)
    if origin in (typing.Union, types.UnionType):
        return _union_from_json(arguments, value, where)
    if origin in (tuple, list):
        return _sequence_from_json(origin, arguments, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_from_json(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and value in kind.__members__:
        return kind[value]
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    fits = value in arguments if origin is typing.Literal else kind is Any or type(value) is (kind or type(None))
    if not fits:
        raise ValueError(f"{where} must be {_name(kind)}, got {value!r}")
    return value


def differing_fields(saved: Any, given: Any, prefix: str = "") -> list[str]:
    """Returns the dotted names of the fields in which two JSON values differ."""
    if isinstance(saved, dict) and isinstance(given, dict):
        names = list(dict.fromkeys([*saved, *given]))
        missing = object()
        return [
            field
            for name in names
            for field in differing_fields(
                saved.get(name, missing), given.get(name, missing), f"{prefix}.{name}".lstrip(".")
            )
        ]
    return [] if saved == given else [prefix]


def _dataclass_from_json(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be the fields of a {kind.__name__}, got {value!r}")
    hints = typing.get_type_hints(kind, include_extras=True)
    unknown = sorted(set(value) - {field.name for field in dataclasses.fields(kind)})
    if unknown:
        raise ValueError(f"{where} has no field {unknown[0]!r} in {kind.__name__}")
    return kind(
        **{name: config_from_json(hints[name], inner, where=f"{where}.{name}") for name, inner in value.items()}
    )


def _sequence_from_json(kind: type, arguments: tuple[Any, ...], values: Any, where: str) -> Any:
    if not isinstance(values, list):
        raise ValueError(f"{where} must be a list, got {values!r}")
    kinds = [arguments[0]] * len(values) if kind is list or arguments[-1] is Ellipsis else list(arguments)
    if len(values) != len(kinds):
        raise ValueError(f"{where} must have {len(kinds)} values, got {values!r}")
    pairs = enumerate(zip(kinds, values, strict=True))
    return kind(config_from_json(inner, value, where=f"{where}[{index}]") for index, (inner, value) in pairs)


def _union_from_json(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return config_from_json(kind, value, where=where)
        except ValueError:  # the value may belong to another member of the union
            continue
    raise ValueError(f"{where} fits none of {', '.join(map(_name, kinds))}, got {value!r}")


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)
