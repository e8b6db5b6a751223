from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dynfilt.data.augment import normalise
from dynfilt.data.bundle import ImageData, Split
from dynfilt.layers.dyconv import DYConv2d
from dynfilt.train.evaluation import Evaluation, Evaluator
from tests.tiny_run import TinyNet, tiny_data

CPU = torch.device("cpu")


@pytest.fixture
def data() -> ImageData:
    return tiny_data(num_classes=4, split_seed=0, flip=True, pad=2)


@pytest.fixture
def net() -> TinyNet:
    torch.manual_seed(0)
    net = TinyNet(num_classes=4, dropout=0.5)
    net(torch.randn(8, 3, 32, 32))  # batch statistics of its own
    return net


def loop(net: nn.Module, data: ImageData, split: Split) -> Evaluation:
    """One image after the other, in float64 from the scores on."""
    net.eval()
    losses, predictions, highest, probabilities, ranks = [], [], [], [], []
    for image, label in zip(split.images, split.labels, strict=True):
        scores = net(normalise(image[None], data.mean, data.std))[0].detach().double()
        shares = torch.exp(scores) / torch.exp(scores).sum()
        losses.append(-torch.log(shares[label]))
        predictions.append(int(max(range(len(scores)), key=lambda c: scores[c])))
        highest.append(max(shares))
        probabilities.append(shares[label])
        ranks.append(sorted(range(len(scores)), key=lambda c: -float(scores[c])).index(int(label)))
    right = [int(p == label) for p, label in zip(predictions, split.labels.tolist(), strict=True)]
    loss = float(sum(losses)) / len(losses)
    of_images = (torch.tensor(predictions), torch.stack(highest), torch.stack(probabilities), torch.tensor(ranks))
    return Evaluation(loss, sum(right) / len(right), *of_images)


@pytest.mark.parametrize("eval_batch_size", [1, 7, 1000])
def test_it_equals_a_loop_over_the_images(
    eval_batch_size: int, data: ImageData, net: TinyNet, settings: Callable
) -> None:
    evaluator = Evaluator.from_settings(data, settings(eval_batch_size=eval_batch_size), CPU)
    wanted = loop(net, data, data.val)
    found = evaluator.evaluate(net, data.val)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-5)
    assert found.accuracy == wanted.accuracy
    assert 0 < found.accuracy < 1
    assert found.predictions.tolist() == wanted.predictions.tolist()
    torch.testing.assert_close(found.true_class_probability.double(), wanted.true_class_probability)
    torch.testing.assert_close(found.probability.double(), wanted.probability)
    assert found.true_class_rank.tolist() == wanted.true_class_rank.tolist()
    assert max(found.true_class_rank.tolist()) > 0


def test_a_network_that_tells_no_class_from_another_has_the_accuracies_of_chance(
    data: ImageData, net: TinyNet, settings: Callable
) -> None:
    nn.init.zeros_(net.fc.weight)
    nn.init.zeros_(net.fc.bias)
    found = Evaluator.from_settings(data, settings(), CPU).evaluate(net, data.val)
    assert found.true_class_rank.tolist() == data.val.labels.tolist()
    assert ((found.true_class_rank == 0) == (found.predictions == data.val.labels)).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training: bool, data: ImageData, net: TinyNet, settings: Callable) -> None:
    net.train(training)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    Evaluator.from_settings(data, settings(), CPU).evaluate(net, data.val)
    assert net.training == training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_a_cap_takes_images_evenly_from_the_split(data: ImageData, net: TinyNet, settings: Callable) -> None:
    found = Evaluator.from_settings(data, settings(max_eval_images=5), CPU).evaluate(net, data.val)
    # 0, 4.75, 9.5, 14.25, 19 to the nearest even
    wanted = loop(net, data, data.val.subset(torch.tensor([0, 5, 10, 14, 19])))
    assert found.predictions.tolist() == wanted.predictions.tolist()
    assert found.accuracy == wanted.accuracy
    all_of_it = Evaluator.from_settings(data, settings(max_eval_images=1000), CPU).evaluate(net, data.val)
    assert len(all_of_it.predictions) == len(data.val)


class BatchMixer(nn.Module):
    """Scores that count the images of the batch, and tell which images it has seen."""

    mixes_batch = True

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.seen += x.mean(dim=(1, 2, 3)).tolist()
        return torch.eye(4)[torch.zeros(len(x), dtype=torch.int64)] * 3


def test_a_model_that_mixes_its_batch_sees_training_batches_in_one_shuffled_order(
    data: ImageData, settings: Callable
) -> None:
    mixer = BatchMixer()
    evaluator = Evaluator.from_settings(data, settings(batch_size=6, eval_batch_size=1000), CPU)
    found = evaluator.evaluate(mixer, data.val)
    assert mixer.sizes == [6, 6, 6, 2]
    stored = normalise(data.val.images, data.mean, data.std).mean(dim=(1, 2, 3)).tolist()
    assert sorted(mixer.seen) == pytest.approx(sorted(stored))
    assert mixer.seen != pytest.approx(stored)
    # Results stand in the split's order although the images did not come in it.
    expected = torch.where(data.val.labels == 0, 1.0, 0.0) * 3
    probability = torch.exp(expected) / (torch.exp(torch.tensor(3.0)) + 3)
    torch.testing.assert_close(found.true_class_probability, probability)
    again = BatchMixer()
    torch.manual_seed(99)
    evaluator.evaluate(again, data.val)
    assert again.seen == mixer.seen


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_an_error(bad: float, data: ImageData, net: TinyNet, settings: Callable) -> None:
    with torch.no_grad():
        net.fc.weight.fill_(bad)
    with pytest.raises(FloatingPointError, match=r"the evaluation loss is (nan|inf)"):
        Evaluator.from_settings(data, settings(), CPU).evaluate(net, data.val)


class Mixed(nn.Module):
    """Scores from one layer of mixed kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = DYConv2d(3, 4, 3, num_kernels=3, temperature=1e-3)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images).mean((2, 3))


@pytest.mark.parametrize("max_images", [None, 7])
def test_with_the_mean_choice_every_image_gets_one_kernel(
    max_images: int | None, data: ImageData, settings: Callable
) -> None:
    torch.manual_seed(1)
    model = Mixed()
    evaluator = Evaluator.from_settings(data, settings(max_eval_images=max_images, eval_batch_size=3), CPU)
    split = evaluator.subset_to_evaluate(data.val)
    images = normalise(split.images, data.mean, data.std)
    with torch.no_grad():
        attention = model.layer.attention
        logits = attention.score(attention.reduce(images.mean((2, 3))).relu())
        attention.score.bias -= logits.mean(0)  # so that images differ in their attention
        pi = model.layer.choice(images)
        kernel = torch.einsum("k,koihw->oihw", pi.mean(0), model.layer.weight)
        bias = pi.mean(0) @ model.layer.bias
        scores = nn.functional.conv2d(images, kernel, bias).mean((2, 3))
    accuracy = (scores.argmax(1) == split.labels).double().mean().item()
    assert evaluator.mean_choice_accuracy(model, data.val) == {"test_accuracy_mean_choice": accuracy}
    assert pi.std(0).min() > 0.01 and evaluator.evaluate(model, data.val).accuracy != accuracy
    static = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert evaluator.mean_choice_accuracy(static, data.val) == {}


def test_a_layer_that_breaks_the_protocol_is_named(data: ImageData, settings: Callable) -> None:
    model = Mixed()
    model.layer.apply_choice = lambda x, choice: x  # type: ignore[method-assign]
    model.layer.forward = lambda x: x[:, :1] + torch.zeros(4, 1, 1)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"layer layer: DYConv2d: apply_choice\(x, choice\(x\)\) must be forward"):
        Evaluator.from_settings(data, settings(), CPU).mean_choice_accuracy(model, data.val)
