"""A griffe extension: tables of the fields of configs and named tuples."""

import re
from typing import Any

import griffe

COMMENT = re.compile(r"  # (.*)$")
# the type is its first argument
ANNOTATED = re.compile(r"Annotated\[((?:[^,\[\]]|\[[^\[\]]*\])+),.*\]", re.DOTALL)


class Fields(griffe.Extension):
    """Adds a table of the fields to dataclasses and NamedTuples.

    It has their types, defaults and trailing comments.
    """

    def on_class_members(self, *, cls: griffe.Class, **_: Any) -> None:
        """Insert the table after the first section of a class's docstring."""
        fields = [
            field for field in cls.attributes.values() if field.annotation is not None
        ]
        if cls.docstring is not None and fields:
            comments = (COMMENT.search(field.lines[-1]) for field in fields)
            rows = [
                f"| `{field.name}`<br>{_type(field)} | {comment[1] if comment else ''} "
                "|"
                for field, comment in zip(fields, comments, strict=True)
            ]
            table = "\n".join(["| field | meaning |", "|---|---|", *rows])
            cls.docstring.parsed.insert(1, griffe.DocstringSectionText(table))


def _type(field: griffe.Attribute) -> str:
    """Return type and default, or a link for a part of a config."""
    annotation, names = field.annotation, field.module.attributes
    text, path = str(annotation), getattr(annotation, "canonical_path", "")
    if text not in names and path.startswith("mnistsum."):
        return f"[{text}][{path}]"
    return (
        f"`{_expand(text, names)}{'' if field.value is None else f' = {field.value}'}`"
    )


def _expand(text: str, names: dict[str, griffe.Attribute]) -> str:
    """Return a type, with what the module's names such as `Pixels` stand for."""
    text = ANNOTATED.sub(r"\1", text)
    return re.sub(
        r"\w+",
        lambda word: (
            _expand(str(names[word[0]].value), names) if word[0] in names else word[0]
        ),
        text,
    )
