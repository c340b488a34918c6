"""`wavetank serve-llm`: the simulated language model for real, where no other can be used."""

import os

import click
import structlog
import trio

from simulator.errors import InputError
from simulator.services.llm import SimulatedLLM
from wavetank.arguments import SECONDS
from wavetank.listening import cannot_listen
from wavetank.ungrouped import run_ungrouped

__all__ = ["serve_llm"]

EPILOG = """
\b
Examples:
  wavetank serve-llm --port 8080              OPENAI_BASE_URL is then http://127.0.0.1:8080/v1
  wavetank serve-llm --port 8080 --latency 500ms --api-key-env LLM_KEY
  wavetank serve-llm --port 8080 --control
  curl -d '{"name":"llm-cut","on":true}' http://127.0.0.1:8080/_trouble

It answers every conversation with "<last user message> -> <last system message>", logs JSON lines to
standard output and runs until interrupted.
"""


@click.command(epilog=EPILOG)
@click.option("--port", type=click.IntRange(0, 65535), required=True, help="Where it is asked; 0 means any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--latency", type=SECONDS, default="20ms", show_default=True, help="How long an answer takes.")
@click.option(
    "--context-characters-max", "characters_max", type=click.IntRange(min=1), help="Refuse longer conversations."
)
@click.option("--api-key-env", metavar="NAME", help="Refuse requests without the key that this variable holds.")
@click.option("--control", is_flag=True, help="Let POST /_trouble switch troubles on and off; it needs no key.")
def serve_llm(
    port: int, host: str, latency: float, characters_max: int | None, api_key_env: str | None, control: bool
) -> int:
    """Run a language model's service that speaks OpenAI's chat completions, without a model."""
    api_key = None if api_key_env is None else _key(api_key_env)
    service = SimulatedLLM(
        port=port,
        host=host,
        latency_s=latency,
        api_key=api_key,
        context_characters_max=characters_max,
        control=control,
    )
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    run_ungrouped(_serve, service, host)
    return 0


async def _serve(service: SimulatedLLM, host: str) -> None:
    async with trio.open_nursery() as nursery:
        try:
            await nursery.start(lambda task_status: service.main(task_status=task_status))
        except* OSError as errors:
            raise cannot_listen(host, service.port, errors) from errors
        structlog.get_logger().info("listening", host=host, port=service.port)


def _key(variable: str) -> str:
    key = os.environ.get(variable, "")
    if not key:
        raise InputError(f"--api-key-env names {variable}, which is not set. Put the key into it.")
    return key
