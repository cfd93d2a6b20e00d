"""From text to model: TOML in, a model or every mistake at once out.

Pure: whoever calls has read the file and the environment. `${PROBE_NAME}` in a string is
replaced from the variables that were handed in; a missing one is a mistake like any other,
and nothing stands in for it. Where a value came from a variable, messages name the
variable and never show the value.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from probe.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"^PROBE_[A-Z0-9_]+$")
_FOUND_MAX = 60
Model = TypeVar("Model", bound=BaseModel)


def parse(text: str, origin: str) -> dict[str, Any]:
    """TOML text as tables; ConfigError with line and column where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Problem(origin, "", f"this is not TOML: {error}")) from None


def build(
    model: type[Model],
    data: dict[str, Any],
    origin: str,
    variables: Mapping[str, str] | None = None,
) -> Model:
    """`data` as a `model`, variables replaced; ConfigError with every mistake in it."""
    problems: list[Problem] = []
    hidden: set[tuple[str | int, ...]] = set()
    filled = _fill(data, (), origin, variables, problems, hidden)
    try:
        built = model.model_validate(filled)
    except ValidationError as error:
        gaps = {problem.path for problem in problems}
        for item in error.errors(include_url=False):
            found = _problem(model, data, item, origin, hidden)
            if found.path not in gaps:
                problems.append(found)
        raise ConfigError(*problems) from None
    if problems:
        raise ConfigError(*problems)
    return built


def assign(data: dict[str, Any], assignment: str) -> None:
    """Apply one `path=value` of the command line to tables; the value is TOML, else a string."""
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            Problem("--set", assignment, "not path=value", hint="such as stages.load.trials=5")
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table: Any = data
    for key in keys[:-1]:
        table = _step_into(table, key, path)
    if isinstance(table, list):
        table[_index(table, keys[-1], path)] = value
    else:
        table[keys[-1]] = value


def _step_into(table: Any, key: str, path: str) -> Any:
    if isinstance(table, list):
        return table[_index(table, key, path)]
    inner = table.setdefault(key, {})
    if not isinstance(inner, (dict, list)):
        raise ConfigError(Problem("--set", path, f"{key} is a value, not a table"))
    return inner


def _index(items: list[Any], key: str, path: str) -> int:
    if not key.isdigit() or int(key) >= len(items):
        allowed = f"0 to {len(items) - 1}"
        raise ConfigError(Problem("--set", path, "no such list item", found=key, allowed=allowed))
    return int(key)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint with the nearest valid name, or ""."""
    close = difflib.get_close_matches(name, list(names), 1, 0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def _fill(
    value: Any,
    path: tuple[str | int, ...],
    origin: str,
    variables: Mapping[str, str] | None,
    problems: list[Problem],
    hidden: set[tuple[str | int, ...]],
) -> Any:
    if isinstance(value, dict):
        return {
            key: _fill(inner, (*path, key), origin, variables, problems, hidden)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [
            _fill(inner, (*path, index), origin, variables, problems, hidden)
            for index, inner in enumerate(value)
        ]
    if not isinstance(value, str) or variables is None or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        where = _dotted(path)
        if not _NAME.match(name):
            problems.append(
                Problem(origin, where, "no such variable can be used", f"${{{name}}}", "${PROBE_…}")
            )
        elif not variables.get(name):
            hint = f"set it in the environment or in .env: {name}=…"
            problems.append(Problem(origin, where, f"the variable {name} is not set", hint=hint))
        hidden.add(path)
        return variables.get(name, "")

    return _VARIABLE.sub(replace, value)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _problem(
    model: type[BaseModel],
    data: dict[str, Any],
    item: Any,
    origin: str,
    hidden: set[tuple[str | int, ...]],
) -> Problem:
    path = _path_in(data, item["loc"], item["type"])
    kind, context = item["type"], item.get("ctx", {})
    message = str(context["error"]) if kind == "value_error" else item["msg"]
    found, allowed, hint = "", "", ""
    if kind == "extra_forbidden":
        names = _fields_at(model, item["loc"][:-1])
        message = "no such key"
        allowed = ", ".join(sorted(names))
        hint = nearest(str(path[-1]), names)
    elif kind == "missing":
        message = "this key is missing"
    elif path[:1] == ("auth",) or path == ("network", "proxy"):
        message = message.split("; found")[0]  # what stands there may be a secret
    elif any(path[: len(place)] == place or place[: len(path)] == path for place in hidden):
        message = message.split("; found")[0]
        found = "a value from a variable"
    elif kind != "value_error" or "found" not in message:
        found = _excerpt(item["input"])
    if kind in {"literal_error", "union_tag_invalid"}:
        allowed = str(context.get("expected") or context.get("expected_tags"))
        message = "no such value"
        hint = nearest(str(item["input"]), re.findall(r"'([^']*)'", allowed))
    return Problem(origin, _dotted(path), message, found, allowed, hint)


def _excerpt(value: Any) -> str:
    text = "a table" if isinstance(value, (dict, BaseModel)) else repr(value)
    return text if len(text) <= _FOUND_MAX else text[: _FOUND_MAX - 1] + "…"


def _path_in(data: Any, loc: tuple[str | int, ...], kind: str) -> tuple[str | int, ...]:
    """The keys of the file in an error's place; tags of unions are none of them."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        inside = isinstance(data, dict) and part in data
        if isinstance(data, list) and isinstance(part, int) and part < len(data):
            inside = True
        if inside:
            data = data[part]
        elif kind != "missing" or i < len(loc) - 1:
            continue
        path.append(part)
    return tuple(path)


def _fields_at(annotation: Any, loc: tuple[str | int, ...]) -> set[str]:
    """Names that a table at `loc` may hold, found by walking the types."""
    models = _models(annotation)
    if not loc:
        return {field.alias or name for each in models for name, field in each.model_fields.items()}
    part, rest = loc[0], loc[1:]
    names: set[str] = set()
    for each in models:
        fields = {field.alias or name: field for name, field in each.model_fields.items()}
        if part in fields:
            names |= _fields_at(fields[str(part)].annotation, rest)
        elif any(part in get_args(field.annotation) for field in fields.values()):
            names |= _fields_at(each, rest)
    if not models:
        for inner in get_args(annotation):
            names |= _fields_at(inner, rest)
    return names


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {dict, tuple, list}:
        return []
    return [model for inner in get_args(annotation) for model in _models(inner)]
