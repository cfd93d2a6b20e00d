"""What a run was held to, as stored beside its history, so that it can be judged again.

Everything that a judge needs and nothing secret: of the target its names, addresses and
ceilings, of its authentication only the kind. A Python scenario is stored by name; its
code is neither stored nor run when the run is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import tomli_w

from probe.errors import ConfigError, Problem
from probe.model.dialect import Dialect
from probe.model.reading import build, parse
from probe.model.scenario import Scenario

if TYPE_CHECKING:
    from probe.model.target import Target

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Resolved:
    """Scenario and dialect as models; the target as facts (see `target_facts`)."""

    name: str
    scenario: Scenario
    dialect: Dialect
    target: dict[str, Any]

    def to_toml(self) -> str:
        """The text of `scenario.resolved.toml`."""
        return tomli_w.dumps(
            {
                "schema": SCHEMA,
                "name": self.name,
                "scenario": _plain(self.scenario),
                "target": self.target,
                "dialect": _plain(self.dialect),
            }
        )

    @classmethod
    def from_toml(cls, text: str, origin: str) -> Resolved:
        """Read it again; ConfigError where it is none."""
        data = parse(text, origin)
        if data.get("schema") != SCHEMA:
            hint = "use the probe that wrote it"
            found = repr(data.get("schema"))
            raise ConfigError(Problem(origin, "schema", "unknown", found, str(SCHEMA), hint))
        for key in ("scenario", "target", "dialect"):
            if not isinstance(data.get(key), dict):
                raise ConfigError(Problem(origin, key, "this table is missing"))
        return cls(
            str(data.get("name", "")),
            build(Scenario, data["scenario"], origin),
            build(Dialect, data["dialect"], origin),
            data["target"],
        )


def target_facts(name: str, target: Target) -> dict[str, Any]:
    """Name, title, kind, embedded, addresses, restart.by, safety, auth.source, tls, sources."""
    return {
        "name": name,
        "title": target.title,
        "kind": target.kind,
        "embedded": target.embedded,
        "endpoints": {key: shown_url(each.url) for key, each in target.endpoints.items()},
        "services": {key: shown_url(each.url) for key, each in target.services.items()},
        "restart": {"by": target.restart.by},
        "safety": target.safety.model_dump(mode="json", exclude_none=True),
        "auth": {"source": target.auth.source},
        "tls": target.tls.model_dump(mode="json", exclude_none=True),
        "sources": list(target.network.sources),
    }


def shown_url(url: str) -> str:
    """A URL without user information and without the values of its query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(pair.partition("=")[0] + "=…" for pair in parts.query.split("&") if pair)
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def _plain(model: Scenario | Dialect) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)
