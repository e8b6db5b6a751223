"""What each evaluation measures, declared once: curves, tables, reports and dashboards take it from here."""

from dataclasses import dataclass

# Split as metrics.jsonl abbreviates it -> its name.
SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation records for each split, under the key `<split>_<name>`.

    `label` and `unit` name an axis; a fraction, 0 to 1, is shown in percent. `spans_decades` allows a logarithmic axis.
    `is_in_result` tells whether result.json has it too: W&B's summary also keeps the last value of what has not.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool
    is_fraction: bool = False
    spans_decades: bool = False
    is_in_result: bool = True

    @property
    def axis(self) -> str:
        """Name of an axis: `Accuracy (%)`."""
        return f"{self.label} ({self.unit})"

    @property
    def direction(self) -> str:
        """An arrow to where it is better."""
        return "↑" if self.higher_is_better else "↓"

    def key(self, split: str) -> str:
        """Its key in a line of metrics.jsonl, for a split of SPLITS."""
        return f"{split}_{self.name}"


LOSS = Metric("loss", "Loss", "cross-entropy", higher_is_better=False, spans_decades=True)
ACCURACY = Metric("accuracy", "Accuracy", "%", higher_is_better=True, is_fraction=True)
METRICS = (LOSS, ACCURACY)
# Reports and dashboards begin with what should be high.
REPORTED = tuple(sorted(METRICS, key=lambda metric: not metric.higher_is_better))
