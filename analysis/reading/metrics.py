"""The metrics of an evaluation, each declared once: curves, tables, reports and dashboards take them from here."""

from dataclasses import dataclass

# Split as metrics.jsonl abbreviates it -> its name.
SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class Metric:
    """A number that training logs for a split under the key `<split>_<name>`, as `Evaluation.numbers` names it.

    `label` and `unit` name an axis; a fraction, 0 to 1, is shown in percent. `spans_decades` allows a logarithmic axis.
    `is_in_result` is False for what the trainer alone logs: W&B's summary keeps its last value, result.json has none.
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
