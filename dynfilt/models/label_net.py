"""The label-guided network: one response map a class, one shared score predictor."""

from __future__ import annotations

from torch import Tensor, nn

from dynfilt.models.backbone import FEATURE_SIZE, Backbone


class LabelNet(nn.Module):
    """Score every class from its own response map with one shared predictor.

    images: (B, 3, 32, 32) -> scores (B, num_classes). `responses` maps features (B, 64, 8, 8) to (B, R, 8, 8);
    the predictor FC, ReLU, FC turns each map into `scores_per_response` scores, R * scores_per_response classes.
    At test time the filters depend on no image, so the trained network is a static 64 -> R convolution.
    """

    def __init__(
        self,
        backbone_blocks: int,
        weights: str,
        responses: nn.Module,
        hidden_features: int,
        scores_per_response: int,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(backbone_blocks, weights)
        self.responses = responses
        self.predictor = nn.Sequential(
            nn.Linear(FEATURE_SIZE * FEATURE_SIZE, hidden_features),
            nn.ReLU(),
            nn.Linear(hidden_features, scores_per_response),
        )

    def forward(self, images: Tensor) -> Tensor:
        maps = self.responses(self.backbone(images))
        return self.predictor(maps.flatten(2)).flatten(1)
