"""No token stands in anything that is exported or filed, though the service echoes it."""

from __future__ import annotations

from tests.servers import free_port
from tests.test_run_secrets import KEY, check_clean, run

PUSHED = "Bearer push-me-8842-Zt8vQ2mLx"
FORMS = ("prometheus", "csv", "jsonl", "parquet")


def test_exports_and_issues_hold_no_secret(probe):
    env = {"PROBE_KEY": KEY, "PROBE_EXPORT_AUTHORIZATION": PUSHED}
    dead = f"prometheus=http://127.0.0.1:{free_port()}"
    words = ("--export", "csv=sessions.csv", "--export", dead)
    done, tokens = run(probe, "body", 'source = "mint"\nkey = "${PROBE_KEY}"', env=env, words=words)
    assert f"not exported to {dead}" in done.err
    out = done.folder / "exported"
    out.mkdir()
    asked = [word for form in FORMS for word in ("--to", f"{form}={out / form}")]
    told = probe.inside("export", str(done.folder), *asked, env=env)
    assert told.code == 0, told.told
    assert done.codes
    for code in done.codes:
        text = probe.inside("issue", str(done.folder), code, env=env).out
        assert text.startswith(f"# {code}: ")
        (out / f"{code}.md").write_text(text)
    (out / "sessions.csv").write_bytes((probe.cwd / "sessions.csv").read_bytes())
    assert (out / "csv").read_bytes() == (out / "sessions.csv").read_bytes()
    # Masked, and not left out: why a client failed is there.
    assert b"status" in (out / "prometheus").read_bytes()
    check_clean(done, [*tokens, KEY, PUSHED.removeprefix("Bearer ")])
