"""Everything that tumorprog uses of Ray without a public API (2.60 offers none for it).

tests/distributed/test_distributed_internals.py names what breaks when a new version of Ray changes one of these.
"""

import logging
import time
from pathlib import Path
from typing import Any

import ray.data
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.resource_manager import ResourceManager

_STEP_SECONDS = 0.01
_LIMITS_UPDATE_SECONDS = 0.02


def quiet_logs() -> None:
    """Limit the log output of Ray's libraries in this process to warnings and errors."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.WARNING)


class ThrottledExecution(ExecutionCallback):
    """Limit Ray Data's execution loop to a hundred steps a second, and quiet its logs, in any process that runs it.

    Once its read-ahead limit is reached, the loop would spin without a pause and occupy a core (2.60). If it shares a
    process with a training, the hundreds of torch calls of each training step then compete with it for the interpreter
    lock: an H100 took 100 ms per batch, whether the batch had 64 or 256 images.
    """

    def __init__(self) -> None:
        self._next = 0.0
        quiet_logs()  # called here because Ray Train executes the data stream of a training in a separate process

    def on_execution_step(self, executor: Any) -> None:
        """Wait until the time of the next step; Ray calls this at each step of the loop."""
        del executor
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + _STEP_SECONDS


def throttle_execution(context: ray.data.DataContext) -> None:
    """Throttle the execution loops that a context configures; see `ThrottledExecution`."""
    if ThrottledExecution not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(ThrottledExecution)


def update_limits_often() -> None:
    """Let Ray Data start all tasks immediately in this process.

    It updates its resource limits once a second, and runs a single task until the first update (2.60).
    """
    ResourceManager.GLOBAL_LIMITS_UPDATE_INTERVAL_S = _LIMITS_UPDATE_SECONDS


def start_options(*, folder: Path | None, idle_worker_ms: int) -> dict[str, Any]:
    """Return the options of `ray.init` for which Ray has no public name.

    Args:
        folder: for Ray's sockets and logs; None for Ray's own choice.
        idle_worker_ms: how long a worker without work is kept.
    """
    return {
        "_temp_dir": str(folder) if folder else None,
        "_system_config": {"idle_worker_killing_time_threshold_ms": idle_worker_ms},
    }


def cause_of(failure: Exception) -> Exception:
    """Return the exception that a training worker raised, from the failure that Ray Train reports for it."""
    return getattr(failure, "_base_exc", getattr(failure, "cause", failure))
