"""When, with which command and on which machine the results were computed, and with which software."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from tumorprog import provenance
from tumorprog.report.page import Section, Table
from tumorprog.report.study.facts import Facts
from tumorprog.report.study.phrases import listed

_NOT_RECORDED = "not recorded"


def environment(facts: Facts) -> Section:
    """Return the section on provenance: dates, commands, machines, durations, versions."""
    return Section(
        id="provenance",
        title="Computing environment",
        paragraphs=[
            "Commands are shown with the last component of every path, because folders can contain names of users or "
            "patients. The time of a stage that was interrupted is that since it was resumed. The machine is the one "
            "on which the command was given; on a cluster, others computed as well. Stages that were computed with an "
            f"earlier version are {_NOT_RECORDED} in part."
        ],
        tables=[
            Table(caption="When and how each stage was computed", rows=_stages(facts), source="run.json"),
            Table(caption="Machines", rows=_machines(facts), source="run.json"),
            Table(caption="Versions of the software", rows=_versions(facts), source="run.json"),
        ],
    )


def software(facts: Facts) -> str:
    """Return sentences with the versions of the software that the run recorded for the stages before the report."""
    stages = _earlier(facts)
    recorded = _recorded([_software(stage) for _, stage in stages])
    without = [name.replace("_", "-") for name, stage in stages if "versions" not in stage]
    if not recorded:
        return "The versions of the software are not recorded."
    named = ", ".join(f"{name} {version}" for name, version in recorded.items())
    return f"{named}." + (f" Not recorded for all of it: {listed(without)}." if without else "")


def _software(stage: Mapping[str, Any]) -> dict[str, str]:
    """Return the versions that are recorded with a stage, by name."""
    python = stage.get("machine", {}).get("python")
    return {**stage.get("versions", {}), **({"Python": python} if python else {})}


def _recorded(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the different versions of each software in several stages, e.g. "2.4.6 and 2.5.0"."""
    names = dict.fromkeys(name for stage in versions for name in stage)
    return {name: listed(dict.fromkeys(stage[name] for stage in versions if name in stage)) for name in names}


def _versions(facts: Facts) -> list[dict[str, str]]:
    recorded = _recorded([_software(stage) for _, stage in _earlier(facts)])
    own = _software(provenance.of_this_process())
    return [
        {
            "Software": name,
            "Stages before the report": recorded.get(name, _NOT_RECORDED),
            "Report": own.get(name, "not installed"),
        }
        for name in {**own, **recorded}
    ]


def _stages(facts: Facts) -> list[dict[str, Any]]:
    return [
        {
            "Stage": name.replace("_", "-"),
            "Started (UTC)": stage.get("started", _NOT_RECORDED).removesuffix("+00:00").replace("T", " "),
            "Seconds": stage.get("seconds", _NOT_RECORDED),
            "Command": stage.get("command", _NOT_RECORDED),
            "Commit": _short(stage),
        }
        for name, stage in [*_earlier(facts), ("report", _report())]
    ]


def _earlier(facts: Facts) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what is recorded of the stages before the report."""
    return [(name, stage) for name, stage in facts.stages.items() if name != "report"]


def _report() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"started": now, "seconds": "in progress", **provenance.of_this_process()}


def _short(stage: Mapping[str, Any]) -> str:
    """Return the first characters of the commit with the remark that follows it."""
    commit, _, remark = stage.get("commit", _NOT_RECORDED).partition(" with ")
    short = commit if commit == _NOT_RECORDED else commit[:10] or "not a checkout"
    return f"{short} with {remark}" if remark else short


def _machines(facts: Facts) -> list[dict[str, Any]]:
    """Return a row for each different machine, with the stages that it computed; the last is that of the report."""
    stages: dict[str, list[str]] = {}
    shown: dict[str, Mapping[str, Any]] = {}
    used = [(name.replace("_", "-"), stage.get("machine")) for name, stage in _earlier(facts)]
    for name, machine in [*used, ("report", provenance.machine())]:
        key = repr(machine)
        stages.setdefault(key, []).append(name)
        shown[key] = machine or {}
    return [{"Stages": ", ".join(names), **_machine(shown[key])} for key, names in stages.items()]


def _machine(machine: Mapping[str, Any]) -> dict[str, Any]:
    memory = machine.get("memory_gib")
    return {
        "System": machine.get("system", _NOT_RECORDED),
        "Python": machine.get("python", _NOT_RECORDED),
        "CPU": machine.get("cpu", _NOT_RECORDED),
        "Cores": machine.get("cores", _NOT_RECORDED),
        "Memory": f"{memory:g} GiB" if memory else _NOT_RECORDED,
        "GPU": ", ".join(machine["gpus"]) or "none found" if "gpus" in machine else _NOT_RECORDED,
    }
