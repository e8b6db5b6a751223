"""BatchNorm statistics re-estimated: equal to those computed directly, and given back."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from analysis.filters.checks import _training_batches, batch_norms, reestimated


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.9), nn.Conv2d(4, 2, 1))
    network.append(nn.BatchNorm2d(2))
    network[1].running_mean.fill_(7.0)
    return network.eval()


def test_statistics_are_those_of_all_images(network: nn.Sequential, noise: Callable[..., Tensor]) -> None:
    images = noise(12, 3, 6, 6)
    with reestimated(network, images.split(4)):
        first = network[0](images)
        torch.testing.assert_close(network[1].running_mean, first.mean((0, 2, 3)))
        variances = torch.stack([batch.var((0, 2, 3)) for batch in first.split(4)]).mean(0)
        torch.testing.assert_close(network[1].running_var, variances)
        # The second layer saw what the first one put out with each batch's own statistics, without dropout.
        shown = []
        for batch in first.split(4):
            spread = batch.var((0, 2, 3), correction=0, keepdim=True) + network[1].eps
            shown.append(network[3]((batch - batch.mean((0, 2, 3), keepdim=True)) / spread.sqrt()))
        torch.testing.assert_close(network[4].running_mean, torch.cat(shown).mean((0, 2, 3)))
        assert not any(layer.training for layer in network.modules())


def test_the_old_statistics_come_back(network: nn.Sequential, noise: Callable[..., Tensor]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = noise(8, 3, 6, 6)
    output = network(images)
    with pytest.raises(KeyError), reestimated(network, images.split(4)):
        assert not torch.allclose(network(images), output)
        raise KeyError
    assert torch.equal(network(images), output)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [layer.momentum for layer in batch_norms(network)] == [0.3, 0.1]
    assert not any(layer.training for layer in network.modules())


def test_statistics_of_few_training_images_are_of_all_of_them(by_hand: Callable) -> None:
    images = torch.randint(0, 256, (60, 3, 4, 4), dtype=torch.uint8)
    run = by_hand(nn.Flatten(), images, torch.arange(60) % 2)
    assert [len(batch) for batch in _training_batches(run, 100)] == [60]
