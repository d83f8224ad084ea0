"""Settings of the cluster and of sweeps."""

from dataclasses import dataclass
from typing import Literal

from tumorprog.checks import at_least


@dataclass(frozen=True, kw_only=True)
class Tune:
    """The sweep of `tumorprog tune`."""

    model: Literal["grader", "progression"] = "progression"
    """The model whose settings are varied."""
    sweep: str = ""
    """A YAML file with the settings to vary, their values and the search; tune_configs/ has examples."""
    mlflow: str = ""
    """Tracking URI of an MLflow server that also records every trial; requires the extra `mlflow`."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where the computation runs; does not change results."""

    address: str = "local"
    """`local` starts Ray on this machine; `auto` or host:port joins a running cluster."""
    cores: int = 0
    """CPU cores of a local Ray; 0 for all."""

    def __post_init__(self) -> None:
        at_least("cluster.cores", self.cores, 0)
