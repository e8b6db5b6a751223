import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dynfilt.config.compose import Job
from dynfilt.run.identity import (
    ADDED_LATER,
    ADDED_TO_TARGETS,
    Identity,
    differing_keys,
    digest,
    file_name,
    flatten,
    identify,
    in_digest,
    in_todays_terms,
    variant_name,
)
from tests.conftest import ROOT, TINY

Compose = Callable[..., list[Job]]


def name(job: Job) -> str:
    return variant_name(job.choices["model"], job.differences)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "variant"),
    [
        # Sorted by key, whatever the order of the command; groups by the name of the choice.
        (
            "optimizer.lr=0.1 model=static_3x3 data=cifar10_sample optimizer=sgd data.flip=true",
            "static_3x3,data=cifar10_sample,data.flip=true,optimizer=sgd,optimizer.lr=0.1",
        ),
        # Values as composed.
        (
            "optimizer.lr=1e-3 trainer.clip_gradient_norm=1.50 trainer.precision=bfloat16",
            "dynamic_3x3,optimizer.lr=0.001,trainer.clip_gradient_norm=1.5,trainer.precision=bfloat16",
        ),
        # What is as in the primary config is no difference, however it is written.
        (
            "model=dynamic_3x3 optimizer=adam optimizer.lr=0.0005 trainer=default trainer.epochs=20 "
            "trainer.patience=null data.mean=[0.5,0.5,0.5] data.flip=false",
            "dynamic_3x3",
        ),
        # What the chosen group has by itself is no name for what the primary config has.
        ("model=static_3x3 optimizer=sgd", "static_3x3,optimizer=sgd"),
        ("model=static_3x3 optimizer=sgd optimizer.lr=5e-4", "static_3x3,optimizer=sgd,optimizer.lr=0.0005"),
        # What does not change the numbers, and what names the run.
        (
            "study=other seed=7 mode=plan rerun=true output_root=elsewhere tracking=off tracking.project=p "
            "trainer.device=cpu data.root=/data trainer.compile=true trainer.progress_bar=off hydra.verbose=true",
            "dynamic_3x3",
        ),
        # The convolution of a network by its short name, sorted among the others; the network's own adds nothing.
        ("model=resnet8 model/conv=dyconv", "resnet8,conv=dyconv"),
        ("model=resnet8 model/conv=static", "resnet8"),
        ("model=resnet18 model/conv=static seed=1", "resnet18"),
        (
            "optimizer=sgd model/conv=dyconv model=resnet8 model.conv.num_kernels=8 data=cifar100 model.width=0.5",
            "resnet8,conv=dyconv,data=cifar100,model.conv.num_kernels=8,model.width=0.5,optimizer=sgd",
        ),
        # Safe as a folder's name.
        (
            "model.weights='../w,1.pth' data.mean=[0.1,0.2,0.3]",
            "dynamic_3x3,data.mean=%5B0.1%2C0.2%2C0.3%5D,model.weights=..%2Fw%2C1.pth",
        ),
    ],
)
def test_the_variant_of_a_command(overrides: str, variant: str, compose: Compose) -> None:
    [job] = compose(*overrides.split())
    assert name(job) == variant


@pytest.mark.slow
def test_a_swept_run_has_the_name_of_the_same_run_alone(compose: Compose) -> None:
    swept = compose("-m", "optimizer.lr=1e-3,5e-4", "seed=3", "model=static_3x3,dynamic_3x3")
    assert [name(job) for job in swept] == [
        "static_3x3,optimizer.lr=0.001",
        "dynamic_3x3,optimizer.lr=0.001",
        "static_3x3",
        "dynamic_3x3",
    ]
    [alone] = compose("optimizer.lr=1e-3", "model=static_3x3")
    assert name(alone) == name(swept[0])
    assert digest(alone.config) == digest(swept[0].config)


@pytest.mark.slow
def test_in_a_declared_ablation_the_primary_config_is_the_ablation(compose: Compose) -> None:
    sweep = ("-cd", str(ROOT / "sweeps"), "-cn", "demo", "seed=0", "model=static_3x3,detached_3x3")
    assert [name(job) for job in compose(*sweep)] == ["static_3x3", "detached_3x3"]
    narrowed = compose(*sweep, "trainer.epochs=10", "trainer.batch_size=32")
    assert [name(job) for job in narrowed] == [
        "static_3x3,trainer.batch_size=32",
        "detached_3x3,trainer.batch_size=32",
    ]


@pytest.mark.slow
def test_two_ways_to_say_the_same_are_one_run(compose: Compose) -> None:
    [short], [long] = compose(), compose("optimizer=adam", "optimizer.lr=0.0005", "seed=4", "tracking=off")
    assert digest(short.config) == digest(long.config)
    assert differing_keys(short.config, long.config) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", ["trainer.epochs", "trainer.evaluate_every_epochs"])
def test_a_number_is_one_value_however_it_is_written(key: str, compose: Compose) -> None:
    jobs = [compose(f"{key}={number}", "optimizer.betas=[0,0.9]")[0] for number in ("30", "30.0", "3e1")]
    jobs.append(compose(f"{key}=30", "optimizer.betas=[0.0,9e-1]")[0])
    identities = {identify(job.config, job.choices, job.differences) for job in jobs}
    assert len(identities) == 1 and len({identity.wandb_id for identity in identities}) == 1


@pytest.mark.slow
def test_a_run_begun_under_a_name_with_another_form_of_a_number_stays_there(compose: Compose, tmp_path: Path) -> None:
    job, same = (compose(f"trainer.epochs={number}", f"output_root={tmp_path}")[0] for number in ("30.0", "30"))
    today = identify(job.config, job.choices, job.differences)
    before = tmp_path / "default" / "dynamic_3x3,trainer.epochs=30.0" / "seed0"
    before.mkdir(parents=True)
    begun = identify(job.config, job.choices, job.differences)
    assert begun.folder(str(tmp_path)) == before and begun.digest == today.digest
    assert identify(same.config, same.choices, same.differences) == today
    today.folder(str(tmp_path)).mkdir(parents=True)
    assert identify(job.config, job.choices, job.differences) == today


@pytest.fixture(scope="module")
def config(compose: Compose) -> dict:
    return compose(*TINY)[0].config


def test_every_key_that_can_change_the_numbers_changes_the_digest(config: dict) -> None:
    outside = set()
    for key in flatten(config):
        changed = copy.deepcopy(config)
        *path, last = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        node[last] = "changed"
        if digest(changed) == digest(config):
            outside.add(key)
            assert differing_keys(config, changed) == []
        else:
            assert differing_keys(config, changed) == [f"{key}: {flatten(config)[key]} -> changed"]
    assert outside == {
        *("study", "seed", "mode", "run", "rerun", "output_root"),
        *("about.question", "about.baseline", "about.controls", "about.metric", "about.margin", "about.looks"),
        *("about.ratio", "about.tuning", "about.names", "about.gains"),
        *("tracking._target_", "tracking.mode", "tracking.project", "tracking.entity"),
        *("trainer.device", "trainer.eval_batch_size", "trainer.channels_last", "trainer.compile"),
        "trainer.deterministic",
        "trainer.compile_mode",
        "trainer.cuda_graph",
        "trainer.formulation",
        "trainer.check_layer",
        *("trainer.checkpoint_every_seconds", "trainer.progress_bar"),
    }


def test_a_missing_key_is_a_difference(config: dict) -> None:
    shorter = copy.deepcopy(config)
    del shorter["optimizer"]["lr"]
    assert digest(shorter) != digest(config)
    assert differing_keys(shorter, config) == ["optimizer.lr: absent -> 0.1"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ADDED_LATER)
def test_a_key_that_came_later_leaves_old_runs_what_they_were(key: str, compose: Compose) -> None:
    [job] = compose()
    *group, last = key.split(".")
    older = copy.deepcopy(job.config)
    del (older[group[0]] if group else older)[last]
    assert in_todays_terms(older) == job.config
    assert digest(older) == digest(job.config)
    assert differing_keys(older, job.config) == []


# Digests of the commit before models had a group for their convolutions.
DIGESTS = {
    "model=resnet18": "4da476cde7fa28ed",
    "model=dyconv_resnet18": "b9121a030387b727",
    "model=resnet18 model.stem=imagenet optimizer=sgd": "eb4254feed822785",
    "model=dyconv_resnet18 model.num_kernels=2": "35c14c86ab82666a",
    "model=dynamic_3x3": "165cc47d78019f93",
}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", DIGESTS)
def test_runs_from_before_the_group_of_convolutions_are_the_same_runs(overrides: str, compose: Compose) -> None:
    [job] = compose(*overrides.split())
    assert digest(job.config) == DIGESTS[overrides]


def test_an_older_config_of_resnet18_is_completed_and_no_other(compose: Compose) -> None:
    [job], [other] = compose("model=resnet18"), compose("model=dynamic_3x3")
    older = copy.deepcopy(job.config)
    for key in ("width", "conv", "dynamic_layers"):
        del older["model"][key]
    assert in_todays_terms(older) == job.config
    assert digest(older) == digest(job.config)
    assert in_todays_terms(other.config) == other.config


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        *("model=dynamic_3x3", "model=static_3x3", "model=label_guided_1x1"),
        *(f"model=resnet8 model/conv={conv}" for conv in ("dyconv", "dcd", "involution")),
    ],
)
def test_what_came_later_to_a_target_leaves_its_runs_what_they_were(words: str, compose: Compose) -> None:
    [job] = compose(*words.split())
    flat = flatten(job.config)
    later = [keys for (key, target), keys in ADDED_TO_TARGETS.items() if flat.get(key) == target]
    assert later
    older = copy.deepcopy(job.config)
    for keys in later:
        for key in keys:
            *path, name = key.split(".")
            node = older
            for part in path:
                node = node[part]
            assert node.pop(name) == keys[key], key  # the config's default is what was done before
    assert digest(older) == digest(job.config)
    assert in_todays_terms(older) == job.config


@pytest.mark.slow
def test_another_convolution_or_width_is_another_run(compose: Compose) -> None:
    changes = ("", "model/conv=dyconv", "model.width=0.5", "model.dynamic_layers=[layer1]")
    jobs = [compose(*f"model={model} {change}".split())[0] for model in ("resnet18", "resnet8") for change in changes]
    assert len({digest(job.config) for job in jobs}) == len(jobs)


def test_the_order_of_keys_is_no_difference(config: dict) -> None:
    backwards = {key: config[key] for key in reversed(config)}
    assert digest(backwards) == digest(config)


def test_only_whole_keys_are_outside_the_digest() -> None:
    assert not in_digest("tracking.mode")
    assert not in_digest("data.root")
    assert in_digest("runner")
    assert in_digest("data.rooted")
    assert in_digest("model.seed")


def test_the_folder_names_study_variant_and_seed() -> None:
    identity = Identity("a study/../x", "static_3x3,optimizer.lr=0.001", 3, "0" * 16)
    assert str(identity.folder("out")) == "out/a%20study%2F..%2Fx/static_3x3,optimizer.lr=0.001/seed3"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a-b_c.d+e=1", "a-b_c.d+e=1"),
        ("a,b", "a%2Cb"),
        ("100%", "100%25"),
        ("é", "%C3%A9"),
        ("..", "%2E."),
        (".hidden", "%2Ehidden"),
        ("a\nb\\c:d*", "a%0Ab%5Cc%3Ad%2A"),
    ],
)
def test_unsafe_characters_are_escaped(text: str, safe: str) -> None:
    assert file_name(text) == safe


def test_a_long_name_is_shortened_and_stays_distinct() -> None:
    differences = {f"model.a_rather_long_key_{number}": number for number in range(20)}
    names = {variant_name("dynamic_3x3", {**differences, "model.z": z}) for z in range(5)}
    assert len(names) == 5
    for long in names:
        assert len(long) <= 120
        assert re.fullmatch(r"dynamic_3x3,model\.a_rather_long_key_0=0,.*~[0-9a-f]{8}", long)
    assert "~" not in variant_name("dynamic_3x3", {"model.z": 1})


def test_the_wandb_id_is_the_runs_own() -> None:
    ids = {
        Identity(study, variant, seed, digits).wandb_id
        for study in ("a", "b")
        for variant in ("v", "w")
        for seed in (0, 1)
        for digits in ("1" * 16, "2" * 16)
    }
    assert len(ids) == 16
    assert Identity("a", "v", 0, "1" * 16).wandb_id in ids


@pytest.mark.parametrize("study", ["研究" * 15, "a" * 300, "größe", "=1+1"])
def test_a_study_of_any_script_and_length_has_a_folder(study: str, tmp_path: Path) -> None:
    folder = Identity(study, "v", 0, "d").folder(str(tmp_path))
    folder.mkdir(parents=True)
    assert len(folder.parent.parent.name) <= 255
    assert folder != Identity(f"{study}2", "v", 0, "d").folder(str(tmp_path))
