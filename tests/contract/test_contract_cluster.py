"""The files of cluster/ and jobs/, as far as they can be judged without a cluster."""

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
def test_kuberay_takes_the_resource(resource):
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
def test_the_schema_finds_mistakes(wrong):
    changed = {**RESOURCES["cluster"], "spec": {**RESOURCES["cluster"]["spec"], **wrong}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, SCHEMA)


@each_resource
def test_kubernetes_takes_every_pod(resource):
    templates = [group["template"] for group in groups(resource)]
    if "submitterPodTemplate" in resource["spec"]:
        templates.append(resource["spec"]["submitterPodTemplate"])
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **template["metadata"]}}
        kubernetes_validate.validate({**pod, "spec": template["spec"]}, KUBERNETES, strict=True)


def test_kubernetes_takes_the_volume_and_the_policy():
    for resource in yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text()):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_job_starts_the_cluster_that_stays():
    assert cluster_of(RESOURCES["job"]) == cluster_of(RESOURCES["cluster"])


@each_resource
def test_the_cluster_is_as_the_readme_says(resource):
    cluster = cluster_of(resource)
    assert cluster["rayVersion"] == PINNED
    assert cluster["authOptions"] == {"mode": "token", "secretName": "tumorprog-token"}
    assert cluster["enableInTreeAutoscaling"]
    head, cpu, gpu = groups(resource)
    assert (head["rayStartParams"]["num-cpus"], head["serviceType"], head["enableIngress"]) == ("0", "ClusterIP", False)
    assert (cpu["groupName"], gpu["groupName"]) == ("cpu", "gpu")
    for group in (cpu, gpu):
        assert group["minReplicas"] <= group["replicas"] < group["maxReplicas"]
    asks = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in (cpu, gpu)]
    assert ["nvidia.com/gpu" in ask for ask in asks] == [False, True]


@each_resource
def test_every_node_sees_the_data_says_how_it_is_and_is_inside_the_wall(resource):
    volume, policy = yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text())
    for group in groups(resource):
        assert group["template"]["metadata"]["labels"] == policy["spec"]["podSelector"]["matchLabels"]
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert [one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]] == [volume["metadata"]["name"]]
        assert [mount["name"] for mount in container["volumeMounts"]] == [one["name"] for one in pod["volumes"]]
        asked = container["resources"]
        assert asked["limits"]["memory"] == asked["requests"]["memory"]
        assert {"readinessProbe", "livenessProbe"} <= set(container)
    assert volume["spec"]["accessModes"] == ["ReadWriteMany"]


def check_words(words):
    """What is started is a command of ours with settings that there are."""
    assert words[:2] == ["python", "jobs/run.py"]
    options.parse("run", cli.COMMANDS["run"], words[2:])


def test_the_job_gives_settings_that_there_are():
    check_words(shlex.split(RESOURCES["job"]["spec"]["entrypoint"]))


def test_the_wall_lets_nobody_in_but_the_cluster_and_the_operator():
    _, policy = yaml.safe_load_all((KUBERAY / "storage-and-network.yaml").read_text())
    nodes, operator = policy["spec"]["ingress"]
    assert nodes["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
    assert [port["port"] for port in operator["ports"]] == [8265]
    assert all("namespaceSelector" in source for source in operator["from"])


RAY_UP = [ROOT / "cluster" / "ray-up" / name for name in ("on-premise.yaml", "aws.yaml")]
each_ray_up = pytest.mark.parametrize("path", RAY_UP, ids=lambda path: path.stem)


@each_ray_up
def test_ray_up_takes_the_file(path):
    prepared = prepare_config(load(path))
    validate_config(prepared)
    assert prepared["max_workers"] >= 2


@each_ray_up
def test_ray_up_installs_the_lock_and_no_other_ray(path):
    config = load(path)
    assert config["file_mounts"]["~/tumorprog/requirements.lock"] == "requirements.lock"
    assert any("uv pip sync" in command and "requirements.lock" in command for command in config["setup_commands"])
    assert "ray[" not in path.read_text()
    assert not prepare_config(load(path)).get("worker_setup_commands", [])[len(config["setup_commands"]) :]


def started(commands, home):
    """Runs commands in a home with a `ray` that only writes down how it was called."""
    ray = home / "tumorprog-env" / "bin" / "ray"
    ray.parent.mkdir(parents=True, exist_ok=True)
    ray.write_text('#!/bin/sh\necho "$RAY_AUTH_MODE:$*" >> ~/told\n')
    ray.chmod(0o755)
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "192.0.2.1"}
    code = 0
    for command in commands:  # each alone, as `ray up` does
        code = (
            code or subprocess.run(["/bin/bash", "-c", command], env=env, check=False, capture_output=True).returncode
        )
    told = home / "told"
    return code, told.read_text() if told.exists() else ""


@each_ray_up
def test_no_head_starts_without_a_token(path, tmp_path):
    config = load(path)
    code, told = started(config["head_start_ray_commands"], tmp_path)
    assert code != 0
    assert "start" not in told
    # also where the first command were left out
    _, told = started(config["head_start_ray_commands"][1:], tmp_path)
    assert "start" not in told


@each_ray_up
def test_the_head_takes_no_work_and_its_dashboard_stays_on_the_loopback(path, tmp_path):
    config = load(path)
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    code, told = started(config["head_start_ray_commands"], tmp_path)
    assert code == 0
    (start,) = [line for line in told.splitlines() if ":start" in line]
    assert start.startswith("token:start --head")
    assert {"--num-cpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())
    code, told = started(config["worker_start_ray_commands"], tmp_path)
    assert code == 0
    assert "token:start --address=192.0.2.1:6379" in told


SLURM = ROOT / "cluster" / "slurm" / "tumorprog.sbatch"


def test_shellcheck_finds_nothing_in_the_scripts():
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    done = subprocess.run([shellcheck, SLURM, ROOT / ".ci" / "run"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def slurm(folder, *words):
    """Runs the script with a Slurm that has one node, and a `ray` that writes down how it was called."""
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, does in (
        ("scontrol", 'printf "node1\\nnode2\\n"'),
        ("srun", '"$@"'),
        ("ray", 'echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN $*"'),
        ("python", f'exec {sys.executable} "$@"'),
    ):
        (commands / name).write_text(f"#!/bin/sh\n{does}\n")
        (commands / name).chmod(0o755)
    known = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    env = {"PATH": os.environ["PATH"], **known, "SLURM_CPUS_PER_TASK": "16"}
    return subprocess.run(
        ["/bin/bash", SLURM, *words], cwd=folder, env=env, check=False, capture_output=True, text=True
    )


def test_slurm_starts_ray_on_all_nodes_with_a_token_and_joins_it(tmp_path):
    done = slurm(tmp_path, "run", "--out", "/data/two words")
    assert done.returncode == 0, done.stderr
    mode, token, *words = done.stdout.strip().split(" ")
    assert mode == "token"
    assert re.fullmatch("[0-9a-f]{64}", token)
    own, _, command = " ".join(words).partition(" -- ")
    assert own.startswith("symmetric-run --address node1:6379 --min-nodes 2 --num-cpus 16 --dashboard-host 127.0.0.1")
    assert command == "python -m tumorprog.cli run --out /data/two words --cluster.address auto"


def test_slurm_takes_only_what_symmetric_run_and_start_have(tmp_path):
    """`ray symmetric-run` hands what is not its own to `ray start`, on the head and on the others."""
    from ray.scripts.scripts import start, symmetric_run

    own, _, _ = slurm(tmp_path, "run").stdout.partition(" -- ")
    known = {name for command in (start, symmetric_run) for option in command.params for name in option.opts}
    named = set(re.findall(r"--[a-z-]+", own))
    assert named <= known
    assert not named & {"--head", "--node-ip-address", "--port", "--block", "--include-dashboard"}


def test_slurm_without_a_command_says_how(tmp_path):
    done = slurm(tmp_path)
    assert done.returncode == 2
    assert "usage: sbatch" in done.stderr


def test_the_image_installs_the_lock_and_what_the_job_starts():
    lines = (ROOT / "cluster" / "image" / "Dockerfile").read_text().splitlines()
    (base,) = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert re.fullmatch(r"python:3\.1[123]-slim-\w+", base)
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"requirements.lock", "tumorprog", "jobs"} <= copied
    for name in copied:
        assert (ROOT / name).exists()
    assert any("uv pip install" in line and "requirements.lock" in line for line in lines)
    assert "USER ray" in lines


def test_what_a_job_takes_along_is_the_package_and_the_scripts_alone():
    environment = load(ROOT / "jobs" / "runtime_env.yaml")
    assert environment["working_dir"] == "."
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()}
    left_out = {*environment["excludes"], *ignored}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    sent = {name for name in folders if not any(fnmatch.fnmatch(name, pattern) for pattern in left_out)}
    assert {"tumorprog", "jobs"} <= sent <= {"tumorprog", "jobs", "cluster", "tune_configs", ".ci"}


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.stem)
def test_a_job_is_the_command_of_its_name_with_its_words_and_exit_code(path, monkeypatch):
    got = []
    monkeypatch.setattr(cli, "main", lambda words: got.append(words) or 3)
    monkeypatch.setattr(sys, "argv", [str(path), "--out", "O", "--config", "mine.yaml"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path))
    assert got == [[path.stem.replace("_", "-"), "--out", "O", "--config", "mine.yaml"]]
    assert ended.value.code == 3
