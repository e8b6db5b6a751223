"""What Hydra calls: the path to declared sweeps, a sweeper that composes once, launchers that run jobs in processes."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from types import ModuleType
from typing import Any, ClassVar, TypeVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dynfilt.config.about import check_about, check_rows, no_row, rows_meant
from dynfilt.config.compose import Job
from dynfilt.config.errors import explain
from dynfilt.installation import SWEEPS
from dynfilt.launch.jobs import JobComposer, Overrides, PoolJob, expand
from dynfilt.launch.outcome import JobOutcome, JobState, varying_parts
from dynfilt.launch.pool_settings import PoolSettings, QueueSettings, finished_run, run_unfinished
from dynfilt.launch.rerun import SweepRerun, is_rerun
from dynfilt.launch.slurm import Allocation, array_id, submit, tell_undone, wait_for
from dynfilt.run.identity import digest, flatten, variant_name, with_todays_numbers
from dynfilt.run.plan import PlannedRun, Planner
from dynfilt.run.standing import CHANGED
from dynfilt.run.stopping import StopSignals

# Hydra builds plugins of this namespace only; ours live here, and a module of that name holds them.
NAMESPACE = "hydra_plugins.dynfilt"
T = TypeVar("T")


class DeclaredSweeps(SearchPathPlugin):
    """Finds the declared sweeps by name alone, after the configs in the user's own folder."""

    __module__ = NAMESPACE
    own: ClassVar[str | None] = None  # what -cd names; Hydra puts it last

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append both folders."""
        for folder in (self.own, str(SWEEPS)):
            if folder and os.path.isdir(folder):
                search_path.append("dynfilt", folder)


class Grid(Sweeper):
    """Runs every combination of the swept values, for each variant: composed once, then plain values applied to that.

    `params` maps keys to swept values; `variants` lists overrides that belong together, e.g. a cost twin's
    `{model/conv: static, model.width: 2.0}`. `rows` names the variants to run of all these, as tables print them.
    """

    __module__ = NAMESPACE
    stop: ClassVar[StopSignals]
    outcomes: ClassVar[list[JobOutcome]]
    planned: ClassVar[list[PlannedRun]]

    def __init__(
        self, params: dict[str, Any] | None, variants: list[dict[str, Any]] | None, rows: str | list[str] | None
    ) -> None:
        if not isinstance(params, Mapping | None):
            raise ValueError(f"hydra.sweeper.params={params}: must be a mapping, such as {{seed: 0,1,2}}")
        if not isinstance(variants, Sequence | None) or not all(isinstance(each, Mapping) for each in variants or ()):
            raise ValueError(
                f"hydra.sweeper.variants={variants}: must be a list of mappings, such as [{{model: resnet8}}]"
            )
        self.params, self.variants = params or {}, variants or [{}]
        self.rows = [rows] if isinstance(rows, str) else rows
        if self.rows is not None and not _are_names(self.rows):
            raise ValueError(f"hydra.sweeper.rows={rows}: must be names of rows, such as [resnet8,'resnet8,conv=se']")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra composed for all jobs, and make the launcher."""
        self.mode = config.mode
        self.composer = JobComposer(hydra_context.config_loader, config)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plan or run all jobs; what came of them is in `planned` and `outcomes`.

        Raises what is wrong with any job's overrides before the first one starts.
        """
        combinations = self._expand([*_overrides(self.params), *arguments])
        jobs = [self.composer.job(combination) for combination in _with_bar(combinations, "composing")]
        names = [" ".join(filter_overrides(combination)) for combination in combinations]
        _require_each_run_once(names, jobs)
        self._check_rows(jobs)
        chosen = self._chosen(jobs)
        combinations = list(compress(combinations, chosen))
        names, jobs = list(compress(names, chosen)), list(compress(jobs, chosen))
        rerun = SweepRerun.of(jobs)
        if rerun and all(map(is_rerun, jobs)):
            combinations, jobs = self._without_what_is_done(combinations, jobs, rerun)
        if self.mode == "plan":
            self._plan(combinations, names, jobs)
            return
        if isinstance(self.launcher, QueueLauncher):
            outcomes = self.launcher.run(names, jobs, self.stop)
        else:
            returns = self.launcher.launch(combinations, initial_job_idx=0)
            outcomes = [_outcome(name, answer) for name, answer in zip(names, returns, strict=True)]
        done_anew = rerun.done() if rerun else [False] * len(jobs)
        self.outcomes.extend(map(_by_now, outcomes, jobs, done_anew))
        if rerun:
            rerun.end(self.outcomes)

    def _expand(self, arguments: Sequence[str]) -> list[Overrides]:
        return expand(arguments, [_overrides(each) for each in self.variants], self.composer.loader)

    def _without_what_is_done(
        self, combinations: Sequence[Overrides], jobs: Sequence[Job], rerun: SweepRerun
    ) -> tuple[list[Overrides], list[Job]]:
        """The jobs of a rerun, of which those that it had finished when it was interrupted are not begun anew again,
        unless their code has changed since."""
        done = rerun.done()
        if self.mode != "plan":
            rerun.begin()
        if any(done):
            print(
                f"{sum(done)} of {len(jobs)} runs are done by this rerun already, which was interrupted; to begin all "
                f"anew, delete {rerun.file}",
                flush=True,
            )
        kept = f"rerun={CHANGED}"
        return [
            (*(each for each in combination if not each.startswith("rerun=")), kept) if is_done else combination
            for combination, is_done in zip(combinations, done, strict=True)
        ], [
            replace(job, config={**job.config, "rerun": CHANGED}) if is_done else job
            for job, is_done in zip(jobs, done, strict=True)
        ]

    def _check_rows(self, jobs: Sequence[Job]) -> None:
        """Raise ValueError when `about` names a row that neither this command nor the whole sweep makes."""
        check_about(jobs[0].config["about"])
        try:
            check_rows(jobs[0].config["about"], map(_variant, jobs))
        except ValueError:
            params = _overrides({key: value for key, value in self.params.items() if key != "seed"})
            whole = [self.composer.job(combination) for combination in self._expand(params)]
            check_rows(jobs[0].config["about"], map(_variant, [*jobs, *whole]))

    def _chosen(self, jobs: Sequence[Job]) -> list[bool]:
        """Which jobs are of the rows asked for. Raises ValueError for a name that is none of theirs."""
        variants = [_variant(job) for job in jobs]
        named = set(variants) if self.rows is None else set[str]()
        for row in self.rows or ():
            named.update(meant := rows_meant(with_todays_numbers(row), set(variants)))
            if not meant:
                raise ValueError(no_row("hydra.sweeper.rows", row, variants))
        return [variant in named for variant in variants]

    def _plan(self, combinations: Sequence[Overrides], names: Sequence[str], jobs: Sequence[Job]) -> None:
        from dynfilt import experiment

        planner = Planner()
        checked: set[str] = set()
        for combination, name, job in _with_bar(list(zip(combinations, names, jobs, strict=True)), "planning"):
            try:
                if not checked.issuperset(combination):  # what was checked with one job holds for the others
                    experiment.check(job.config, job.choices)
                    checked.update(combination)
                self.planned.append(experiment.plan(job, planner))
            except ValueError as error:
                print(f"failed: {name}: {error}", file=sys.stderr)
                self.outcomes.append(JobOutcome(name, JobState.FAILED, str(error)))


class QueueLauncher(Launcher):
    """Runs jobs one after the other, each in a process of its own with all that a single run would take."""

    __module__ = NAMESPACE
    settings_type: ClassVar[type[QueueSettings]] = QueueSettings

    def __init__(self, **settings: Any) -> None:
        self.settings = self.settings_type(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Nothing: jobs come composed."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Raise ValueError: it takes composed jobs from its own sweeper."""
        raise ValueError("dynfilt's launchers need hydra/sweeper=grid")

    def run(self, names: Sequence[str], jobs: Sequence[Job], stop: StopSignals) -> list[JobOutcome]:
        """What came of each job; those whose run is done start no process."""
        return run_unfinished(names, jobs, lambda unfinished: self._run(unfinished, stop))

    def _run(self, jobs: Sequence[PoolJob], stop: StopSignals) -> list[JobOutcome]:
        return self.settings.run(jobs, stop)


class PoolLauncher(QueueLauncher):
    """Runs jobs side by side on this machine, each in a process of its own."""

    __module__ = NAMESPACE
    settings: PoolSettings
    settings_type = PoolSettings


class SlurmLauncher(PoolLauncher):
    """Runs jobs on a Slurm cluster, in an array of allocations each of which is a pool."""

    __module__ = NAMESPACE

    def __init__(self, allocation: Allocation, wait: bool, **settings: Any) -> None:
        super().__init__(**settings)
        self.allocation, self.wait = allocation, wait

    def _run(self, jobs: Sequence[PoolJob], stop: StopSignals) -> list[JobOutcome]:
        shares = submit(jobs, self.settings, self.allocation)
        number, root = array_id(shares), jobs[0].job.config["output_root"]
        print(
            f"{len(jobs)} jobs in {len(shares)} allocations, Slurm job {number}; how far they are: "
            f"python run.py status {root}; to stop them with a checkpoint: scancel {number}",
            flush=True,
        )
        if self.wait:
            wait_for(shares, stop)
        still_queued = stop() or not self.wait
        outcomes = [share.outcomes(still_queued) for share in shares]
        tell_undone(shares, outcomes)
        return list(itertools.chain.from_iterable(outcomes))


def register_plugins(
    stop: StopSignals, outcomes: list[JobOutcome], planned: list[PlannedRun], config_dir: str | None
) -> None:
    """Make our plugins known to Hydra for one command, whose results are added to these lists."""
    DeclaredSweeps.own = config_dir
    state = {"stop": stop, "outcomes": outcomes, "planned": planned, "__module__": NAMESPACE}
    plugins = ModuleType(NAMESPACE)
    for plugin in (type("GridSweeper", (Grid,), state), QueueLauncher, PoolLauncher, SlurmLauncher, DeclaredSweeps):
        setattr(plugins, plugin.__name__, plugin)
        Plugins.instance().register(plugin)
    package, _, name = NAMESPACE.rpartition(".")
    sys.modules.setdefault(package, ModuleType(package))  # there only where another plugin is installed
    setattr(sys.modules[package], name, plugins)
    sys.modules[NAMESPACE] = plugins


def _with_bar(items: Sequence[T], words: str) -> Iterable[T]:
    """The same items, with a bar on a terminal while they are worked through."""
    from tqdm import tqdm

    return tqdm(items, words, unit="job", disable=None, leave=False)


def _overrides(values: Mapping[str, Any]) -> list[str]:
    """Overrides of keys and values in YAML: text is in Hydra's own syntax, all else is put into it."""
    return [
        f"{key}={value if isinstance(value, str) else Override._get_value_element_as_str(_element(value))}"
        for key, value in values.items()
    ]


def _element(value: Any) -> Any:
    """A value in YAML as Hydra parses one: what is quoted stays text."""
    if isinstance(value, str):
        return QuotedString(value, Quote.single)
    if isinstance(value, Mapping):
        return {key: _element(item) for key, item in value.items()}
    return [_element(item) for item in value] if isinstance(value, Sequence) else value


def _are_names(value: Any) -> bool:
    is_list = isinstance(value, Sequence) and len(value) > 0
    return is_list and all(isinstance(each, str) and each for each in value)


def _require_each_run_once(names: Sequence[str], jobs: Sequence[Job]) -> None:
    """Raise ValueError when two jobs are one run: by a value that is written in two ways, such as 1 and '1', or by one
    that is no part of what a run is."""
    seen: dict[tuple[str, str, int], tuple[str, Job]] = {}
    for name, job in zip(names, jobs, strict=True):
        place = job.config["study"], _variant(job), job.config["seed"]
        first_name, first = seen.setdefault(place, (name, job))
        if first is job or digest(first.config) != digest(job.config):
            continue
        both = f"{' and '.join(varying_parts([first_name, name]))} are one run"
        if first.config == job.config:
            raise ValueError(f"{both}; name it once")
        once, again = flatten(first.config), flatten(job.config)
        keys = sorted(key for key in once.keys() | again.keys() if once.get(key) != again.get(key))
        if any(key.startswith(("data.", "trainer.")) for key in keys):
            raise ValueError(f"{both}, to which {', '.join(keys)} does not belong; give each a study=NAME")


def _variant(job: Job) -> str:
    return variant_name(job.choices["model"], job.differences)


def _outcome(name: str, answer: JobReturn) -> JobOutcome:
    if answer.status == JobStatus.COMPLETED and isinstance(answer.return_value, JobOutcome):
        return answer.return_value
    error = answer._return_value
    reason = explain(error) if isinstance(error, Exception) else "the launcher gave no answer for this job"
    return JobOutcome(name, JobState.FAILED, reason)


def _by_now(outcome: JobOutcome, job: Job, done_anew: bool) -> JobOutcome:
    """The same, unless another process, which worked on the run, has finished it while other jobs ran here."""
    is_done = outcome.state == JobState.BUSY and (done_anew or finished_run(job))
    return replace(outcome, state=JobState.SKIPPED) if is_done else outcome
