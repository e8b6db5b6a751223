"""`mode=test`: evaluate a run's best weights again, by its own config."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from dynfilt.assembly import build_data, load, rebuilding
from dynfilt.config.checks import make
from dynfilt.config.compose import Job
from dynfilt.data.bundle import Split
from dynfilt.layers.formulation import force_formulation
from dynfilt.run.folder import TEST, RunFolder
from dynfilt.run.provenance import collect_provenance
from dynfilt.run.record import write_json
from dynfilt.run.recovery import warn
from dynfilt.seeding import seed_global_generators
from dynfilt.train.evaluation import Evaluator, Stopped
from dynfilt.train.settings import resolve_device
from dynfilt.wording import one_line

MAY_DIFFER = ("data.root", "data.cache", "trainer.device", "trainer.eval_batch_size")
IGNORED = ("mode", "run")


def retest(job: Job) -> None:
    """Write test.json with the loss and accuracy on the test split, by parts of the channels and with the mean choice
    where a result has these.

    Raises ValueError for any override that is not `run` or one of MAY_DIFFER, and when the run has no weights.
    """
    if job.config["run"] is None:
        raise ValueError("mode=test needs run=FOLDER, the folder of the run to evaluate")
    refused = [key for key in job.overridden if key not in MAY_DIFFER + IGNORED]
    if refused:
        raise ValueError(
            f"{', '.join(refused)}: mode=test uses the run's own config; only {', '.join(MAY_DIFFER)} may differ"
        )
    folder = RunFolder(Path(job.config["run"]))
    config = folder.config_to_build()
    for key in MAY_DIFFER:
        group, name = key.split(".")
        if key in job.overridden:
            if name not in config[group]:
                raise ValueError(f"{key}: the data of {folder.path} has no such key; leave it out")
            config[group][name] = job.config[group][name]
    device = resolve_device(config["trainer"]["device"])
    model = load(folder.path, str(device))
    with rebuilding(folder, "data and trainer"):
        data = build_data(config, device)
        settings = make(config["trainer"], "trainer")
    settings.set_arithmetic(device)
    evaluator = Evaluator.from_settings(data, settings, device)
    with force_formulation(settings.formulation):
        seed_global_generators(device, config["seed"], "retest")  # for a layer that draws in evaluation too
        evaluation = evaluator.evaluate(model, data.test)
        others = evaluator.partial_accuracies(model, data.test)
        others |= mean_choice_accuracy(evaluator, model, data.test, folder)
    result = {
        **evaluation.numbers("test"),
        **others,
        "checkpoint": folder.name_of(folder.best_checkpoint),
        "provenance": collect_provenance(device),
    }
    write_json(folder.test_file, result)
    print(f"{folder.path}: test accuracy {evaluation.accuracy:.2%}, test loss {evaluation.loss:.4f}; written to {TEST}")


def mean_choice_accuracy(
    evaluator: Evaluator, model: nn.Module, split: Split, folder: RunFolder, stop: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """Whether the network needs what its images decide; of layers that do not let that be asked only a warning."""
    try:
        return evaluator.mean_choice_accuracy(model, split, stop)
    except Stopped:
        raise
    except Exception as error:  # a layer of the user's own may raise anything, which must not lose a trained run
        warn(folder, f"no test_accuracy_mean_choice: {one_line(error)}")
        return {}
