"""Studies that the formats print: what they hold, and how they are laid out."""

from analysis.comparing.arrangement import Layout

ACCURACIES = {
    "static_3x3": [0.6712, 0.6680, 0.6763],
    "dynamic_3x3": [0.6897, 0.6911, 0.6935],
    "detached_3x3": [0.6534, 0.6480, 0.6621],
    "bypass_3x3": [0.6921, 0.6875, 0.6931],
}
FILTERS = {"static_3x3": "SharedConv2d", "bypass_3x3": "SharedConv2d"}
COSTS = {"static_3x3": (157_514, 14_300_000), "bypass_3x3": (2_516_810, 14_302_359)}
LAYOUTS = {"two_way": Layout("model.num_kernels", "optimizer.lr")}


def predictions(accuracy: float, shift: int) -> dict[str, list[int]]:
    """10,000 predictions of two classes, of which a fraction `accuracy` is right, another one for each shift."""
    right = [(7919 * image + 311 * shift) % 10_000 < round(10_000 * accuracy) for image in range(10_000)]
    labels = [image % 2 for image in range(10_000)]
    best = [label if is_right else 1 - label for label, is_right in zip(labels, right, strict=True)]
    return {"label": labels, "best_class": best}
