"""`python -m analysis dashboard`: a W&B workspace that compares the variants of a project; prints its address.

A project can be narrowed to one study, `wandb:entity/project/study`. Each call saves a further view, and those from
before stay as they are. Needs the package wandb-workspaces and `wandb login`.
"""

import argparse
from typing import TYPE_CHECKING, Any

from ..reading.metrics import ACCURACY, REPORTED, SPLITS, Metric
from ..reading.wandb.mirrored import PICTURES, PROJECT_PREFIX
from ..reading.wandb.online import parse_source
from ..reading.wandb.server import connect, one_line_errors

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

INSTALL = "the dashboard needs wandb-workspaces; install it with: pip install wandb-workspaces"
COST_TITLES = {
    "parameters": "parameters",
    "flops": "FLOPs of one image",
    "train_seconds": "training time in s",
    "latency_ms": "latency of one image in ms",
    "peak_memory_mb": "peak memory in MiB",
}
# The pictures of each command of analysis.
DRAWN = {
    "kernels": ("kernels", "kernels-differences"),
    "responses": ("responses",),
    "attention": (
        "attention-choices",
        "attention-entropy",
        "attention-classes",
        "attention-extremes",
        "attention-checks",
    ),
    "filters": ("filters",),
}
PINNED = ("test_accuracy", "parameters", "flops", "train_seconds")
MOST_LINES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dashboard`."""
    parser.add_argument(
        "source", metavar="SOURCE", help=f"{PROJECT_PREFIX}entity/project or {PROJECT_PREFIX}entity/project/study"
    )


def run(options: argparse.Namespace) -> int:
    """Save the workspace and print its address. Raises ValueError without the package, and as `save` does."""
    entity, project, study = parse_source(options.source)
    try:
        built = workspace(entity, project, study)
    except ImportError as error:
        raise ValueError(INSTALL) from error
    print(save(built))
    return 0


def workspace(entity: str, project: str, study: str) -> "Workspace":
    """A workspace on all studies of a project, or on one: runs grouped by variant, means over seeds with their SD,
    panels on accuracy, loss, cost and pictures.

    Asks nothing of a server. Raises ImportError without wandb-workspaces.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws

    mean_and_sd = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}

    def curves(metric: Metric) -> list[Any]:
        return [
            wr.LinePlot(title=f"{name} {metric.name}", x="epoch", y=[metric.key(split)], **mean_and_sd)
            for split, name in reversed(SPLITS.items())
        ]

    test_accuracy, study_of, variant = expr.Summary("test_accuracy"), expr.Metric("Group"), expr.Metric("JobType")
    test = wr.BarPlot(title="test accuracy", metrics=["test_accuracy"], **mean_and_sd)
    y = wr.SummaryMetric("test_accuracy")
    costs = [
        wr.ScatterPlot(title=f"test accuracy against {title}", x=wr.SummaryMetric(key), y=y, log_x=True)
        for key, title in COST_TITLES.items()
    ]
    pictures = [
        wr.MediaBrowser(title=command, media_keys=[PICTURES + name for name in names], num_columns=1)
        for command, names in DRAWN.items()
    ]
    sections: dict[str, list[Any]] = {metric.label: curves(metric) for metric in REPORTED}
    sections[ACCURACY.label].insert(0, test)
    sections |= {"Cost": costs, "Pictures": pictures}
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {study}" if study else "Variants",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(study_of == study) if study else "",
            groupby=[variant] if study else [study_of, variant],
            order=[expr.Ordering(test_accuracy, ascending=False)],
            pinned_columns=[f"summary:{column}" for column in PINNED],
        ),
    )


def save(built: "Workspace") -> str:
    """Save a workspace as a new view of its project and give its address.

    Raises ValueError when there is no API key or no answer, and when the server refuses.
    """
    with one_line_errors(f"{PROJECT_PREFIX}{built.entity}/{built.project}"):
        connect(built.entity)
        return str(built.save().url)
