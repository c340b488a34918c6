"""What a real host counts: a page in the text format of Prometheus, whose samples are one observation."""

import math
from collections.abc import Mapping

import httpx
from prometheus_client.parser import text_string_to_metric_families

from simulator.errors import EnvironmentFailedError

__all__ = ["read_metrics", "samples_in"]

ANSWERS_WITHIN_S = 5.0


async def read_metrics(url: str) -> dict[str, float | None]:
    """Return the samples of a page. No redirection is followed. Raises EnvironmentFailedError when there is no page."""
    try:
        # No proxy of the environment either: it would be a host that nobody has allowed.
        async with httpx.AsyncClient(timeout=ANSWERS_WITHIN_S, trust_env=False) as client:
            response = await client.get(url)
            response.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentFailedError(f"the page {url} cannot be read: {type(error).__name__}: {error}.") from error
    try:
        return samples_in(response.text)
    except ValueError as error:
        raise EnvironmentFailedError(f"{url} is no page in the text format of Prometheus: {error}.") from error


def samples_in(page: str) -> dict[str, float | None]:
    """Return the samples of a page by name and labels, `requests_total{code="200",path="/"}`; None for NaN and Inf.

    Raises ValueError for what is no such page.
    """
    families = text_string_to_metric_families(page)
    return {
        _key(sample.name, sample.labels): sample.value if math.isfinite(sample.value) else None
        for family in families
        for sample in family.samples
    }


def _key(name: str, labels: Mapping[str, str]) -> str:
    named = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{named}}}" if named else name
