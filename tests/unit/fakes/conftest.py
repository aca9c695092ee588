"""An image, a registry that serves it, and a client that knows nothing of either."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from tests.fakes.content import ContentStore
from tests.fakes.images import Image, hello_index
from tests.fakes.registry import FakeRegistry

REPOSITORY = "acme/app"


@pytest.fixture
def image() -> Image:
    return hello_index(ContentStore())


@pytest.fixture
def registry(image: Image) -> Iterator[FakeRegistry]:
    with FakeRegistry({REPOSITORY: image.store}) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        opened.trust_env = False
        yield opened
