"""Publishing to W&B is tested without an account."""

import pytest


@pytest.fixture(autouse=True)
def without_account(no_account: None) -> None:
    """No test reaches a real server."""
