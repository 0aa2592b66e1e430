"""The average of weights: PyTorch's, with a decay that rises, of all that a network's state holds."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables import ann
from trainables.training.optimisation.averaging import average_of


@given(decay=st.floats(0.01, 0.999), num_steps=st.integers(1, 40), seed=st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_the_average_is_the_recurrence(decay: float, num_steps: int, seed: int) -> None:
    """w' ← d_n w' + (1 - d_n) w with d_n = min(d, (1 + n)/(10 + n)), from the first step's weights on; counts are copied."""
    network = ann.build(ann.Config(layout="2", batch_norm=True), (4, 4, 1), 2)
    average = average_of(network, decay)
    generator = torch.Generator().manual_seed(seed)
    expected: dict[str, torch.Tensor] = {}
    for n in range(num_steps):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.copy_(100 * torch.rand(tensor.shape, generator=generator))
        average.update_parameters(network)
        now = {name: tensor.double() for name, tensor in network.state_dict().items()}
        d = min(decay, (1 + n) / (10 + n)) if n else 0.0
        expected = {name: d * expected[name] + (1 - d) * tensor if n else tensor for name, tensor in now.items()}
    state = average.module.state_dict()
    assert state.keys() == network.state_dict().keys()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-4)
        else:
            assert torch.equal(tensor, network.state_dict()[name])


def test_an_average_of_equal_weights_is_those_weights() -> None:
    """What never changes, such as a frozen layer or a firing threshold, is the same to the bit in the average."""
    network = ann.build(ann.Config(layout="2", batch_norm=True), (4, 4, 1), 2)
    average = average_of(network, 0.9)
    for _ in range(20):
        average.update_parameters(network)
    for name, tensor in average.module.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name])
