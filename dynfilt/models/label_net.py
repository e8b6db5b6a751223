"""The label-guided network: one response map a class, one shared score predictor."""

from __future__ import annotations

from typing import Literal, Self

from torch import Tensor, nn

from dynfilt.layers.arguments import require_choice
from dynfilt.models.backbone import FEATURE_CHANNELS, FEATURE_SIZE, Backbone

Frozen = Literal["nothing", "backbone", "weights", "all_but_batch_norm"]


class LabelNet(nn.Module):
    """Score every class from its own response map with one shared predictor.

    images: (B, 3, 32, 32) -> scores (B, num_classes). `responses` maps features (B, 64, 8, 8) to (B, R, 8, 8);
    the predictor FC, ReLU, FC turns each map into `scores_per_response` scores, R * scores_per_response classes.
    At test time the filters depend on no image, so the trained network is a static 64 -> R convolution.
    `frozen: backbone` keeps the backbone's weights and its BatchNorm statistics as they were loaded, `weights` keeps
    its weights and has BatchNorm follow the images, `all_but_batch_norm` keeps its convolutions only. `adapter` adds a
    trainable 1x1 convolution of the features to them, zero at the start. Raises ValueError for another word for
    `frozen`.
    """

    def __init__(
        self,
        backbone_blocks: int,
        weights: str,
        responses: nn.Module,
        hidden_features: int,
        scores_per_response: int,
        frozen: Frozen = "nothing",
        adapter: bool = False,
    ) -> None:
        super().__init__()
        require_choice("frozen", frozen, Frozen)
        self.backbone = Backbone(backbone_blocks, weights)
        self.frozen = frozen
        for layer in self.backbone.modules() if frozen != "nothing" else ():
            trains = frozen == "all_but_batch_norm" and isinstance(layer, nn.BatchNorm2d)
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(trains)
        self.responses = responses
        self.predictor = nn.Sequential(
            nn.Linear(FEATURE_SIZE * FEATURE_SIZE, hidden_features),
            nn.ReLU(),
            nn.Linear(hidden_features, scores_per_response),
        )

        self.adapter = nn.Conv2d(FEATURE_CHANNELS, FEATURE_CHANNELS, 1) if adapter else None
        for parameter in self.adapter.parameters() if self.adapter is not None else ():
            nn.init.zeros_(parameter)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, except for a frozen backbone, whose BatchNorm keeps its statistics."""
        super().train(mode)
        if self.frozen == "backbone":
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        v = self.backbone(images)
        maps = self.responses(v if self.adapter is None else v + self.adapter(v))
        return self.predictor(maps.flatten(2)).flatten(1)
