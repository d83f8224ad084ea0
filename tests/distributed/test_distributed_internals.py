"""What breaks when a new version of Ray changes one of its private parts that tumorprog uses."""

import inspect
import time

import pytest
import ray.data
from ray._private import worker
from ray.data._internal.execution import resource_manager, streaming_executor
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

from tumorprog.distributed import internals
from tumorprog.errors import InputError


@pytest.fixture
def context(monkeypatch):
    context = ray.data.DataContext.get_current().copy()
    monkeypatch.setattr(context, "custom_execution_callback_classes", [])
    return context


def test_execution_is_throttled_by_a_callback_that_ray_calls_at_each_step(context):
    """Otherwise the execution loop occupies a core while it waits, and training on a GPU becomes slow."""
    internals.throttle_execution(context)
    internals.throttle_execution(context)
    assert context.execution_callback_classes.count(internals.ThrottledExecution) == 1
    assert list(inspect.signature(ExecutionCallback.on_execution_step).parameters) == ["self", "executor"]
    assert "on_execution_step" in inspect.getsource(streaming_executor)


def test_throttled_execution_makes_at_most_a_hundred_steps_a_second():
    callback = internals.ThrottledExecution()
    started = time.monotonic()
    for _ in range(11):
        callback.on_execution_step(None)
    assert time.monotonic() - started >= 0.1


def test_resource_limits_are_updated_often(monkeypatch):
    """Otherwise Ray Data runs a single task during the first second of each stage."""
    manager = resource_manager.ResourceManager
    monkeypatch.setattr(manager, "GLOBAL_LIMITS_UPDATE_INTERVAL_S", manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S)
    assert "self.GLOBAL_LIMITS_UPDATE_INTERVAL_S" in inspect.getsource(manager)
    internals.update_limits_often()
    assert manager.GLOBAL_LIMITS_UPDATE_INTERVAL_S < 0.1


def test_ray_accepts_the_private_options_of_its_start(tmp_path):
    """Otherwise Ray's sockets do not fit into a long TMPDIR, or workers are started again for every epoch."""
    options = internals.start_options(folder=tmp_path, idle_worker_ms=1000)
    source = inspect.getsource(worker.init)
    assert all(f'kwargs.pop("{name}"' in source for name in options)
    assert options["_temp_dir"] == str(tmp_path)
    assert internals.start_options(folder=None, idle_worker_ms=1)["_temp_dir"] is None


def test_the_exception_of_a_training_worker_is_found_in_the_failure():
    """Otherwise a mistake of the user in a training ends with a traceback."""
    cause = InputError("no such file")
    assert internals.cause_of(UserExceptionWithTraceback(cause, "traceback")) is cause
    assert internals.cause_of(cause) is cause
