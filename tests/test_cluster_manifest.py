"""The manifest for Kubernetes: as KubeRay's schema has it, and as docs/cluster.md says."""

import copy
import json
from pathlib import Path

import jsonschema_rs
import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: make test")

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "tests/data/kuberay_rayjob.json").read_text(encoding="utf-8"))
MANIFEST = yaml.safe_load((ROOT / "docs/kuberay.yaml").read_text(encoding="utf-8"))


def problems(manifest):
    return [
        each.message for each in jsonschema_rs.Draft202012Validator(SCHEMA).iter_errors(manifest)
    ]


def test_it_is_what_kuberay_takes():
    assert problems(MANIFEST) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "entryPoint"), "probe"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "8"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec", "container"), []),
    ],
)
def test_a_slip_in_it_would_be_seen(path, value):
    broken = copy.deepcopy(MANIFEST)
    place = broken
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems(broken)


def test_its_workers_are_as_many_as_its_nodes_have_room_for():
    spec = MANIFEST["spec"]
    words = spec["entrypoint"].split()
    assert words[words.index("--engine") + 1] == "ray"
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    room = group["replicas"] * int(group["rayStartParams"]["num-cpus"])
    assert int(words[words.index("--workers") + 1]) == room
    assert spec["backoffLimit"] == 0  # a run that failed is not run again
    head = spec["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    images = [
        each["image"] for pod in (head, group) for each in pod["template"]["spec"]["containers"]
    ]
    assert len(set(images)) == 1  # the driver refuses nodes that have another version
    env = [each for pod in (head, group) for c in pod["template"]["spec"]["containers"]
           for each in c["env"]]  # fmt: skip
    assert all("valueFrom" in each or each["name"].startswith("RAY_") for each in env)
