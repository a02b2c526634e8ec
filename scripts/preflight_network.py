"""Can everything be had that the study fetches, or the judge be asked, from where the network is?"""

import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from aoe import AoeError
from aoe.acquiring.access import check_access
from aoe.nodes.readiness import Check, trying
from job.logging import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake


def denied(name: str) -> str | None:
    """Why a model or dataset cannot be had, or None."""
    try:
        check_access(name, **snakemake.params.inputs[name])
    except AoeError as error:
        return str(error)
    return None


def ask_judge(check: Check, judge: Mapping[str, Any]) -> None:
    """An endpoint lists its models to whoever has the key."""
    variable = judge.get("key_variable", "JUDGE_API_KEY")
    if variable not in os.environ:
        check.problem(f"The judge's key is missing: set the environment variable {variable}.")
        return
    request = urllib.request.Request(
        f"{judge['endpoint']}/models", headers={"Authorization": f"Bearer {os.environ[variable]}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60):
            check.fact(f"The judge answers at {judge['endpoint']}.")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            check.problem(f"The judge at {judge['endpoint']} does not take the key in {variable} ({error.code}).")
        else:  # not every endpoint lists its models
            check.warn(f"The judge at {judge['endpoint']} does not list its models ({error.code}).")
    except (OSError, ValueError) as error:
        check.problem(
            f"The judge cannot be reached at {judge['endpoint']} ({error}); look at judge.endpoint and network."
        )


with (
    logged(snakemake.log[0]),
    trying(snakemake.params.title, snakemake.output[0], snakemake.log[0]) as check,
    check.phase("questions"),
):
    names = list(snakemake.params.inputs)
    with ThreadPoolExecutor(8) as pool:
        for name, reason in zip(names, pool.map(denied, names), strict=True):
            if reason:
                check.problem(reason)
            else:
                check.fact(f"{name} can be fetched.")
    if snakemake.params.judge:
        ask_judge(check, snakemake.params.judge)
    elif not names:
        check.fact("The study fetches nothing.")
