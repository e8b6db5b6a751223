"""`python -m analysis dashboard`: a W&B workspace that compares the variants of a project; prints its address.

A project can be narrowed to one study, `wandb:entity/project/study`. Each call saves a further view, and those from
before stay as they are. Needs the package wandb-workspaces and `wandb login`.
"""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dynfilt.run.folder import PREDICTIONS
from dynfilt.run.ownership import DIGEST

from ..reading.metrics import COMPARED, REPORTED, SPLITS, TEST_ACCURACY, Metric, metric_named
from ..reading.predicted import PREDICTED
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
PINNED = ("parameters", "flops", "train_seconds")
COST = "Cost"
MOST_LINES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `dashboard`."""
    parser.add_argument(
        "source", metavar="SOURCE", help=f"{PROJECT_PREFIX}entity/project or {PROJECT_PREFIX}entity/project/study"
    )
    stored = ", ".join(name for name in COMPARED if name not in PREDICTED)
    parser.add_argument(
        "--metric",
        metavar="M",
        help=f"what variants are compared by; default: what the last run declares, else test_accuracy; of: {stored}",
    )


def run(options: argparse.Namespace) -> int:
    """Save the workspace and print its address. Raises ValueError without the package, and as `save` does."""
    entity, project, study = parse_source(options.source)
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise ValueError(INSTALL) from error
    metric = metric_named(options.metric or _declared(options.source))
    if metric.name in PREDICTED:
        raise ValueError(
            f"{metric.name}: is computed from {PREDICTIONS}, which W&B does not have; choose another by --metric"
        )
    print(save(workspace(entity, project, study, metric)))
    return 0


def _declared(source: str) -> str:
    """The metric that the last run of a source declares."""
    entity, project, study = parse_source(source)
    of_study = {"group": study} if study else {}
    with one_line_errors(source):
        api = connect(entity)
        runs = api.runs(f"{entity}/{project}", filters=of_study, order="-created_at", per_page=1, lazy=False)
        try:
            about = next((run.config.get("about") for run in runs), None)
        except ValueError:  # there is no such project yet
            about = None
    declared = about.get("metric") if isinstance(about, Mapping) else None
    return str(declared or TEST_ACCURACY.name)


def workspace(entity: str, project: str, study: str, metric: Metric = TEST_ACCURACY) -> "Workspace":
    """A workspace on all studies of a project, or on one: runs grouped by variant and config, means over seeds with
    their SD, the best by `metric` first, panels on it, accuracy, loss, cost and pictures.

    Asks nothing of a server. Raises ImportError without wandb-workspaces.
    """
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws

    mean_and_sd: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}

    def curves(logged: Metric) -> list[Any]:
        return [
            wr.LinePlot(title=f"{name} {logged.name}", x="epoch", y=[logged.key(split)], **mean_and_sd)
            for split, name in reversed(SPLITS.items())
        ]

    compared, study_of = expr.Summary(metric.name), expr.Metric("Group")
    # Two configs may have one name, as when the primary config changed between them; they are not averaged.
    rows: list[Any] = [expr.Metric("JobType"), expr.Summary(DIGEST)]
    bars = wr.BarPlot(title=metric.words, metrics=[metric.name], **mean_and_sd)
    y = wr.SummaryMetric(metric.name)
    costs = [
        wr.ScatterPlot(title=f"{metric.words} against {title}", x=wr.SummaryMetric(key), y=y, log_x=True)
        for key, title in COST_TITLES.items()
        if key != metric.name
    ]
    pictures = [
        wr.MediaBrowser(title=command, media_keys=[PICTURES + name for name in names], num_columns=1)
        for command, names in DRAWN.items()
    ]
    sections: dict[str, list[Any]] = {logged.label: curves(logged) for logged in REPORTED}
    sections |= {COST: costs, "Pictures": pictures}
    kind = next((each.label for each in REPORTED if metric.name.endswith(f"_{each.name}")), COST)
    sections[kind].insert(0, bars)
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"Variants of {study}" if study else "Variants",
        sections=[ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=expr.And(study_of == study) if study else "",
            groupby=rows if study else [study_of, *rows],
            order=[expr.Ordering(compared, ascending=not metric.higher_is_better)],
            pinned_columns=[f"summary:{column}" for column in dict.fromkeys((metric.name, *PINNED))],
        ),
    )


def save(built: "Workspace") -> str:
    """Save a workspace as a new view of its project and give its address.

    Raises ValueError when there is no API key or no answer, and when the server refuses.
    """
    with one_line_errors(f"{PROJECT_PREFIX}{built.entity}/{built.project}"):
        connect(built.entity)
        return str(built.save().url)
