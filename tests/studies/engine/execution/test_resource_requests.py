"""What a replicate is given, and where there is room for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.engine.definition.file_model import Resources
from studies.engine.execution.resource_requests import GIB, Node, NodeCapacity, ResourceRequest, request_for

CPU_NODE = Node(memory_bytes=64 * GIB, gpu_bytes=0)
GPU_NODE = Node(memory_bytes=64 * GIB, gpu_bytes=24 * GIB, has_gpu=True)


@pytest.mark.parametrize(
    ("predicted_gib", "expected"),
    [(0.01, 1 / 8), (2, 1 / 6), (3, 1 / 4), (5, 1 / 3), (8, 1 / 2), (17, 1), (100, 1)],
)
def test_small_trainings_share_a_gpu(predicted_gib: float, expected: float) -> None:
    """The share follows from the prediction, a third of headroom and CUDA's own needs; a large one has a GPU to itself."""
    request = request_for(Resources(), int(predicted_gib * GIB), GPU_NODE)
    assert request.gpus == pytest.approx(expected, abs=1e-4)
    assert request.memory_bytes == GIB  # of the host


def test_a_gpu_of_unknown_size_is_not_shared() -> None:
    """Nor is one asked for where there is none."""
    assert request_for(Resources(), GIB, Node(64 * GIB, gpu_bytes=0, has_gpu=True)).gpus == 1
    assert request_for(Resources(), GIB, CPU_NODE) == ResourceRequest(cpus=1, gpus=0, memory_bytes=2 * GIB)


def test_what_is_given_is_asked_for() -> None:
    """As it is, and nothing else; Ray is not asked for nothing."""
    given = Resources(cpus=2, gpus=0.3, memory_gib=3)
    assert request_for(given, 100 * GIB, GPU_NODE) == ResourceRequest(cpus=2, gpus=0.3, memory_bytes=3 * GIB)
    assert request_for(Resources(gpus=0), GIB, GPU_NODE).as_ray() == {"CPU": 1, "memory": 2 * GIB}


@given(predicted=st.integers(0, 200 * GIB), times=st.integers(0, 8), on_gpu=st.booleans())
def test_more_each_time_it_was_not_enough(predicted: int, times: int, on_gpu: bool) -> None:
    """After running out of memory a replicate is given no less than before, and never more than a node has."""
    node = GPU_NODE if on_gpu else CPU_NODE
    before, after = (request_for(Resources(), predicted, node, num_out_of_memory=n) for n in (times, times + 1))
    assert before.gpus <= after.gpus <= 1
    assert before.memory_bytes <= after.memory_bytes <= node.memory_bytes


def test_room_is_taken_and_given_back() -> None:
    """Only so much is placed as fits on single nodes; a node that goes takes what was on it with it."""
    room = NodeCapacity()
    room.update({"one": {"CPU": 2, "memory": 4}, "other": {"CPU": 1, "memory": 8}})
    assert room.place("a", {"CPU": 1, "memory": 3})
    assert not room.place("b", {"CPU": 2})
    assert room.place("b", {"CPU": 1, "memory": 6})
    assert not room.place("c", {"CPU": 1, "memory": 2})
    assert room.has_any({"CPU": 1})
    room.release("a")
    assert room.place("c", {"CPU": 1, "memory": 2})
    room.update({"one": {"CPU": 2, "memory": 4}})
    room.release("b")  # it was on the node that is gone
    assert not room.place("b", {"CPU": 2})
    room.release("c")
    assert room.place("b", {"CPU": 2})


@given(st.lists(st.tuples(st.sampled_from([0.25, 0.3333, 0.5, 1]), st.booleans()), max_size=30))
def test_no_node_is_overfull(steps: list[tuple[float, bool]]) -> None:
    """Whatever is placed and leaves, what holders have on a node is never more than the node has."""
    room, held = NodeCapacity(), dict[str, float]()
    room.update({"node": {"GPU": 2}})
    for number, (share, leaves) in enumerate(steps):
        if leaves and held:
            room.release(held_first := next(iter(held)))
            del held[held_first]
        elif room.place(str(number), {"GPU": share}):
            held[str(number)] = share
        else:
            assert sum(held.values()) + share > 2
        assert sum(held.values()) <= 2 + 1e-3
