"""The blocks of a duet: which is played when, as runs of their own, and what was played.

The rule: the order and every seed are fixed before the first block, from one seed; a block counts
once its run has come to its end, and is played again where it has not, or where the probe was
unfit, which says nothing of either arm. Bounded: so many blocks,
and none longer than `BLOCK_S`.
"""

from __future__ import annotations

import json
import re
import secrets
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from probe.cli.arms import stored, told_of
from probe.errors import ConfigError, ProbeError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ARMS: Final = ("a", "b")
FILE: Final = "duet.json"
SCHEMA: Final = 1
BLOCK_S: Final = 3600.0
PATIENCE_S: Final = 60.0
SEED_MAX: Final = 2**32
TRIES: Final = 3
"""So often is a block played whose run does not come to its end, or whose probe was unfit."""
_TOOK_PLACE: Final = frozenset({0, 1, 3, 4})
_USAGE: Final = 2
_INTERRUPTED: Final = 130
_SECRETS: Final = re.compile(
    r"target\.(auth\.(key|token|password|client_secret|headers\..*)|network\.(proxy|headers\..*))"
)
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818 -- no error: the user has asked for an end
    """The user wants an end; what was played stands."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One side: its target, and what is set of it."""

    target: str
    sets: list[str]
    defects: list[str]

    @property
    def words(self) -> list[str]:
        """The options of `probe run`."""
        out = ["--target", self.target]
        for value in self.sets:
            out += ["--set", value]
        for value in self.defects:
            out += ["--defect", value]
        return out


@dataclass(frozen=True, slots=True)
class Duet:
    """`orders` say for each pair which arm goes first; `done` maps "pair/arm" to a run id."""

    folder: Path
    scenario: str
    seed: int
    arms: dict[str, Arm]
    orders: list[str]
    seeds: list[int]
    done: dict[str, str] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Both sides, for people."""
        sides = [f"{name} is {' '.join(self.arms[name].words[1:])}" for name in ARMS]
        return f"{len(self.orders)} blocks each; {'; '.join(sides)}"

    def pairs(self) -> list[tuple[Path, Path]]:
        """The run directories (a, b) of every pair that is whole."""
        out = []
        for number in range(len(self.orders)):
            names = [self.done.get(f"{number}/{arm}") for arm in ARMS]
            folders = [self.folder / arm / str(name) for arm, name in zip(ARMS, names, strict=True)]
            if all(names) and all(told_of(folder) for folder in folders):
                out.append((folders[0], folders[1]))
        return out

    def write(self) -> None:
        """Whole or not at all."""
        whole = {"schema": SCHEMA, **asdict(self), "folder": None}
        part = self.folder / f".{FILE}"
        part.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        part.replace(self.folder / FILE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block that was played: its pair's number, its arm, what its run's files say."""

    number: int
    arm: str
    verdict: dict[str, Any]
    summary: dict[str, Any]


def started(out: Path, scenario: str, arms: dict[str, Arm], pairs: int, seed: int | None) -> Duet:
    """A new duet with its directory; ConfigError where that cannot be written."""
    _no_secret(arms)
    seed = secrets.randbelow(SEED_MAX) if seed is None else seed
    rng = np.random.Generator(np.random.PCG64(seed))
    now, name = datetime.now(UTC), Path(scenario).stem
    folder = out / f"{now:%Y%m%d-%H%M%S}-duet-{name}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        problem = Problem("--out", "", f"cannot be written: {error.strerror}", str(out))
        raise ConfigError(problem) from None
    orders = ["ab" if heads else "ba" for heads in rng.integers(0, 2, pairs).tolist()]
    seeds = rng.integers(0, SEED_MAX, pairs).tolist()
    duet = Duet(folder, scenario, seed, arms, orders, seeds)
    duet.write()
    return duet


def _no_secret(arms: dict[str, Arm]) -> None:
    """ConfigError for a secret that would stand in the duet's file, from which it is gone on."""
    for value in (value for arm in arms.values() for value in arm.sets):
        path, _, text = value.partition("=")
        if _SECRETS.fullmatch(path.strip()) and "${" not in text:
            hint = f"name a variable: --set '{path.strip()}=${{PROBE_…}}'"
            message = "is a secret, and a duet's file keeps what was set"
            raise ConfigError(Problem("--set", path.strip(), message, hint=hint))


def resumed(folder: Path) -> Duet:
    """A duet as it was left; ConfigError where there is none."""
    try:
        told = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if told.pop("schema") != SCHEMA:
            problem = Problem(str(folder / FILE), "schema", "unknown", "", str(SCHEMA))
            raise ConfigError(problem)
        arms = {name: Arm(**told["arms"][name]) for name in ARMS}
        return Duet(**{**told, "folder": folder, "arms": arms})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            Problem("--resume", "", f"no duet can be read ({error})", str(folder))
        ) from None


def blocks_of(duet: Duet, tries: int = TRIES) -> Iterator[Block]:
    """Play every block that is not done yet, one by one; Interrupted where the user ends it.

    Raises ConfigError where a run cannot be played as it was asked for, ProbeError where one
    does not come to its end.
    """
    for number, order in enumerate(duet.orders):
        for arm in order:
            key = f"{number}/{arm}"
            if key in duet.done:
                continue
            folder = _block(duet, number, arm, tries)
            duet.done[key] = folder.name
            duet.write()
            yield Block(number, arm, told_of(folder), told_of(folder, "summary.json"))


def _block(duet: Duet, number: int, arm: str, tries: int) -> Path:
    out = duet.folder / arm
    before, made = set(stored(out)), list[Path]()
    command = [
        sys.executable, "-m", "probe", "run", duet.scenario, *duet.arms[arm].words,
        "--seed", str(duet.seeds[number]), "--out", str(out), "--quiet", "--no-color",
    ]  # fmt: skip
    for _ in range(tries):
        code, said = _run(command)
        made = [folder for folder in stored(out) if folder not in before]
        if code == _INTERRUPTED:
            raise Interrupted
        if code not in _TOOK_PLACE:
            message = said.strip().removeprefix("probe: ") or f"exit code {code}"
            if code == _USAGE:
                raise ConfigError(Problem(f"block {number + 1} of {arm}", "", message))
            raise ProbeError(f"block {number + 1} of {arm} could not be played: {message}")
        if made and _whole(made[-1], fit=True):
            return made[-1]
    if made and _whole(made[-1], fit=False):
        return made[-1]
    raise ProbeError(f"block {number + 1} of {arm} did not come to its end in {tries} tries")


def _whole(folder: Path, *, fit: bool) -> bool:
    told = told_of(folder)
    return bool(told.get("complete")) and (not fit or bool(told["fitness"]["fit"]))


def _run(command: list[str]) -> tuple[int, str]:
    """Its exit code and what it said of errors. Ctrl-C is passed on, once for each time."""
    process: subprocess.Popen[str] | None = None
    asked = False

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal asked
        asked = True
        if process is not None:
            # A run ends in order by these two alone; the terminal that is gone is ours, not its.
            process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    # Before it is there, so that no end of ours leaves it behind.
    kept = {number: signal.signal(number, pass_on) for number in _ENDS}
    try:
        process = subprocess.Popen(  # noqa: S603 -- ourselves, by the interpreter that runs us
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        if asked:
            process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=BLOCK_S)[1]
    except subprocess.TimeoutExpired:
        assert process is not None
        process.send_signal(signal.SIGINT)
        try:
            said = process.communicate(timeout=PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            said = process.communicate()[1]
        raise ProbeError(f"a block took longer than {BLOCK_S:,.0f} s: {said[-500:]}") from None
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    return (_INTERRUPTED if asked else process.returncode), said
