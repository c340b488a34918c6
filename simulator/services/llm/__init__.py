"""The simulated language model: OpenAI's chat completions, answered by a rule, and the troubles it can be in."""

from simulator.services.llm.server import SimulatedLLM
from simulator.services.llm.troubles import TROUBLES

__all__ = ["TROUBLES", "SimulatedLLM"]
