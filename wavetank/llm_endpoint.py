"""A real language model's endpoint: is something there, and does it take our key?"""

import httpx

from simulator.errors import EnvironmentFailedError, InputError
from wavetank.serve import llm_key, web_url

__all__ = ["check_llm"]

WITHIN_S = 10.0
REFUSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


def check_llm(url: str) -> None:
    """Ask an endpoint of OpenAI's API for its models, with the key in OPENAI_API_KEY, before anything is started.

    Any other answer shows that it is there: not every one tells its models. Raises InputError for what is no URL, and
    for a key that is refused; EnvironmentFailedError where nothing answers.
    """
    url, key = web_url("llm", url), llm_key()
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    try:
        # As the platform asks it: without proxies from the environment, and with certificates for HTTPS only.
        with httpx.Client(timeout=WITHIN_S, trust_env=False, verify=url.startswith("https:")) as http:
            with http.stream("GET", f"{url.rstrip('/')}/models", headers=headers) as answer:
                status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentFailedError(
            f"no language model answers at {url}: {type(error).__name__}: {error}. Start it, or correct --llm."
        ) from error
    if status in REFUSED:
        key_told = (
            "refuses the key in OPENAI_API_KEY" if key is not None else "wants a key, and OPENAI_API_KEY has none"
        )
        raise InputError(f"the language model at {url} {key_told}: status={status}.")
