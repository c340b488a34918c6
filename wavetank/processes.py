"""Our own commands as child processes: the platform's gateways and agents, and what stands in for a language model."""

import os
from collections.abc import Mapping, Sequence

from simulator.live.process import Child, ServerProcess
from wavetank.preloaded import Preloaded
from wavetank.staged import Staged
from wavetank.stores import PLATFORM_ROLE

__all__ = ["LLM_TIMEOUT_S", "LLMProcess", "PlatformProcess"]

URLS = {
    "redis": "redis://127.0.0.1:{port}",
    "postgres": f"postgresql://{PLATFORM_ROLE}@127.0.0.1:{{port}}/wavetank",
    "clickhouse": "http://127.0.0.1:{port}",
    "llm": "http://127.0.0.1:{port}/v1",
}
LLM_TIMEOUT_S = 5.0
"""What a real language model may take: less than an agent has in all."""
NOT_INHERITED = ("WAVETANK_", "OPENAI_", "PG")
"""How variables begin that would lead a process elsewhere, or give it a key that is meant for another place."""


class _OwnProcess(ServerProcess):
    """A sub-command of `wavetank`. It is ready when it logs that it is.

    `interpreter` is that of an environment with another release of it, which it is to run from its next start on, and
    `runs` the one that it does run; nothing for our own.
    """

    ready = b'"event": "listening"'
    interpreter = ""
    runs = ""
    _logged_before_bytes = 0

    def __init__(self, preloaded: Preloaded) -> None:
        super().__init__()
        self._preloaded = preloaded

    def words(self) -> Sequence[str]:
        """Return the sub-command and its options."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """Return the command line that runs another release."""
        return [self.interpreter, "-m", "wavetank", *self.words()]

    def launch(self) -> Child:
        """Run the sub-command: of another release, or of ours without loading the code once more."""
        self._logged_before_bytes = self.log.stat().st_size if self.log.exists() else 0
        self.runs = self.interpreter
        if self.interpreter:
            return super().launch()
        return self._preloaded.run(self.words(), directory=self.directory, log=self.log, environment=self.environment())

    def environment(self) -> Mapping[str, str]:
        """Return our own, without what is meant for other platforms, or would lead another release to our code."""
        left_out = (*NOT_INHERITED, "PYTHON") if self.interpreter else NOT_INHERITED
        return {name: value for name, value in os.environ.items() if not name.startswith(left_out)}

    def is_ready(self) -> bool:
        """Say whether this incarnation has logged that it is."""
        with self.log.open("rb") as log:
            log.seek(self._logged_before_bytes)
            return self.ready in log.read()


class PlatformProcess(_OwnProcess):
    """`wavetank serve` in one role. It reaches each store by a port of 127.0.0.1."""

    def __init__(
        self,
        preloaded: Preloaded,
        name: str,
        role: str,
        stores: Mapping[str, int],
        *,
        token_s: int,
        staged: Staged,
    ) -> None:
        self.name = name
        super().__init__(preloaded)
        self.listens = role != "agents"
        if not self.listens:
            self.ready = b'"event": "working"'
        self._role = role
        self._stores = dict(stores)
        self._token_s = token_s
        self._staged = staged

    def words(self) -> Sequence[str]:
        """Return the sub-command and its options."""
        words = ["serve", "--role", self._role, "--token-s", str(self._token_s), "--verbose"]
        for store, port in self._stores.items():
            words += [f"--{store}", URLS[store].format(port=port)]
        if self.listens:
            words += ["--port", str(self.port)]
        elif self._staged.llm:
            words += ["--llm", self._staged.llm, "--llm-timeout-s", f"{LLM_TIMEOUT_S:g}"]
            words += ["--model", self._staged.model] if self._staged.model else []
        for defect in () if self.interpreter else self._staged.defects:
            words += ["--defect", defect]
        return words

    def environment(self) -> Mapping[str, str]:
        """Return our own, and the key of a real language model for those who ask it."""
        key = os.environ.get("OPENAI_API_KEY", "") if self._staged.llm and not self.listens else ""
        return {**super().environment(), **({"OPENAI_API_KEY": key} if key else {})}


class LLMProcess(_OwnProcess):
    """`wavetank serve-llm`, which gets into trouble when it is told to."""

    name = "llm"

    def __init__(self, preloaded: Preloaded, *, latency_s: float, context_characters_max: int) -> None:
        super().__init__(preloaded)
        self._latency_s = latency_s
        self._context_characters_max = context_characters_max

    def words(self) -> Sequence[str]:
        """Return the sub-command and its options."""
        limits = ["--latency", f"{self._latency_s:g}s", "--context-characters-max", str(self._context_characters_max)]
        return ["serve-llm", "--port", str(self.port), "--control", *limits]
