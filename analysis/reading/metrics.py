"""The metrics of an evaluation and what variants are compared by, each declared once: all of analysis asks here."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

# Split as metrics.jsonl abbreviates it -> its name.
SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Metric:
    """A number that training logs for a split under the key `<split>_<name>`, as `Evaluation.numbers` names it.

    `label` and `unit` name an axis; a fraction, 0 to 1, is shown in percent. `spans_decades` allows a logarithmic axis.
    `is_in_result` is False for what the trainer alone logs: W&B's summary keeps its last value, result.json has none.
    Values are printed with so many `decimals`; `meaning` begins the sentence that says what was measured.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    is_fraction: bool = False
    spans_decades: bool = False
    is_in_result: bool = True
    decimals: int = 2
    meaning: str = ""

    @property
    def axis(self) -> str:
        """Name of an axis: `Accuracy (%)`."""
        return f"{self.label} ({self.unit})"

    @property
    def words(self) -> str:
        """Its name within a sentence: `test accuracy`."""
        return self.label.lower()

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.is_fraction else 1.0

    @property
    def difference_unit(self) -> str:
        """The unit of a difference of two values."""
        return "points" if self.is_fraction else self.unit

    @property
    def direction(self) -> str:
        """An arrow to where it is better."""
        return "↑" if self.higher_is_better else "↓"

    def key(self, split: str) -> str:
        """Its key in a line of metrics.jsonl, for a split of SPLITS."""
        return f"{split}_{self.name}"


LOSS = Metric(
    "loss", "Loss", "cross-entropy", higher_is_better=False, spans_decades=True, decimals=3, meaning="Cross-entropy"
)
ACCURACY = Metric("accuracy", "Accuracy", "%", higher_is_better=True, is_fraction=True, meaning="Accuracy")
METRICS = (LOSS, ACCURACY)
# Reports and dashboards begin with what should be high.
REPORTED = tuple(sorted(METRICS, key=lambda metric: not metric.higher_is_better))

TEST = (
    "on the test set, evaluated once, at the end of training, with the weights that were best on the validation split; "
    "nothing was selected on the test set."
)
# Split as result.json abbreviates it -> how a label begins, and where a value is from.
RESULT_SPLITS = {
    "test": ("Test", TEST),
    "val": ("Validation", "on the validation split, with the weights that were best there: better than on new images."),
    "train": (
        "Training",
        "on the training split, without augmentation, with the weights that were best on the validation split.",
    ),
}
# Parts of a colour image that models of channel subsets are tested on; with all three channels it is the test accuracy.
CHANNEL_SUBSETS = ("R", "G", "B", "RG", "RB", "GB")
# Bins of confidence of the calibration error.
BINS = 15
OWN_DEVICE = "as each run measured it on its own device, beside whatever else ran there."


def _of_result() -> Iterator[Metric]:
    """What variants are compared by: numbers of result.json, and what `predicted` computes."""
    for split, (begins, place) in RESULT_SPLITS.items():
        for metric in REPORTED:
            if metric.is_in_result:
                label, meaning = f"{begins} {metric.label.lower()}", f"{metric.meaning or metric.label} {place}"
                yield replace(metric, name=metric.key(split), label=label, meaning=meaning)
    last = "Accuracy on the test set with the last weights, on which nothing was selected."
    yield replace(ACCURACY, name="last_test_accuracy", label="Last weights' test accuracy", meaning=last)
    top = f"The true class is among the five of highest score {TEST}"
    yield replace(ACCURACY, name="top5_accuracy", label="Top-5 accuracy", meaning=top)
    missing = f"Mean accuracy with only the channels {', '.join(CHANNEL_SUBSETS)} of each image, {TEST}"
    label = "Accuracy with missing channels"
    yield replace(ACCURACY, name="missing_channels_accuracy", label=label, meaning=missing)
    bins = f"Expected calibration error, in {BINS} bins of equal width (Guo et al. 2017), {TEST}"
    yield Metric("calibration_error", "Calibration error", "%", higher_is_better=False, is_fraction=True, meaning=bins)
    yield Metric("latency_ms", "Latency", "ms", higher_is_better=False, meaning=f"Latency {OWN_DEVICE}")
    yield Metric(
        "train_seconds", "Training time", "s", higher_is_better=False, decimals=1, meaning=f"Training time {OWN_DEVICE}"
    )


# Name, as `about.metric` and `--metric` have it -> metric.
COMPARED = {metric.name: metric for metric in _of_result()}
TEST_ACCURACY = COMPARED["test_accuracy"]


def metric_named(name: str) -> Metric:
    """The metric of this name. Raises ValueError for an unknown one."""
    if name not in COMPARED:
        raise ValueError(f"no metric {name}; it may be {', '.join(COMPARED)}")
    return COMPARED[name]
