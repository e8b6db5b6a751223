"""Holm's families: which claims are adjusted together, those of a study that have no results yet among them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .claims import Claim
from .declaration import Declaration
from .statistics import holm
from .variants import Variant


def absent_claims(groups: Mapping[str, Sequence[Variant]], declared: Mapping[str, Declaration]) -> dict[str, int]:
    """By study, how many claims it declares that no two rows with results make."""
    baselines: dict[str, dict[str, str]] = {}
    there: dict[str, int] = {}
    for variants in groups.values():
        baseline = next((row.recorded_name for row in variants if row.is_baseline), "")
        for row in variants:
            baselines.setdefault(row.study, {})[row.recorded_name] = baseline
            made = sum(not claim.is_exploratory for claim in row.claims)
            there[row.study] = there.get(row.study, 0) + made
    missing = {study: _number_declared(rows, declared[study]) - there[study] for study, rows in baselines.items()}
    return {study: number for study, number in missing.items() if declared[study].names_claims and number > 0}


def _number_declared(baselines: Mapping[str, str], declared: Declaration) -> int:
    """The claims of each row of a study, with results or not: against the baseline, its controls, and on gains.

    `baselines` has each row of all groups of a table, in which rows are told apart however the table groups them, with
    the baseline of its group. A row that the declaration names is one of them before it has a run.
    """
    names = list(baselines)
    names += sorted(name for name in declared.rows if not declared.rows_meant(name, names))
    number = 0
    for row in names:
        baseline = declared.baseline or baselines.get(row, "")
        controls = declared.controls_of(row, names)
        rivals = {(*declared.rows_meant(name, names), name)[0] for name in (baseline, *controls)}
        number += len(rivals - {row}) + len(declared.gains_of(row, names))
    return number


def adjusted(groups: dict[str, list[Variant]], absent: Mapping[str, int]) -> dict[str, list[Variant]]:
    """The variants with Holm's p-values: one family a study that declares its claims, one for all other studies."""
    families: dict[str, list[Claim]] = {}
    for variants in groups.values():
        for variant in variants:
            for each in variant.claims:
                if not each.is_exploratory:
                    families.setdefault(variant.study if each.declared.names_claims else "", []).append(each)
    by_id = {
        id(old): new
        for study, family in families.items()
        for old, new in zip(family, _of_family(family, absent.get(study, 0)), strict=True)
    }
    return {
        heading: [
            replace(variant, claims=tuple(by_id.get(id(each), each) for each in variant.claims)) for variant in variants
        ]
        for heading, variants in groups.items()
    }


def _of_family(claims: list[Claim], absent: int) -> list[Claim]:
    """The claims with their adjusted p-values; a declared one that has no p yet is one of the family all the same."""
    adjusted = []
    for ps in ([each.p_over_looks for each in claims], [each.equivalence_p_over_looks for each in claims]):
        waiting = [bool(each.declared.names_claims or each.declared.looks) for each in claims]
        counted = [1.0 if math.isnan(p) and waits else p for p, waits in zip(ps, waiting, strict=True)]
        all_adjusted = holm([*counted, *[1.0] * absent])[: len(ps)]
        adjusted.append([q if p == p else math.nan for p, q in zip(ps, all_adjusted, strict=True)])
    family = len(claims) + absent
    return [
        replace(each, family=family, p_holm=p, equivalence_p_holm=q)
        for each, p, q in zip(claims, *adjusted, strict=True)
    ]
