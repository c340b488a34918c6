"""The platform that ships with the tool: a small multi-user agent chat, an ordinary Trio program."""
