"""What the fields of verdict.json mean, as far as the schema itself does not say it."""

from typing import Final

WORDS: Final = {
    "VerdictDocument": {
        "schema": "The version of this shape.",
        "verdict": "The verdict of the run.",
        "exit_code": "What `probe run` exited with.",
        "run_id": "The name of the run's directory.",
        "scenario": "The name of the scenario.",
        "target": "The name of the target.",
        "seed": "The same seed gives the same plan.",
        "duration_s": "Seconds from the first stage's beginning to the end.",
        "interrupted": "Whether somebody stopped the run; what was recorded is judged.",
        "reasons": "Why the verdict is no PASS: ids of checks with their messages, or what "
        "made this machine unfit.",
        "checks": "Every expectation.",
        "findings": "Everything that broke one.",
        "fitness": "Whether the probe's own machine was fit to judge.",
        "authenticity": "Who answered, and what shows that the run took place.",
    },
    "CheckEntry": {
        "id": "The stage, what is checked, and where there are several the population: "
        "`users.success`.",
        "stage": "The stage that expects it.",
        "required": "Whether it counts in the verdict when it is not decided.",
        "verdict": "The verdict of the check.",
        "evidence": "What it rests on; see [methods](../methods.md#verdict).",
        "estimate": "What was seen; null where nothing was, or nothing finite.",
        "limit": "What it is held to.",
        "p_value": "Of a test, where the check is one.",
        "message": "One sentence for a person.",
        "accepted": "Whether it fails by findings alone that somebody has accepted.",
    },
    "FindingEntry": {
        "code": "Its row in the [catalogue](findings.md).",
        "severity": "How grave it is.",
        "evidence": "What it rests on.",
        "count": "How often it was seen.",
        "message": "One sentence for a person.",
        "cause": "The likely cause.",
        "witness": "Up to three cases.",
        "reproduce": "The command that runs just that again.",
        "check": "The id of the check that it broke.",
        "accepted": "Who lives with it, and until when; null where nobody does.",
    },
    "AcceptanceEntry": {
        "owner": "Whose it is.",
        "until": "The last day on which it is accepted, an ISO date.",
        "why": "Why it is accepted.",
        "ended": "Whether it was over on the day of the run, so that nothing is accepted.",
    },
    "WitnessEntry": {
        "session": "The number of the client in the run.",
        "attempt": "Which of its attempts to connect, from 0.",
        "stage": "The stage it came in.",
        "endpoint": "The endpoint it went to.",
        "began": "When it began, ISO 8601, UTC.",
        "steps": "What happened, in order.",
    },
    "StepEntry": {
        "who": "Who did it; a `note` is the probe's own word on it.",
        "what": "What was on the wire, in words or quoted.",
    },
    "FitnessEntry": {
        "fit": "Whether it was fit to judge.",
        "whole": "Whether anything was played that is judged as a whole.",
        "by_level": "Stages whose levels are judged one by one.",
        "taints": "Why timings and loads are not judged.",
        "invalid": "Why the run is not judged at all, witnesses apart.",
        "figures": "What was measured of this machine.",
    },
}
