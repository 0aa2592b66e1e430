"""Networks: what is taken apart and what is refused, VGGs and ResNets by their size, initial weights."""

import dataclasses
import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables import ann, bitnet, converted_snn
from trainables.networks.activations import QCFS
from trainables.networks.layered import initialise_analogue
from trainables.networks.network import Network, Operation, UnknownModuleError
from trainables.networks.residual import shrink_residual_weights
from trainables.networks.rewriting import fold_batch_norms, fold_scales, share_weights
from trainables.networks.shapes import operation_shapes


class Calls(nn.Module):
    """A convolution, then any function of its result."""

    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Any:
        """What the function makes of itself and the convolution's result."""
        return self.function(self, self.conv(x))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Calls(lambda _, x: functional.relu(x)), "operation relu calls relu, .* write activations and pools as modules"),
        (Calls(lambda _, x: torch.relu(x)), "operation relu calls relu"),
        (Calls(lambda _, x: functional.max_pool2d(x, 2)), "operation .* calls .*max_pool2d"),
        (Calls(lambda _, x: functional.dropout(x)), "operation dropout calls dropout"),
        (Calls(lambda _, x: x.view(x.shape[0], -1)), "operation getattr_1 calls getattr"),
        (Calls(lambda _, x: x.view(-1, 2)), "operation view calls view"),
        (Calls(lambda _, x: x.flatten()), "operation flatten calls flatten"),
        (Calls(lambda _, x: torch.flatten(x, end_dim=1)), "operation flatten calls flatten"),
        (Calls(lambda _, x: x * x), "operation mul calls mul"),
        (Calls(lambda _, x: x + 1), "operation add calls add"),
        (Calls(lambda _, x: torch.add(x, x, alpha=2)), "operation add calls add"),
        (Calls(lambda _, x: torch.cat([x, x], dim=1)), "operation cat calls cat"),
        (Calls(lambda _, x: x if x.sum() > 0 else -x), "Calls decides by the values that it sees"),
        (Calls(lambda _, x: (x, x)), "must have one result, that of its last operation"),
        (Calls(lambda m, x: m.act(x), act=nn.GELU()), "act is a GELU, which has no known spiking counterpart"),
        (Calls(lambda m, x: m.act(x), act=nn.LeakyReLU()), "act is a LeakyReLU"),
        (Calls(lambda m, x: m.norm(x), norm=nn.LayerNorm(8)), "norm is a LayerNorm"),
        (Calls(lambda m, x: m.conv2(m.conv2(x)), conv2=nn.Conv2d(2, 2, 1)), "conv2 is used twice"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ReLU(), nn.Softmax(1))), "1.1 is a Softmax"),
    ],
)
def test_what_is_not_known_is_refused_by_name(module: nn.Module, message: str) -> None:
    """A network with anything that has no known spiking counterpart is refused with the name of that module or call."""
    with pytest.raises(UnknownModuleError, match=message):
        Network(module)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Their sum."""
        return x + y


def test_two_inputs_are_refused() -> None:
    """A network with two inputs is refused."""
    with pytest.raises(UnknownModuleError, match="must have one input"):
        Network(TwoInputs())


def test_a_shared_activation_becomes_two_layers() -> None:
    """One nn.ReLU that is used twice makes two layers with modules of their own; the function stays the same."""
    shared = nn.ReLU(inplace=True)
    module = nn.Sequential(nn.Linear(6, 5), shared, nn.Linear(5, 4), shared, nn.Linear(4, 3))
    network = Network(module)
    first, second = network.operations_of(nn.ReLU)
    assert network.parts[first.name] is not network.parts[second.name]
    assert [network.layers[operation.name] for operation in network.operations] == [
        "layer1",
        "layer1",
        "layer2",
        "layer2",
        "output",
    ]
    x = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(x[None])[0][0], module(x))


def test_a_network_computes_what_its_module_does() -> None:
    """Residual additions, norms, pools and flattening give in a network what they give in the module, one step folded or many."""
    torch.manual_seed(0)
    module = Calls(
        lambda m, x: m.linear(torch.flatten(m.pool(m.act(m.norm(m.conv2(x)) + x)), 1)),
        conv2=nn.Conv2d(2, 2, 3, padding=1),
        norm=nn.BatchNorm2d(2),
        act=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        linear=nn.Linear(32, 3),
    ).eval()
    x = torch.randn(3, 4, 1, 8, 8)
    outputs_TBN, state = Network(module).eval()(x, 3)
    assert state == {}
    for outputs, images in zip(outputs_TBN, x, strict=True):
        torch.testing.assert_close(outputs, module(images))


def randomise_norms(network: nn.Module, generator: torch.Generator) -> None:
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            for tensor in (norm.weight.data, norm.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (norm.bias.data, norm.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))


@pytest.mark.parametrize("layout", ["6 8 M F10", "resnet20"])
def test_folding_batch_norms_changes_nothing(layout: str) -> None:
    """Without its batch norms, folded into the weights before them, a network computes what it did with them."""
    network = ann.build(ann.Config(layout=layout, batch_norm=True, feature_scale=0.5), (8, 8, 2), 3)
    randomise_norms(network, torch.Generator().manual_seed(0))
    folded = fold_batch_norms(network)
    x = torch.randn(1, 5, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    assert network.operations_of(nn.BatchNorm2d)
    assert not folded.operations_of(nn.BatchNorm2d)
    torch.testing.assert_close(folded(x)[0], network.eval()(x)[0], rtol=1e-4, atol=1e-4)


class _Seen:
    """Observes every layer's inputs and outputs."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Tensor]] = []

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        self.seen.append((layer, type(module).__name__, inputs_TBN))

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        self.seen.append((layer, "outputs", outputs_TBN))


@pytest.mark.parametrize("layout", ["4 M 8 A F6", "resnet20"])
def test_one_step_is_as_one_of_many(layout: str) -> None:
    """A network without state gives for one time step, and shows its observers, what it does for each of several; it stops where
    it is told to."""
    config = ann.Config(layout=layout, feature_scale=0.25 if layout == "resnet20" else 1, bias=False)
    network = ann.build(config, (8, 8, 3), 5).double().eval()
    inputs_TBN = torch.randn(2, 3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    middle = network.operations[len(network.operations) // 2].name
    for until in (None, middle):
        one, both = _Seen(), _Seen()
        alone_TBN, state = network(inputs_TBN[:1], observers=[one], until=until)
        together_TBN, _ = network(inputs_TBN, 2, observers=[both], until=until)
        assert state == {}
        torch.testing.assert_close(alone_TBN, together_TBN[:1])
        assert [what[:2] for what in one.seen] == [what[:2] for what in both.seen]
        for (*_, alone), (*_, together) in zip(one.seen, both.seen, strict=True):
            torch.testing.assert_close(alone, together[:1])


def test_a_batch_norm_without_weights_before_it_is_refused() -> None:
    """A batch norm that follows an activation cannot be folded, and its name is said."""
    network = Network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2)))
    with pytest.raises(UnknownModuleError, match="_2 is a batch norm that follows no convolution"):
        fold_batch_norms(network)


def qcfs_network(levels: int, layout: str = "6 A 8 M F10") -> Network:
    """A network in float64 whose QCFS scales differ."""
    generator = torch.Generator().manual_seed(levels)
    network = ann.build(ann.Config(layout=layout, activation="qcfs", qcfs_levels=levels), (8, 8, 2), 3).double()
    initialise_analogue(network, generator)
    for activation in network.modules():
        if isinstance(activation, QCFS):
            activation.scale.data = 0.5 + torch.rand((), generator=generator, dtype=torch.float64)
    return network


def outputs_of_layers(network: Network, inputs_TBN: Tensor, time_steps: int = 1) -> dict[str, Tensor]:
    """What every layer gives."""
    seen = _Seen()
    network(inputs_TBN, time_steps, observers=[seen])
    return {layer: given for layer, what, given in seen.seen if what == "outputs"}


@pytest.mark.parametrize("levels", [1, 2, 3, 8])
def test_folding_scales_changes_nothing(levels: int) -> None:
    """A network whose QCFS scales are folded into its weights gives what it gave; every layer gives it in units of its scale."""
    network = qcfs_network(levels)
    folded = fold_scales(network)
    x = torch.randn(1, 5, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, after = outputs_of_layers(network, x), outputs_of_layers(folded, x)
    torch.testing.assert_close(folded(x)[0], network(x)[0])
    for operation in network.operations_of(QCFS):
        layer = network.layers[operation.name]
        torch.testing.assert_close(after[layer] * network.get_parameter(f"parts.{operation.name}.scale"), before[layer])
        assert folded.get_parameter(f"parts.{operation.name}.scale") == 1
    assert len(before) == 3


@pytest.mark.parametrize("time_steps", [1, 2, 3, 8])
def test_rates_of_the_first_layer_are_those_of_qcfs(time_steps: int) -> None:
    """At v0 = 1/2 and L = T a bddi neuron with constant drive has, to the bit, the rate of the folded analogue network."""
    layout = "6 A 8 M F10"
    analogue = fold_scales(qcfs_network(time_steps, layout))
    config = bitnet.Config(**{**bitnet.PUBLISHED, "layout": layout, "initial_membrane_potential": 0.5})
    spiking = bitnet.build(config, (8, 8, 2), 3).double()
    share_weights(analogue, spiking)
    x = torch.randn(1, 5, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    counts = outputs_of_layers(spiking, x, time_steps)["layer1"].sum(dim=0)
    assert torch.equal(counts / time_steps, outputs_of_layers(analogue, x)["layer1"][0])
    assert set(counts.flatten().tolist()) == set(range(time_steps + 1))


def test_scales_that_cannot_be_folded_are_refused() -> None:
    """Outside of a chain, or behind a batch norm, a scale stays where it is, and the network is refused by name."""
    for module in (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), QCFS(4), nn.Flatten(), nn.Linear(2, 2)),
        nn.Sequential(nn.Conv2d(1, 2, 3), QCFS(4), QCFS(2), nn.Flatten(), nn.Linear(2, 2)),
    ):
        with pytest.raises(UnknownModuleError, match=r"of which _[12] is no part"):
            fold_scales(Network(module))
    with pytest.raises(UnknownModuleError, match="chains of layers"):
        fold_scales(ann.build(ann.Config(layout="resnet20", activation="qcfs", feature_scale=0.25), (8, 8, 2), 3))


def test_scales_stay_above_zero() -> None:
    """A QCFS scale that an optimiser brings to 0 or below is brought back."""
    network = qcfs_network(4)
    for activation in network.modules():
        if isinstance(activation, QCFS):
            activation.scale.data.fill_(-1)
    network.project()
    assert all(activation.scale > 0 for activation in network.modules() if isinstance(activation, QCFS))


def test_shared_weights() -> None:
    """Weights go to the layer of the same rank; a missing bias is a bias of 0."""
    source, target = (ann.build(ann.Config(layout="6 8 M F10", bias=bias), (8, 8, 2), 3) for bias in (False, True))
    for parameter in target.parameters():
        nn.init.ones_(parameter)
    share_weights(source, target)
    x = torch.randn(1, 5, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(target(x)[0], source(x)[0])


@pytest.mark.parametrize(
    ("layout", "num_classes", "millions"),
    [
        ("vgg11", 100, 28.5),
        ("vgg13", 10, 28.3),
        ("vgg16", 10, 33.6),
        ("vgg16", 100, 34.0),
        ("vgg19", 10, 39.0),
        ("resnet18", 10, 11.17),
        ("resnet20", 10, 0.27),
        ("resnet34", 10, 21.28),
        ("resnet50", 10, 23.521),
        ("resnet50", 100, 23.7),
        ("resnet101", 10, 42.5),
        ("resnet101", 100, 42.7),
    ],
)
def test_published_sizes(layout: str, num_classes: int, millions: float) -> None:
    """With batch norms, on 32x32 images, every named network has its published number of parameters."""
    num_parameters = ann.footprint(ann.Config(layout=layout, batch_norm=True), (32, 32, 3), num_classes).num_parameters
    assert f"{num_parameters / 1e6:.{len(str(millions).split('.')[1])}f}" == str(millions)


def step_names(pattern: str, **options: Any) -> list[str]:
    network = ann.build(ann.Config(layout="resnet20", feature_scale=0.25, **options), (8, 8, 3), 10)
    return [operation.name for operation in network.operations if re.fullmatch(pattern, operation.name)]


def test_the_switches_of_sengupta() -> None:
    """Junction activations, plain convolutions, dropout and biases of a residual network are there exactly where asked for."""
    assert len(step_names(r".*_junction")) == len(step_names(r"add.*|.*_junction")) / 2 == 9
    without = ann.build(ann.Config(layout="resnet20", feature_scale=0.25, junction_activation=False), (8, 8, 3), 10)
    assert len(without.operations_of(nn.ReLU)) == 1 + 9
    assert step_names(r"conv\d") == ["conv1"]
    assert step_names(r"conv\d", num_plain_convolutions=3) == ["conv1", "conv2", "conv3"]
    assert step_names(r"activation\d", num_plain_convolutions=3) == ["activation1", "activation2", "activation3"]
    dropouts = ann.build(ann.Config(layout="resnet20", feature_scale=0.25, dropout=0.2), (8, 8, 3), 10)
    assert [sources_of(dropouts, operation) for operation in dropouts.operations_of(nn.Dropout)] == [["ReLU"]] * 9
    assert [users_of(dropouts, operation) for operation in dropouts.operations_of(nn.Dropout)] == [["Conv2d"]] * 9
    plain = ann.build(ann.Config(layout="resnet20", feature_scale=0.25, bias=False, batch_norm=False), (8, 8, 3), 10)
    assert not [name for name, _ in plain.named_parameters() if name.endswith("bias")]
    assert not plain.operations_of(nn.BatchNorm2d)


def sources_of(network: Network, operation: Operation) -> list[str]:
    return [type(network.parts[name]).__name__ for name in operation.inputs]


def users_of(network: Network, operation: Operation) -> list[str]:
    return [type(network.parts[other.name]).__name__ for other in network.operations if operation.name in other.inputs]


def test_dropout_where_no_pool_follows() -> None:
    """A layered network drops units of every activation that no pool follows (Sengupta et al.), fully connected ones too."""
    network = ann.build(ann.Config(layout="4 4 M 4 A F5", dropout=0.2), (8, 8, 3), 10)
    kinds = [type(network.parts[operation.name]).__name__ for operation in network.operations]
    followers = [after for activation, after in itertools.pairwise(kinds) if activation == "ReLU"]
    assert followers == ["Dropout", "MaxPool2d", "AvgPool2d", "Dropout"]
    assert kinds.count("Dropout") == 2


def test_dropout_of_linear_layers() -> None:
    """A probability of their own takes the place of dropout behind hidden fully connected layers, and nowhere else."""

    def dropped(**options: float) -> list[float]:
        network = ann.build(ann.Config(layout="4 4 M F5 F6", **options), (8, 8, 3), 10)  # type: ignore[arg-type]
        parts = [network.parts[operation.name] for operation in network.operations_of(nn.Dropout)]
        return [part.p for part in parts if isinstance(part, nn.Dropout)]

    assert dropped(linear_dropout=0.5) == [0.5, 0.5]
    assert dropped(dropout=0.2) == [0.2, 0.2, 0.2]
    assert dropped(dropout=0.2, linear_dropout=0.5) == [0.2, 0.5, 0.5]
    assert dropped(dropout=0.2, linear_dropout=0.0) == [0.2]
    assert "linear_dropout" in ann.Config(layout="4 M").inactive_fields()
    assert "linear_dropout" in ann.Config(layout="resnet18").inactive_fields()
    resolved = [ann.Config(layout="4 F5", dropout=0.2, linear_dropout=given).resolved(100) for given in (None, 0.2)]
    assert resolved[0] == resolved[1]


def test_the_first_pool_of_residual_networks() -> None:
    """It stands before the first unit, halves its map as torchvision's does, and has no weights."""
    config = ann.Config(layout="resnet18", feature_scale=0.0625, batch_norm=True, first_pool=True)
    network, without = (ann.build(each, (33, 32, 3), 10) for each in (config, dataclasses.replace(config, first_pool=False)))
    (pool,) = network.operations_of(nn.MaxPool2d)
    assert sources_of(network, pool) == ["ReLU"]
    shapes = operation_shapes(network, (33, 32, 3))
    assert tuple(shapes[pool.name]) == (4, 17, 16)
    assert network.state_dict().keys() == without.state_dict().keys()
    assert "first_pool" in ann.Config(layout="vgg11").inactive_fields()
    assert "max_pool" in converted_snn.Config(layout="resnet18").inactive_fields()
    assert "max_pool" not in converted_snn.Config(layout="resnet18", first_pool=True).inactive_fields()


def test_bottlenecks_are_torchvisions() -> None:
    """With the first pool, a 7x7 convolution apart, ResNet50 computes what torchvision's does with the same weights."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(num_classes=10, width_per_group=64)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    ours = ann.build(ann.Config(layout="resnet50", batch_norm=True, first_pool=True), (16, 16, 3), 10)
    names = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        parameter.data.copy_(names[torchvisions_name(key)].data)
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours.train()(images[None])[0][0], theirs.train()(images), rtol=1e-3, atol=1e-3)


def torchvisions_name(key: str) -> str:
    """The name of a parameter in torchvision's ResNet."""
    name, kind = key.removeprefix("parts.").rsplit(".", 1)
    if name in ("conv1", "norm1", "output"):
        return f"{ {'conv1': 'conv1', 'norm1': 'bn1', 'output': 'fc'}[name] }.{kind}"
    stage, unit, part, number = re.fullmatch(r"stage(\d)_unit(\d+)_(\w+?)_(\d)", name).groups()  # type: ignore[union-attr]
    where = f"layer{stage}.{int(unit) - 1}"
    if part == "shortcut":
        return f"{where}.downsample.{number}.{kind}"
    return f"{where}.{'conv' if number == '0' else 'bn'}{part[-1]}.{kind}"


def test_small_residual_weights() -> None:
    """Within units the standard deviation is √2 / (k²n), 1x1 shortcuts and all other layers start as without it (Sengupta et al.
    2019, section 4.1)."""
    config = ann.Config(layout="resnet20", feature_scale=2, initial_weights="small_residual")
    network, usual = (ann.build(config, (8, 8, 3), 10) for _ in range(2))
    for each in (network, usual):
        initialise_analogue(each, torch.Generator().manual_seed(0))
    shrink_residual_weights(network)
    weights = usual.state_dict()
    num_small = 0
    for operation in network.operations_of(nn.Conv2d, nn.Linear):
        part = network.parts[operation.name]
        before = weights[f"parts.{operation.name}.weight"]
        if isinstance(part, nn.Conv2d) and "_conv" in operation.name:
            num_small += 1
            assert float(part.weight.detach().std()) == pytest.approx(math.sqrt(2) / (9 * part.out_channels), rel=0.1)
        else:
            assert torch.equal(torch.as_tensor(part.weight), before)
    assert num_small == 18
    assert "initial_weights" in ann.Config(layout="vgg11", initial_weights="small_residual").inactive_fields()
    assert "initial_weights" in bitnet.Config(initial_weights="small_residual").inactive_fields()
    assert "initial_weights" not in config.inactive_fields()


def test_initial_weights() -> None:
    """A k×k convolution with n channels starts with standard deviation √(2 / (k²n)) (Sengupta et al.), biases at 0."""
    network = ann.build(ann.Config(layout="resnet20", feature_scale=4), (8, 8, 3), 10)
    initialise_analogue(network, torch.Generator().manual_seed(0))
    for operation in network.operations_of(nn.Conv2d):
        conv = network.parts[operation.name]
        assert isinstance(conv, nn.Conv2d)
        expected = math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels))
        assert float(conv.weight.detach().std()) == pytest.approx(expected, rel=0.05)
        assert conv.bias is not None
        assert not conv.bias.any()
