"""YAML that people write: read without objects of Python, and without a key that is there twice."""

from typing import Any

import yaml

__all__ = ["parse_yaml"]


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys, and says nothing; YAML 1.2, section 3.2.1.1, has unique ones."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here, where a mapping is as it was written: what `<<` merges into it later, may be overridden.
        node = super().compose_mapping_node(anchor)
        seen: list[tuple[str, str]] = []
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark
                    )
                seen.append((key.tag, key.value))
        return node


def parse_yaml(text: str) -> Any:
    """Return what a document holds. Raises yaml.YAMLError, also for a key that is there twice, and as it does
    ValueError for a date that is none, and RecursionError."""
    return yaml.load(text, _Loader)
