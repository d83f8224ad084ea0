"""The files in cluster/ and jobs/, as far as they can be checked without a cluster."""

import fnmatch
import os
import re
import runpy
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tumorprog import cli, options

ROOT = Path(cli.__file__).parents[1]
KUBERAY = ROOT / "cluster" / "kuberay"
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
KUBERNETES = "1.33"
(PINNED,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)


def load(path):
    return yaml.safe_load(path.read_text())


def cluster_of(resource):
    return resource["spec"].get("rayClusterSpec", resource["spec"])


def groups(resource):
    cluster = cluster_of(resource)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


RESOURCES = {name: load(KUBERAY / f"{name}.yaml") for name in ("cluster", "job")}
each_resource = pytest.mark.parametrize("resource", RESOURCES.values(), ids=list(RESOURCES))


@each_resource
def test_kuberay_accepts_the_resource(resource):
    jsonschema.validate(resource, SCHEMA)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rayversion": PINNED},
        {"authOptions": {"mode": "yes"}},
        {"headGroupSpec": {"rayStartParams": {"num-cpus": 0}, "template": {}}},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_schema_detects_mistakes(wrong):
    changed = {**RESOURCES["cluster"], "spec": {**RESOURCES["cluster"]["spec"], **wrong}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, SCHEMA)


@each_resource
def test_kubernetes_accepts_every_pod(resource):
    templates = [group["template"] for group in groups(resource)]
    if "submitterPodTemplate" in resource["spec"]:
        templates.append(resource["spec"]["submitterPodTemplate"])
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)


def test_kubernetes_accepts_the_volume_and_the_policy():
    for resource in yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text()):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_job_starts_the_same_cluster_as_the_permanent_one():
    assert cluster_of(RESOURCES["job"]) == cluster_of(RESOURCES["cluster"])


@each_resource
def test_the_cluster_matches_the_readme(resource):
    cluster = cluster_of(resource)
    assert cluster["rayVersion"] == PINNED
    assert cluster["authOptions"] == {"mode": "token", "secretName": "tumorprog-token"}
    assert cluster["enableInTreeAutoscaling"]
    head, cpu, gpu = groups(resource)
    assert (head["rayStartParams"]["num-cpus"], head["serviceType"], head["enableIngress"]) == ("0", "ClusterIP", False)
    assert (cpu["groupName"], gpu["groupName"]) == ("cpu", "gpu")
    for group in (cpu, gpu):
        assert group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
    limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in (cpu, gpu)]
    assert ["nvidia.com/gpu" in limit for limit in limits] == [False, True]


@each_resource
def test_every_node_mounts_the_data_has_probes_and_is_behind_the_network_policy(resource):
    volume, policy = yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text())
    for group in groups(resource):
        assert group["template"]["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"]
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert [entry["persistentVolumeClaim"]["claimName"] for entry in pod["volumes"]] == [volume["metadata"]["name"]]
        assert [mount["name"] for mount in container["volumeMounts"]] == [entry["name"] for entry in pod["volumes"]]
        resources = container["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]


def check_arguments(arguments):
    """Check that the arguments start a tumorprog command with existing settings."""
    assert arguments[:2] == ["python", "jobs/run.py"]
    options.parse("run", cli.COMMANDS["run"], arguments[2:])


def test_the_job_uses_existing_settings():
    check_arguments(shlex.split(RESOURCES["job"]["spec"]["entrypoint"]))


def test_the_network_policy_admits_only_the_cluster_and_the_operator():
    _, policy = yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text())
    nodes, operator = policy["spec"]["ingress"]
    assert nodes["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
    assert [port["port"] for port in operator["ports"]] == [8265]
    assert all("namespaceSelector" in source for source in operator["from"])


RAY_UP = [ROOT / "cluster" / "ray-up" / name for name in ("on-premise.yaml", "aws.yaml")]
each_ray_up = pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)


@each_ray_up
def test_ray_up_accepts_the_file(path):
    prepared = prepare_config(load(path))
    validate_config(prepared)
    assert prepared["max_workers"] >= 2


@each_ray_up
def test_ray_up_installs_ray_from_the_lock_only(path):
    config = load(path)
    assert config["file_mounts"]["~/tumorprog/requirements.lock"] == "requirements.lock"
    assert any("uv pip sync" in command and "requirements.lock" in command for command in config["setup_commands"])
    assert "ray[" not in path.read_text()
    assert not prepare_config(load(path)).get("worker_setup_commands", [])[len(config["setup_commands"]) :]


def started(commands, home):
    """Run commands in a home directory with a fake `ray` that only records its calls."""
    ray = home / "tumorprog-env" / "bin" / "ray"
    ray.parent.mkdir(parents=True, exist_ok=True)
    ray.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE:$*" >> ~/calls\n')
    ray.chmod(0o755)
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "192.0.2.1"}
    code = 0
    for command in commands:  # separately, as `ray up` runs them
        code = (
            code or subprocess.run(["/bin/bash", "-c", command], env=env, check=False, capture_output=True).returncode
        )
    calls = home / "calls"
    return code, calls.read_text() if calls.exists() else ""


@each_ray_up
def test_no_head_starts_without_a_token(path, tmp_path):
    config = load(path)
    code, calls = started(config["head_start_ray_commands"], tmp_path)
    assert code != 0
    assert "start" not in calls
    # also if the first command were omitted
    _, calls = started(config["head_start_ray_commands"][1:], tmp_path)
    assert "start" not in calls


@each_ray_up
def test_the_head_runs_no_tasks_and_its_dashboard_listens_on_the_loopback(path, tmp_path):
    config = load(path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    code, calls = started(config["head_start_ray_commands"], tmp_path)
    assert code == 0
    (start,) = [line for line in calls.splitlines() if ":start" in line]
    assert start.startswith("token:start --head")
    assert {"--num-cpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())
    code, calls = started(config["worker_start_ray_commands"], tmp_path)
    assert code == 0
    assert "token:start --address=192.0.2.1:6379" in calls


SLURM = ROOT / "cluster" / "slurm" / "tumorprog.sbatch"


def test_shellcheck_reports_nothing_for_the_scripts():
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    result = subprocess.run([shellcheck, SLURM, ROOT / ".ci" / "run"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def slurm(folder, *arguments):
    """Run the script with a fake Slurm and a fake `ray` that prints its call."""
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, script in (
        ("scontrol", 'printf "node1\\nnode2\\n"'),
        ("srun", '"$@"'),
        ("ray", 'echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $*"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    variables = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    env = {"PATH": os.environ["PATH"], **variables, "SLURM_CPUS_PER_TASK": "16"}
    return subprocess.run(
        ["/bin/bash", SLURM, *arguments], cwd=folder, env=env, check=False, capture_output=True, text=True
    )


def test_slurm_starts_ray_with_a_token_on_all_nodes_and_joins_it(tmp_path):
    result = slurm(tmp_path, "run", "--out", "/data/two words")
    assert result.returncode == 0, result.stderr
    mode, token, *arguments = result.stdout.strip().split(" ")
    assert mode == "token"
    assert re.fullmatch("[0-9a-f]{64}", token)
    ray_call, _, command = " ".join(arguments).partition(" -- ")
    assert ray_call.startswith(
        "symmetric-run --address node1:6379 --min-nodes 2 --num-cpus 16 --dashboard-host 127.0.0.1"
    )
    assert command == "python -m tumorprog.cli run --out /data/two words --cluster.address auto"


def test_slurm_uses_only_options_of_symmetric_run_and_start(tmp_path):
    """Check both commands: `ray symmetric-run` passes options that it does not have to `ray start`, on every node."""
    from ray.scripts.scripts import start, symmetric_run

    ray_call, _, _ = slurm(tmp_path, "run").stdout.partition(" -- ")
    accepted = {name for command in (start, symmetric_run) for option in command.params for name in option.opts}
    used = set(re.findall(r"--[a-z-]+", ray_call))
    assert used <= accepted
    assert not used & {"--head", "--node-ip-address", "--port", "--block", "--include-dashboard"}


def test_slurm_without_a_command_prints_the_usage(tmp_path):
    result = slurm(tmp_path)
    assert result.returncode == 2
    assert "usage: sbatch" in result.stderr


def test_the_image_contains_the_locked_packages_and_the_job_scripts():
    lines = (ROOT / "cluster" / "image" / "Dockerfile").read_text().splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert re.fullmatch(r"python:3\.1[123]-slim-\w+", base)
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"requirements.lock", "tumorprog", "jobs"} <= copied
    for name in copied:
        assert (ROOT / name).exists()
    assert any("uv pip install" in line and "requirements.lock" in line for line in lines)
    assert "USER ray" in lines


def test_a_job_is_sent_with_the_package_and_the_scripts_only():
    environment = load(ROOT / "jobs" / "runtime_env.yaml")
    assert environment["working_dir"] == "."
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    excluded = {*environment["excludes"], *ignored}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    sent = {name for name in folders if not any(fnmatch.fnmatch(name, pattern) for pattern in excluded)}
    assert {"tumorprog", "jobs"} <= sent <= {"tumorprog", "jobs", "cluster", "tune_configs", ".ci"}


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.stem)
def test_a_job_runs_the_command_of_its_name_with_its_arguments_and_exit_code(path, monkeypatch):
    received = []
    monkeypatch.setattr(cli, "main", lambda arguments: received.append(arguments) or 3)
    monkeypatch.setattr(sys, "argv", [str(path), "--out", "O", "--config", "mine.yaml"])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(path))
    assert received == [[path.stem.replace("_", "-"), "--out", "O", "--config", "mine.yaml"]]
    assert exit_info.value.code == 3
