"""Where the files are: the roof reads disk and environment, and `model` parses the text.

Scenarios, targets and dialects are looked for in `./scenarios` first, then among those that
came with the package; the path that was used is always told. Variables come from the
environment and, where that has none, from `./.env`.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel

import probe
from probe.errors import ConfigError, Problem
from probe.history.folder import ACCEPTED
from probe.model.dialect import Dialect
from probe.model.reading import assign, build, nearest, parse
from probe.model.recordings import with_recordings
from probe.model.replay import BYTES_MAX
from probe.model.scenario import Scenario
from probe.model.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FOLDERS: Final = {"scenario": "", "target": "targets", "dialect": "dialects"}
_Model = TypeVar("_Model", bound=BaseModel)
_LINE: Final = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Scenario, target and dialect with the paths they came from."""

    name: str
    scenario: Scenario
    scenario_path: Path
    target_name: str
    target: Target
    target_path: Path
    dialect: Dialect
    dialect_path: Path


def roots() -> list[Path]:
    """Folders with scenarios, nearest first."""
    package = Path(probe.__file__).parent
    # An editable install has them beside the package, a wheel inside it.
    return [Path("scenarios"), package / "_scenarios", package.parent / "scenarios"]


def known(kind: str) -> dict[str, Path]:
    """Every file of a kind by name; the nearest one of a name wins."""
    found: dict[str, Path] = {}
    for root in roots():
        folder = root / FOLDERS[kind]
        for path in sorted((*folder.glob("*.toml"), *folder.glob("*.py"))):
            if (path.suffix == ".toml" or kind == "scenario") and path.name != ACCEPTED:
                found.setdefault(path.stem, path)
    return found


def find(kind: str, name: str) -> Path:
    """A file by path or by name; ConfigError with the names there are."""
    if "/" in name or name.endswith((".toml", ".py")):
        path = Path(name)
        if path.is_file():
            return path
        raise ConfigError(Problem(name, "", f"no such {kind} file"))
    paths = known(kind)
    if name in paths:
        return paths[name]
    allowed = ", ".join(paths)
    raise ConfigError(
        Problem(f"--{kind}" if kind != "scenario" else "scenario", "", f"no such {kind}", name,
                allowed, nearest(name, paths))
    )  # fmt: skip


def read(path: Path, *, at_most: int | None = None) -> str:
    """The text of a file; ConfigError where it cannot be read as UTF-8, or is too large."""
    try:
        if at_most is not None and path.exists() and not path.is_file():
            raise ConfigError(Problem(str(path), "", "is no plain file, whose size is known"))
        if at_most is not None and path.stat().st_size > at_most:
            found = f"{path.stat().st_size:,} bytes"
            problem = Problem(str(path), "", "is too large", found, f"at most {at_most:,} bytes")
            raise ConfigError(problem)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(Problem(str(path), "", f"cannot be read: {error.strerror}")) from None
    except UnicodeDecodeError:
        raise ConfigError(Problem(str(path), "", "is not UTF-8 text")) from None


def variables() -> dict[str, str]:
    """PROBE_ variables: the environment's, and those of `.env` that it does not have."""
    found: dict[str, str] = {}
    path = Path(".env")
    if path.is_file():
        for number, line in enumerate(read(path).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            match = _LINE.match(line)
            if match is None:
                # The line itself may hold a secret and is not shown.
                raise ConfigError(Problem(str(path), f"line {number}", "not NAME=VALUE"))
            found[match[1]] = _unquoted(match[2])
    found |= os.environ
    return {name: value for name, value in found.items() if name.startswith("PROBE_")}


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value.split(" #", 1)[0].rstrip()  # a comment; a value with one in it wants quotes


def load_scenario(name: str, sets: list[str]) -> tuple[str, Scenario, Path]:
    """A scenario file, TOML or Python, with the assignments of `--set` and its recordings."""
    path = find("scenario", name)

    def recording(file: str) -> tuple[str, str]:
        beside = path.parent / file
        return read(beside, at_most=BYTES_MAX), str(beside)

    return path.stem, with_recordings(_scenario(path, sets), str(path), recording), path


def _scenario(path: Path, sets: list[str]) -> Scenario:
    if path.suffix == ".py":
        if sets:
            raise ConfigError(
                Problem("--set", sets[0], "a Python scenario is set in its own file", str(path))
            )
        return _python_scenario(path)
    for assignment in sets:
        _check_place(_tables(Scenario, path), assignment)
    return _built(Scenario, path, sets)


def _check_place(data: Mapping[str, Any], assignment: str) -> None:
    """A key inside a stage or population that is not there is a slip, and makes no new one."""
    path = assignment.partition("=")[0].strip()
    table: Any = data
    keys = path.split(".")
    for kind, name, _ in zip(keys[::2], keys[1::2], keys[2::2], strict=False):
        table = table.get(kind) if isinstance(table, dict) else None
        if kind not in {"stages", "populations"} or not isinstance(table, dict):
            return
        if name not in table:
            allowed = ", ".join(table)
            what = kind.removesuffix("s")
            raise ConfigError(
                Problem("--set", path, f"no such {what}", name, allowed, nearest(name, table))
            )
        table = table[name]


def _python_scenario(path: Path) -> Scenario:
    name = f"probe_scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            Problem(str(path), "", f"cannot be run: {type(error).__name__}: {error}")
        ) from error
    scenario = getattr(module, "scenario", None)
    if isinstance(scenario, dict):
        return build(Scenario, scenario, str(path))
    if not isinstance(scenario, Scenario):
        raise ConfigError(
            Problem(str(path), "scenario", "a Python scenario defines `scenario`, a table or model")
        )
    return scenario


def _tables(model: type[BaseModel], path: Path) -> dict[str, Any]:
    """The tables of a file; of what a run was held to, its scenario, which can be run again."""
    data = parse(read(path), str(path))
    inner = data.get("scenario")
    return inner if model is Scenario and "schema" in data and isinstance(inner, dict) else data


def _built(
    model: type[_Model],
    path: Path,
    sets: Sequence[str],
    values: Mapping[str, str] | None = None,
    *,
    leave: Sequence[str] = (),
) -> _Model:
    """The model of a file with assignments applied; a mistake that they brought is theirs."""
    data = _tables(model, path)
    if data.get("kind") != "lab":
        for key in leave:
            data.pop(key, None)
    if not sets:
        return build(model, data, str(path), values)
    plain = copy.deepcopy(data)
    for assignment in sets:
        assign(data, assignment)
    try:
        return build(model, data, str(path), values)
    except ConfigError as error:
        build(model, plain, str(path), values)
        blamed = [replace(problem, origin=f"--set on {path}") for problem in error.problems]
        raise ConfigError(*blamed) from None


def load_target(
    name: str, values: Mapping[str, str] | None, sets: Sequence[str] = (), *, restarts: bool = True
) -> tuple[Target, Path]:
    """A target file; without `restarts` its [restart] is left out, with its variables."""
    path = find("target", name)
    leave = () if restarts else ("restart",)
    return _built(Target, path, sets, values, leave=leave), path


def load_dialect(name: str, sets: Sequence[str] = ()) -> tuple[Dialect, Path]:
    """A dialect file."""
    path = find("dialect", name)
    return _built(Dialect, path, sets), path


def load(scenario: str, target: str | None, sets: list[str], values: Mapping[str, str]) -> Loaded:
    """All three; every mistake of each file at once.

    An assignment is the scenario's, but for those that begin with `target.` or `dialect.`.
    """
    parts: dict[str, list[str]] = {"": [], "target": [], "dialect": []}
    for assignment in sets:
        file, _, rest = assignment.partition(".")
        own = file in parts and "=" not in file
        parts[file if own else ""].append(rest if own else assignment)
    name, read_scenario, scenario_path = load_scenario(scenario, parts[""])
    target_name = target or read_scenario.target
    restarts = any(stage.anchor == "restart" for stage in read_scenario.stages.values())
    read_target, target_path = load_target(target_name, values, parts["target"], restarts=restarts)
    dialect, dialect_path = load_dialect(read_target.dialect, parts["dialect"])
    return Loaded(
        name, read_scenario, scenario_path,
        Path(target_name).stem, read_target, target_path, dialect, dialect_path,
    )  # fmt: skip
