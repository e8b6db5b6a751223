"""Any value of any key of a config, and a run stopped after any step with any of its checkpoints damaged.

DYNFILT_FUZZ=500 has hypothesis try so many examples of each property instead of a few.
"""

import contextlib
import copy
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynfilt import cost, experiment
from dynfilt.assembly import build_trainer
from dynfilt.config.checks import check
from dynfilt.config.compose import GROUPS, Job
from dynfilt.config.errors import explain
from dynfilt.run.folder import RunFolder
from dynfilt.run.identity import flatten, identify
from dynfilt.train import trainer as trainer_module
from dynfilt.train.settings import resolve_device
from tests.conftest import TINY
from tests.run_folders import assert_same_outcome

pytestmark = pytest.mark.slow
EXAMPLES = int(os.environ.get("DYNFILT_FUZZ", "0"))


def fuzzed(examples: int) -> settings:
    return settings(
        derandomize=not EXAMPLES,
        deadline=None,
        max_examples=EXAMPLES or examples,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


Compose = Callable[..., list[Job]]
MODELS = ("tiny", "dynamic_3x3", *(("label_guided_1x1", "cnn_5x5") if EXAMPLES else ()))
CONVOLUTIONS = (
    "dyconv",
    *(("odconv", "condconv", "dcd", "ddf", "weightnet", "involution", "fdconv") if EXAMPLES else ()),
)
NUMBERS = st.sampled_from([0, 1, 2, 3, 5, -1, 0.5, 1.0, 0.0, -0.5, 1e-9, 1e9, 1e300, 10**6, 10**30]) | st.floats()
VALUES = st.one_of(
    NUMBERS,
    st.none(),
    st.booleans(),
    st.sampled_from(["", "none", "all", "auto", "off", "same", "x", "../x", "torch.nn.ReLU", "os.system", "é\n"]),
    st.lists(NUMBERS | st.sampled_from(["layer1", "x"]), max_size=3),
    st.dictionaries(st.sampled_from(["_target_", "a"]), NUMBERS | st.just("dynfilt.schedules.Cosine"), max_size=2),
)
# What would take long or much memory, and what is outside of the machine: a download, another device.
BOUNDED = (
    "width",
    "num_classes",
    "channels",
    "features",
    "num_kernels",
    "num_filters",
    "num_templates",
    "stages",
    "rank",
)
MOST = 8


@pytest.fixture(scope="module")
def bases(compose: Compose) -> list[Job]:
    """Small runs whose configs together have most keys that there are."""
    small = ("trainer.batch_size=4", "trainer.max_steps=1", "trainer.max_eval_images=4", "mode=plan")
    plain = compose(*TINY, "-m", f"model={','.join(MODELS)}", *small)
    schedules = compose(*TINY, "-m", "schedule=cosine,multistep,one_cycle", "optimizer=sgd", *small)
    network = ("model=resnet8", "model.stem=stride2", "model.width=0.25")
    convs = compose(*TINY, "-m", *network, f"model/conv={','.join(CONVOLUTIONS)}", *small)
    return [*plain, *schedules, *convs]


def with_value(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *path, last = key.split(".")
    node = changed
    for part in path:
        node = node[part]
    node[last] = value
    return changed


def is_bounded(key: str, value: Any) -> bool:
    """Whether a value asks for no more than this machine has."""
    numbers = value if isinstance(value, list) else [value]
    size = any(word in key for word in BOUNDED) or key.startswith("model.")
    large = any(type(number) in (int, float) and abs(number) > MOST for number in numbers)
    return not (size and large)


@fuzzed(30)
@given(data=st.data())
def test_any_value_of_any_key_is_refused_in_one_line_or_trains(bases: list[Job], data: st.DataObject) -> None:
    job = data.draw(st.sampled_from(bases), "job")
    config = job.config
    bounds = ("trainer.max_steps", "trainer.max_eval_images", "trainer.compile")
    # The other keys have the types of the schema, before there is a config: tests/bad_inputs/overrides.yaml.
    keys = [key for key in flatten(config) if key.partition(".")[0] in GROUPS and key not in bounds]
    for key in data.draw(st.lists(st.sampled_from(sorted(keys)), min_size=1, max_size=2, unique=True), "keys"):
        value = data.draw(VALUES.filter(lambda value, key=key: is_bounded(key, value)), key)
        config = with_value(config, key, value)
    try:
        check(config, job.choices)
        identify(config, job.choices, {})
        trainer = build_trainer(config, resolve_device(config["trainer"]["device"]))
    except Exception as error:
        said = explain(error)
        assert said and "\n" not in said
        # A model or its data may fail in ways of its own, which is told with the group's name.
        assert isinstance(error, ValueError) or said.startswith(("RuntimeError: model", "RuntimeError: data")), said
        return
    with contextlib.suppress(FloatingPointError):
        trainer.fit(lambda row, improved: None, lambda: None, lambda step: None)


CHECKPOINT_DAMAGE: dict[str, Callable[[Path], object]] = {
    "none": lambda file: None,
    "missing": lambda file: file.unlink(missing_ok=True),
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.exists() and file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "noise": lambda file: file.exists() and file.write_bytes(random.Random(0).randbytes(file.stat().st_size)),
    "folder": lambda file: (file.unlink(missing_ok=True), file.mkdir()),
}
OTHER_DAMAGE = {name: CHECKPOINT_DAMAGE[name] for name in ("none", "missing", "cut", "empty")}


@fuzzed(5)
@given(
    stop=st.integers(0, 11),
    again=st.integers(0, 11),
    last=st.sampled_from(sorted(CHECKPOINT_DAMAGE)),
    best=st.sampled_from(sorted(CHECKPOINT_DAMAGE)),
    other=st.dictionaries(
        st.sampled_from(["status.json", "provenance.json", "metrics.jsonl"]),
        st.sampled_from(sorted(OTHER_DAMAGE)),
        max_size=2,
    ),
    every_step=st.booleans(),
)
def test_a_run_stopped_anywhere_and_damaged_ends_with_the_bits_of_one_that_was_not(
    mend: Job,
    finished_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
    stop: int,
    again: int,
    last: str,
    best: str,
    other: dict[str, str],
    every_step: bool,
) -> None:
    root = tmp_path_factory.mktemp("stopped")
    job = replace(mend, config={**mend.config, "output_root": str(root)})
    if every_step:
        job = replace(job, config=with_value(job.config, "trainer.checkpoint_every_seconds", 1e-9))
    folder = identify(job.config, job.choices, job.differences).folder(str(root))
    for step in (stop, again):
        with stopped_at(step), contextlib.suppress(KeyboardInterrupt):
            experiment.run(job)
        CHECKPOINT_DAMAGE[last](RunFolder(folder).checkpoint("last"))
        CHECKPOINT_DAMAGE[best](RunFolder(folder).checkpoint("best"))
        for name, damage in other.items():
            OTHER_DAMAGE[damage](folder / name)
    experiment.run(job)
    rows = [row["step"] for row in RunFolder(folder).evaluations()]
    complete = rows == [3, 6, 9, 12]
    # Rows that were lost with metrics.jsonl cannot be had again without training anew.
    assert complete or other.get("metrics.jsonl", "none") != "none"
    if not complete:
        shutil.copyfile(finished_run / "metrics.jsonl", folder / "metrics.jsonl")
    assert_same_outcome(folder, finished_run, ignored=frozenset({"flops"}))
    shutil.rmtree(root)


@contextlib.contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Training ends before this step as by Ctrl-C."""
    train_step = trainer_module.Trainer.train_step

    def stopping(self: Any) -> None:
        if self.step == step:
            raise KeyboardInterrupt
        train_step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module.Trainer, "train_step", stopping)
        yield


@pytest.fixture(scope="module")
def mend(compose: Compose) -> Iterator[Job]:
    """The tiny run, mended where it is damaged; what takes longer than its training is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "collect_provenance", lambda device: {})
        patch.setattr(cost, "count_flops", lambda *_: 0)
        patch.setattr(cost, "measure_latency_ms", lambda *_: 1.0)
        yield compose(*TINY, "rerun=damaged")[0]
