"""What a staging is made of, beside the platform as it is: what `staging up` tells the process that runs it."""

import msgspec

__all__ = ["Staged"]


class Staged(msgspec.Struct, frozen=True):
    """Planted defects, and who strikes links. `next_release` is the interpreter of an environment with the platform's
    next release, `llm` the URL of a real language model: nothing for none.
    """

    defects: tuple[str, ...] = ()
    toxiproxy: bool = False
    next_release: str = ""
    llm: str = ""
    model: str = ""
