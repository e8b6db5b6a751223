"""Connect to the W&B server, or fail within seconds where its client would prompt or wait for minutes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dynfilt.tracking.reachability import PROBE_SECONDS, is_reachable, run_with_timeout
from dynfilt.wording import one_line

if TYPE_CHECKING:
    import wandb

VERIFY_SECONDS = 10
TIMEOUT_SECONDS = 60


def connect(entity: str) -> "wandb.Api":
    """W&B's API for an entity, verified with one small request.

    Raises ValueError when there is no API key, no answer, or the server refuses the key.
    """
    import wandb

    # Runs may have been told to stay offline, here or by WANDB_MODE; who asks for the server wants it.
    settings = wandb.Settings(mode="online", quiet=True, silent=True, console="off")
    server = wandb.setup(settings).settings.base_url
    if not wandb.login(prompt=False, verify=False):
        raise ValueError(f"no API key for {server}; run `wandb login` or set WANDB_API_KEY")
    if not is_reachable(server):
        raise ValueError(f"no answer from {server} within {PROBE_SECONDS} s; is there a network?")
    refusals: list[Exception] = []

    def verify() -> None:
        try:
            wandb.Api(timeout=VERIFY_SECONDS)
        except Exception as error:
            refusals.append(error)

    if not run_with_timeout(verify, 2 * VERIFY_SECONDS):
        raise ValueError(f"no answer from {server} within {2 * VERIFY_SECONDS} s")
    for refusal in refusals:
        raise ValueError(one_line(refusal)) from refusal
    return wandb.Api(overrides={"entity": entity}, timeout=TIMEOUT_SECONDS)


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turn whatever the client raises into a ValueError of one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{what}: {one_line(error)}") from error
