"""Credentials of a deployment: read from the environment or from a file, and concealed from then on."""

import os
from pathlib import Path

import msgspec

from simulator.errors import InputError
from simulator.redaction import conceal

__all__ = ["Credential"]


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a secret is: the name of an environment variable, or a file. One of the two."""

    env: str = ""
    file: Path | None = None

    def __post_init__(self) -> None:
        if bool(self.env) == (self.file is not None):
            raise ValueError(
                "a credential is { env = NAME } or { file = PATH }, one of the two, never the secret itself"
            )

    def read(self) -> str:
        """Return the secret, without white space around it. Raises InputError when it is not there or empty."""
        if self.file is None:
            secret, place = os.environ.get(self.env, ""), f"environment variable {self.env}"
        else:
            place = str(self.file)
            try:
                secret = self.file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"the credential in {place} cannot be read: {error}.") from error
        if not secret:
            raise InputError(f"the credential in {place} is not set or empty. Set it, then try again.")
        conceal(secret)
        return secret
