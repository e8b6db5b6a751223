"""Whatever stands in a run's folder, a config or a schedule: an answer or one line, never a traceback."""

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.comparing.caveats import caveats
from analysis.comparing.comparison import compare
from analysis.reading.sources import read_runs
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import digest, file_name, shortened, variant_name
from dynfilt.run.parsing import parse_config
from dynfilt.run.record import RunRecord
from dynfilt.run.standing import standing
from dynfilt.schedules import Cosine, Linear, MultiStep, OneCycle, Progress

pytestmark = pytest.mark.slow
fuzzed = settings(
    derandomize=True, deadline=None, max_examples=30, database=None, suppress_health_check=[HealthCheck.too_slow]
)

CONFIG: dict[str, Any] = {
    "study": "s",
    "seed": 0,
    "rerun": False,
    "parent": None,
    "trainer": {"epochs": 2},
    "tracking": {},
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    "state",
    "error",
    "resumed",
    "source",
    "threads",
    "test_accuracy",
    "seed",
    "study",
    "variant",
    "config_digest",
    "step",
    "epoch",
    "val_accuracy",
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6)
FILES = ("result.json", "status.json", "provenance.json", "metrics.jsonl", "config.yaml")
# What a file may hold: an object of known keys, any JSON, any bytes, or nothing.
CONTENTS = st.one_of(OBJECTS.map(lambda each: json.dumps(each).encode()), VALUES.map(lambda v: json.dumps(v).encode()))
CONTENTS = st.one_of(CONTENTS, st.binary(max_size=40), st.just(b""))


@fuzzed
@given(
    st.dictionaries(st.sampled_from(FILES), CONTENTS, max_size=5), st.sampled_from([False, True, "damaged", "changed"])
)
def test_any_run_folder_has_a_state_and_is_read(files: dict[str, bytes], rerun: bool | str) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root) / "study" / "variant" / "seed0")
        folder.path.mkdir(parents=True)
        (folder.path / "status.json").write_text("{}")
        for name, content in files.items():
            (folder.path / name).write_bytes(content)
        found = folder.snapshot()
        assert found.state in RunState
        folder.sound_evaluations(), folder.last_evaluation()
        try:
            said = standing(folder, {**CONFIG, "rerun": rerun})
        except ValueError as error:
            assert str(folder.path) in str(error)
        else:
            assert said.aside or said.state in (found.state, RunState.INTERRUPTED)
        runs = read_runs([root])
        try:
            caveats(compare(runs, None))
        except ValueError as error:
            assert "\n" not in str(error)
        assert all(run.counts <= (found.state == RunState.COMPLETED) for run in runs)


@fuzzed
@given(st.dictionaries(st.sampled_from(FILES[1:3]), CONTENTS, max_size=2), st.lists(CONTENTS, max_size=4))
def test_any_damage_beside_the_truth_is_gone_round(files: dict[str, bytes], rows: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = RunFolder(Path(root))
        with RunRecord(folder.path, CONFIG) as record:
            record.append_evaluation({"step": 1})
        for name, content in files.items():
            (folder.path / name).write_bytes(content)
        with open(folder.evaluations_file, "ab") as file:
            file.write(b"\n".join(rows))
        with RunRecord(folder.path, CONFIG) as record:
            record.start({"commit": "a"})
            record.drop_evaluations_after(10)
            record.append_evaluation({"step": 11})
        assert [row["step"] for row in folder.evaluations()][:: 10**6] == [1]
        assert folder.evaluations()[-1] == {"step": 11}
        assert folder.status() is not None and folder.provenance() is not None


@fuzzed
@given(st.text(max_size=60) | VALUES.map(json.dumps))
def test_any_text_is_a_config_or_refused(text: str) -> None:
    try:
        assert isinstance(parse_config(text), dict)
    except ValueError as error:
        assert str(error).startswith("not the config of a run")


@fuzzed
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,5}\.[a-z]{1,5}", fullmatch=True), VALUES, max_size=4), st.text(max_size=300)
)
def test_any_value_gives_a_name_for_a_folder_and_a_digest(differences: dict[str, Any], study: str) -> None:
    study = study.encode(errors="ignore").decode()
    for name in (variant_name("model", differences), shortened(file_name(study), 255)):
        assert len(name) <= 255 and "/" not in name and not name.startswith(".") and name.isascii()
    config: dict[str, Any] = {}
    for key, value in differences.items():
        group, _, inner = key.partition(".")
        config.setdefault(group, {})[inner] = value
    assert digest(config) == digest(json.loads(json.dumps(config)))


FRACTIONS = st.floats(0.01, 0.99)
SCHEDULES = st.one_of(
    st.builds(Cosine, st.floats(0, 1)),
    st.builds(OneCycle, FRACTIONS, st.floats(0, 1), st.floats(0, 1)),
    st.builds(lambda cuts, gamma: MultiStep(sorted(cuts), gamma), st.sets(FRACTIONS, max_size=4), FRACTIONS),
    st.builds(Linear, st.floats(0.1, 1), st.floats(0.1, 1), st.floats(0.1, 50)),
)


@fuzzed
@given(SCHEDULES, st.integers(1, 500), st.integers(1, 60), st.data())
def test_any_schedule_stays_between_its_ends_at_every_step(
    schedule: Any, total_steps: int, steps_per_epoch: int, data: st.DataObject
) -> None:
    step = data.draw(st.integers(0, total_steps - 1))
    value = schedule(Progress(step, total_steps, steps_per_epoch))
    assert math.isfinite(value) and -1e-12 <= value <= 1 + 1e-12
    assert value == schedule(Progress(step, total_steps, steps_per_epoch))
