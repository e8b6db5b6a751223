"""Finished runs of the repository beside other runs, as rows of one study: only where their configs agree."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dynfilt.run.identity import digest_content

from ..reading.reference import PREFIX
from ..reading.run import Run
from .words import UNSET, first_of, in_words

MAY_DIFFER = "model."
MOST_KEYS = 6


def beside_own(runs: Sequence[Run]) -> list[Run]:
    """The runs, where those of the repository become rows of the study that they stand beside.

    That is the only study of the other sources, or the one of the same name; its declaration counts. Raises ValueError,
    naming the keys, unless all agree in what the digest covers but for the model, and for keys of which one side
    compares several values and the other has some of these.
    """
    own = [run for run in runs if not _is_reference(run)]
    first = {run.study: run for run in sorted(own, key=lambda run: -run.seed) if run.study}
    if not first or len(own) == len(runs):
        return list(runs)
    joined = [_joined(run, first) if _is_reference(run) else run for run in runs]
    for study in first:
        _require_comparable([run for run in joined if run.study == study and run.counts])
    return joined


def _is_reference(run: Run) -> bool:
    return run.source.startswith(PREFIX)


def _joined(run: Run, first: Mapping[str, Run]) -> Run:
    """A run of the repository as a run of one of the other sources' studies, whose first runs are given."""
    if run.study not in first and len(first) > 1:
        raise ValueError(
            f"{run.source}: stands beside one study, but the other sources hold {', '.join(sorted(first))}; "
            "give the folder of one of them"
        )
    study = run.study if run.study in first else next(iter(first))
    return replace(run, study=study, config={**run.config, "about": first[study].config.get("about")})


def _require_comparable(runs: Sequence[Run]) -> None:
    ours = [run for run in runs if not _is_reference(run)]
    theirs = [run for run in runs if _is_reference(run)]
    if not ours or not theirs:
        return
    here, there, unset = _values(ours), _values(theirs), frozenset({UNSET})
    differing = []
    for key in sorted(here.keys() | there.keys()):
        mine, other = here.get(key, unset), there.get(key, unset)
        if not key.startswith(MAY_DIFFER) and not mine <= other and not other <= mine:
            differing.append(f"{key} {_in_words(mine)} (there {_in_words(other)})")
    if differing:
        raise ValueError(
            f"{theirs[0].source}: cannot stand beside {ours[0].source}, whose config differs in "
            f"{first_of(differing, MOST_KEYS)}; run yours with these values, or leave {theirs[0].source} out"
        )


def _values(runs: Sequence[Run]) -> dict[str, frozenset[str]]:
    """Key -> its values in these runs, as text, of all that a digest covers."""
    contents = [digest_content(dict(run.config)) for run in runs]
    keys = {key for content in contents for key in content}
    return {key: frozenset(in_words(content.get(key)) for content in contents) for key in keys}


def _in_words(values: frozenset[str]) -> str:
    return " or ".join(sorted(values))
