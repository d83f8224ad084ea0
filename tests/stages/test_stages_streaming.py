import pytest
from hypothesis import given
from hypothesis import strategies as st

from tumorprog.stages import streaming


@given(shards=st.integers(1, 10_000), cores=st.integers(1, 400))
def test_every_core_gets_as_many_tasks_and_no_task_too_many_shards(shards, cores):
    tasks = streaming.num_tasks(shards, cores)
    assert 1 <= tasks <= shards
    assert tasks == shards or tasks % cores == 0
    assert -(-shards // tasks) <= 8


@pytest.mark.parametrize(("shards", "cores", "tasks"), [(16, 2, 2), (16, 4, 4), (3, 4, 3), (54, 2, 8), (1, 1, 1)])
def test_tasks_of_some_sizes(shards, cores, tasks):
    assert streaming.num_tasks(shards, cores) == tasks
