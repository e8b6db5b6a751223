"""KernelWarehouse against a float64 loop over the cells of each image's kernel, alone and with a shared warehouse."""

import copy
import io
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.kernel_warehouse import KernelWarehouseConv2d, share_cells
from dynfilt.models.resnet import ResNet, resnet18
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def image_output(layer: Any, image: Tensor) -> Tensor:
    """Each cell of the kernel on its own, tap by tap, block of outputs by block of inputs."""
    norm, share = layer.squeeze.norm, layer.assignment_share
    hidden = layer.squeeze.reduce.weight @ image.flatten(1).mean(1)
    hidden = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    scores = layer.head.weight @ hidden.clamp(min=0) + layer.head.bias
    number, outputs, inputs = layer.cells.shape
    kernel = torch.zeros(layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size, dtype=image.dtype)
    cell = 0
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            for o in range(0, kernel.shape[0], outputs):
                for i in range(0, kernel.shape[1], inputs):
                    z = scores[cell * (number + 1) : (cell + 1) * (number + 1)]
                    a = (1 - share) * z / (z.abs().sum() + 1e-3) + share * layer.assignment[cell]
                    mixed = sum(a[j] * layer.cells[j] for j in range(number))  # the last of a is that of zeros
                    kernel[o : o + outputs, i : i + inputs, row, column] = mixed
                    cell += 1
    return F.conv2d(image[None], kernel, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)[0]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("budget", "cell_size"), [(1, 1), (2, 0.5), (0.5, 0.5), (0.25, 1)])
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, budget: float, cell_size: float) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(KernelWarehouseConv2d(**arguments, budget=budget, cell_size=cell_size, assignment_share=0.4))
    assert_equals_the_loop(layer, partial(image_output, layer), images(3))


def test_layers_that_share_a_warehouse_equal_the_loop_and_train_the_same_cells() -> None:
    first, second = KernelWarehouseConv2d(8, 12, 3, padding=1), KernelWarehouseConv2d(12, 8, 1, stride=2)
    share_cells([first, nn.ReLU(), second])
    network = lively(nn.Sequential(first, nn.ReLU(), second))
    assert first.cells is second.cells and first.cells.shape == (9 * 3 * 2 + 2 * 3, 4, 4)  # 12 and 8 have the divisor 4
    assert_equals_the_loop(network, lambda image: image_output(second, image_output(first, image).relu()), images(3))


def static(layer: KernelWarehouseConv2d) -> Tensor:
    """The filter of an image where the attention is fixed."""
    layer.assignment_share.fill_(1)
    return layer.filters(torch.randn(1, layer.in_channels, 4, 4))[0].detach()


@pytest.mark.parametrize("budget", [1, 3])
def test_a_fixed_attention_is_the_kernel_that_was_drawn(budget: float) -> None:
    layers = [KernelWarehouseConv2d(8, 12, 3, budget=budget, initial_scale="corrected") for _ in range(2)]
    share_cells(layers)
    for layer in layers:
        kernels = [torch.randn(12, 8, 3, 3) for _ in range(int(budget))]
        pending = iter(kernels)
        layer.reset_kernels(lambda kernel, pending=pending: kernel.copy_(next(pending)))
        torch.testing.assert_close(static(layer), kernels[0])
        own = layer.cells[layer.first : layer.first + 9 * int(budget)].unflatten(0, (3, 3, -1))
        for number, kernel in enumerate(kernels):  # the further ones lie in the cells that are not assigned
            assert torch.equal(own[:, :, number].permute(2, 3, 0, 1), kernel)


@pytest.mark.parametrize(("budget", "cell_size"), [(1, 1), (4, 1), (1, 0.5), (0.5, 0.5)])
def test_published_cells_are_drawn_by_the_fan_out_of_all_of_a_layers_cells(budget: float, cell_size: float) -> None:
    kernel = torch.randn(16, 8, 3, 3)
    cells = []
    for initial_scale in ("published", "corrected"):
        layer = KernelWarehouseConv2d(8, 16, 3, budget=budget, cell_size=cell_size, initial_scale=initial_scale)
        layer.reset_kernels(lambda drawn: drawn.copy_(kernel))
        cells.append(layer.cells.detach())
    # He's rule gives 2 / fan out: of the kernel's 16 * 9 numbers, of the cells' n * o; corrected fills what stays zero.
    by_fan_out = 16 * 9 / cells[0][:, :, 0].numel()
    torch.testing.assert_close(cells[0], cells[1] * (by_fan_out / max(1, 1 / budget)) ** 0.5)


def test_a_budget_below_one_leaves_the_other_cells_zero() -> None:
    layer = KernelWarehouseConv2d(8, 16, 3, budget=0.5, cell_size=0.5)
    cells = static(layer).unflatten(1, (2, -1)).unflatten(0, (2, -1)).permute(4, 5, 0, 2, 1, 3)
    filled = cells.abs().sum((4, 5)) > 0
    assert filled.sum() == len(layer.cells) == 18
    # Of the four blocks of each tap a diagonal, so that every output and every input is there.
    assert filled.any(2).all() and filled.any(3).all()


@pytest.mark.parametrize(
    ("budget", "cell_size", "parameters"),
    # As the authors' code counts; their README has 11.93, 7.43, 4.08 and 45.86 M.
    [(1, 1, 11_932_148), (0.5, 0.5, 7_431_044), (0.25, 0.5, 4_031_768), (4, 1, 45_862_085)],
)
def test_resnet18_has_the_published_parameters(budget: float, cell_size: float, parameters: int) -> None:
    conv = partial(KernelWarehouseConv2d, budget=budget, cell_size=cell_size)
    with torch.device("meta"):
        network = resnet18(1000, "imagenet", 1.0, conv, "all", 0.0, "none")
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_control_learns_one_filter_for_all_images() -> None:
    layer, x = KernelWarehouseConv2d(8, 12, 3, control="constant", assignment_share=0.5), images(4).float()
    assert layer.choice_names == () and not layer.filters(x).std(0).any()
    before = layer.filters(x).detach()
    layer(x).square().mean().backward()
    assert layer.head.weight.grad is not None and layer.squeeze.norm.bias.grad is not None
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    assert not torch.equal(layer.filters(x), before)
    twin = KernelWarehouseConv2d(8, 12, 3)
    assert [p.shape for p in twin.parameters()] == [p.shape for p in layer.parameters()]


def small_resnet(**options: Any) -> ResNet:
    conv = partial(KernelWarehouseConv2d, assignment_share=0.5, **options)
    return ResNet(10, [(8, 2), (16, 1), (32, 1)], "stride2", 1.0, conv, "all", 0.0, "none")


def test_a_resnet_shares_cells_among_the_layers_that_read_a_stage() -> None:
    by_cells: dict[int, set[str]] = {}
    for name, layer in small_resnet().named_modules():
        if isinstance(layer, KernelWarehouseConv2d):
            by_cells.setdefault(id(layer.cells), set()).add(name)
    of_layer1 = {f"layer1.{block}.conv{number}" for block in (0, 1) for number in (1, 2)}
    assert sorted(by_cells.values(), key=len) == [
        {"layer3.0.conv2"},
        {"layer2.0.conv2", "layer3.0.conv1", "layer3.0.downsample.0"},
        of_layer1 | {"layer2.0.conv1", "layer2.0.downsample.0"},
    ]
    layers = [m for m in small_resnet(sharing="layer").modules() if isinstance(m, KernelWarehouseConv2d)]
    assert len({id(layer.cells) for layer in layers}) == len(layers)


def test_a_shared_warehouse_survives_copies_files_and_training() -> None:
    network, x = small_resnet(), images(8, channels=3).float()
    F.cross_entropy(network(x), torch.arange(8)).backward()
    torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9).step()
    y = network.eval()(x)
    memory = io.BytesIO()
    torch.save(network, memory)
    memory.seek(0)
    loaded = small_resnet().eval()
    loaded.load_state_dict(network.state_dict())
    for same in (copy.deepcopy(network), torch.load(memory, weights_only=False), loaded):
        assert torch.equal(same(x), y)
        assert len(list(same.parameters())) == len(list(network.parameters()))
    assert torch.equal(network.double()(x.double()).argmax(1), y.argmax(1))
    assert len({id(m.cells) for m in network.modules() if isinstance(m, KernelWarehouseConv2d)}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 0}, "budget=0: cells for each cell of a kernel, must be a whole number or 1 divided by one"),
        ({"budget": 1.5}, r"budget=1\.5"),
        ({"budget": 0.4}, r"budget=0\.4"),
        ({"budget": float("inf")}, "budget=inf"),
        ({"cell_size": 0.3}, r"cell_size=0\.3: must be the part of 12 outputs and 8 inputs that a cell has"),
        ({"cell_size": 2}, "cell_size=2"),
        ({"cell_size": 0}, "cell_size=0"),
        ({"assignment_share": 1.1}, r"assignment_share=1\.1"),
        ({"control": "frozen"}, "control='frozen'.*none, constant"),
        ({"sharing": "network"}, "sharing='network'.*stage, layer"),
        ({"reduction": 0}, "reduction=0"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KernelWarehouseConv2d(**{"in_channels": 8, "out_channels": 12, "kernel_size": 3, **changes})


def test_layers_that_differ_share_no_warehouse() -> None:
    with pytest.raises(ValueError, match="share_cells: layers of one warehouse must have the same budget"):
        share_cells([KernelWarehouseConv2d(8, 8, 3), KernelWarehouseConv2d(8, 8, 3, budget=2)])
