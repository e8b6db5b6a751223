"""A plain course-work CNN: the network without any dynamic filter that beginners start from."""

import torch.nn.functional as F
from torch import Tensor, nn


class Cnn5x5(nn.Module):
    """[Convolution, ReLU, max pool 2] for each of `channels`, then Linear, ReLU, Linear.

    images: (B, 3, image_size, image_size) -> scores (B, num_classes). With channels 32, 64, 128, kernel_size
    5, hidden_features 64, image_size 32 and 10 classes it has 390,410 parameters.
    Raises ValueError for no channels, an even kernel_size and an image_size that the pools reduce to nothing.
    """

    def __init__(
        self, num_classes: int, channels: list[int], kernel_size: int, hidden_features: int, image_size: int
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("channels=[]: at least one convolution is needed, e.g. [32, 64, 128]")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size}: must be odd, so that the convolution keeps the size")
        side = image_size // 2 ** len(channels)
        if side < 1:
            smallest = 2 ** len(channels)
            raise ValueError(f"image_size={image_size} is halved {len(channels)} times: use at least {smallest}")
        self.image_size = image_size
        inputs = [3, *channels[:-1]]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, kernel_size, padding=kernel_size // 2) for i, o in zip(inputs, channels, strict=True)
        )
        self.hidden = nn.Linear(channels[-1] * side**2, hidden_features)
        self.fc = nn.Linear(hidden_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (B, num_classes); ValueError for images of another size."""
        if x.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"expected images (B, 3, {self.image_size}, {self.image_size}), got {tuple(x.shape)}; "
                "set model.image_size to the size of the data"
            )
        for convolution in self.convolutions:
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        return self.fc(F.relu(self.hidden(x.flatten(1))))
