"""The course lab's network: a ResNet-18 stem, one 3x3 filter, a linear classifier."""

from __future__ import annotations

from torch import Tensor, nn

from dynfilt.layers.arguments import require_count
from dynfilt.layers.dropout import Dropout
from dynfilt.models.backbone import FEATURE_SIZE, Backbone


class LabNet(nn.Module):
    """Classify through the maps that one filter, or `num_filters` of them, make of the backbone's features.

    images: (B, 3, 32, 32) -> scores (B, num_classes). `filter` maps features (B, 64, 8, 8) to (B, num_filters, 8, 8);
    `second_head`, if given, adds its own scores from the same features (the control of equal capacity). `dropout` acts
    before the classifier. Raises ValueError when the filter gives maps of another shape.
    """

    def __init__(
        self,
        num_classes: int,
        backbone_blocks: int,
        weights: str,
        filter: nn.Module,
        second_head: nn.Module | None,
        num_filters: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_count("num_filters", num_filters, "filter")
        self.backbone = Backbone(backbone_blocks, weights)
        self.filter = filter
        self.num_filters = num_filters
        self.dropout = Dropout(dropout)
        self.classifier = nn.Linear(num_filters * FEATURE_SIZE * FEATURE_SIZE, num_classes)
        self.second_head = second_head

    @property
    def mixes_batch(self) -> bool:
        """Whether a score depends on the other images of the batch."""
        return bool(getattr(self.filter, "mixes_batch", False))

    def forward(self, images: Tensor) -> Tensor:
        v = self.backbone(images)
        response = self.filter(v)
        wanted = (self.num_filters, FEATURE_SIZE, FEATURE_SIZE)
        if response.shape[1:] != wanted:
            raise ValueError(
                f"model.filter: gives maps of {tuple(response.shape[1:])}, but the classifier "
                f"reads {wanted}: padding must be (kernel_size - 1) / 2 and out_channels {self.num_filters}"
            )
        scores = self.classifier(self.dropout(response.flatten(1)))
        return scores if self.second_head is None else scores + self.second_head(v)
