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
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from probe.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_NAME = re.compile(r"^PROBE_[A-Z0-9_]+$")
_FOUND_MAX = 60
_QUOTED_MIN = 3
Place = tuple[str | int, ...]
Hidden = dict[Place, list[str]]
"""The places whose text came from variables, with the names of those."""
Model = TypeVar("Model", bound=BaseModel)


def parse(text: str, origin: str) -> dict[str, Any]:
    """TOML text as tables; ConfigError with line and column where it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(Problem(origin, "", f"this is not TOML: {error}")) from None


def build(
    model: type[Model],
    data: dict[str, Any],
    origin: str,
    variables: Mapping[str, str] | None = None,
) -> Model:
    """`data` as a `model`, variables replaced; ConfigError with every mistake in it."""
    problems: list[Problem] = []
    hidden: Hidden = {}
    filled = _fill(data, (), origin, variables, problems, hidden)
    try:
        built = model.model_validate(filled)
    except ValidationError as error:
        gaps = [problem.path for problem in problems]
        for item in error.errors(include_url=False):
            found = _problem(model, data, item, origin, hidden)
            # Of a table that misses a variable, what it says as a whole is said of the gap.
            whole = f"{found.path}." if item["type"] == "value_error" else found.path
            if not any(gap == found.path or gap.startswith(whole) for gap in gaps):
                problems.append(_without(found, hidden, variables or {}))
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


def known(path: str, noun: str, name: str | None, names: Iterable[str]) -> Iterator[Problem]:
    """A mistake where a scenario names what is none of `names`."""
    if name is not None and name not in names:
        allowed = ", ".join(names) or "none"
        hint = nearest(name, names)
        yield Problem("scenario", path, f"no such {noun}", repr(name), allowed, hint)


def _fill(
    value: Any,
    path: tuple[str | int, ...],
    origin: str,
    variables: Mapping[str, str] | None,
    problems: list[Problem],
    hidden: Hidden,
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
    if not isinstance(value, str) or "${" not in value:
        return value
    if variables is None:
        if "${PROBE_" in value:
            message = "variables are put in in target files, and in no others"
            problems.append(Problem(origin, _dotted(path), message, repr(value)))
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
        hidden.setdefault(path, []).append(name)
        return variables.get(name, "")

    return _VARIABLE.sub(replace, value)


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)


def _problem(
    model: type[BaseModel],
    data: dict[str, Any],
    item: Any,
    origin: str,
    hidden: Hidden,
) -> Problem:
    path = _path_in(data, item["loc"], item["type"])
    kind, context = item["type"], item.get("ctx", {})
    if kind in {"missing", "union_tag_not_found"}:
        if kind != "missing":
            path = (*path, _discriminator(context))
        return Problem(origin, _dotted(path), "this key is missing")
    if kind == "extra_forbidden":
        names = _fields_at(model, item["loc"][:-1])
        allowed, hint = ", ".join(sorted(names)), nearest(str(path[-1]), names)
        return Problem(origin, _dotted(path), "no such key", "", allowed, hint)
    message, found, allowed, hint = item["msg"], _excerpt(item["input"]), "", ""
    if kind == "value_error":
        message, told, allowed = _parts(str(context["error"]))
        found = told or ("" if isinstance(item["input"], dict) else found)
    elif kind == "tuple_type":
        message = "a list belongs here"
    elif kind in {"literal_error", "union_tag_invalid"}:
        wrong = item["input"]
        if kind == "union_tag_invalid":
            wrong = context["tag"]
            found, path = repr(wrong), (*path, _discriminator(context))
        message, allowed = "no such value", context.get("expected") or context["expected_tags"]
        hint = nearest(str(wrong), re.findall(r"'([^']*)'", allowed))
    if path[:1] == ("auth",) or path[:2] in {("network", "proxy"), ("network", "headers")}:
        found = ""  # what stands there may be a secret
    else:
        variables = _variables_at(path, hidden)
        found = f"the value of {variables}" if variables else found
    return Problem(origin, _dotted(path), message, found, allowed, hint)


def _discriminator(context: Any) -> str:
    return str(context["discriminator"]).strip("'")


def _parts(text: str) -> tuple[str, str, str]:
    """(message, found, allowed) of the text of our own errors; "" for what it does not tell."""
    text, _, allowed = text.partition("; allowed: ")
    message, _, found = text.partition("; found ")
    return message, found, allowed


def _variables_at(path: Place, hidden: Hidden) -> str:
    return ", ".join(
        name
        for place, names in hidden.items()
        if path[: len(place)] == place or place[: len(path)] == path
        for name in names
    )


def _without(problem: Problem, hidden: Hidden, variables: Mapping[str, str]) -> Problem:
    """The problem with no value of a variable in any of its texts."""
    texts = [problem.message, problem.found, problem.allowed, problem.hint]
    values = {variables.get(name, ""): name for names in hidden.values() for name in names}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= _QUOTED_MIN:
            for shown in (value, repr(value)[1:-1]):
                texts = [text.replace(shown, f"${{{values[value]}}}") for text in texts]
    return Problem(problem.origin, problem.path, *texts)


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
    if models:
        return names
    if get_origin(annotation) is Annotated:
        return _fields_at(get_args(annotation)[0], loc)
    for inner in get_args(annotation):
        tags = [each.tag for each in getattr(inner, "__metadata__", ()) if isinstance(each, Tag)]
        deeper = part in tags or get_origin(annotation) in {dict, tuple, list}
        names |= _fields_at(inner, rest if deeper else loc)
    return names


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {dict, tuple, list}:
        return []
    return [model for inner in get_args(annotation) for model in _models(inner)]
