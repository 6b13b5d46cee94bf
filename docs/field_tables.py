"""A griffe extension: tables of the fields of configs and named tuples, with their trailing comments."""

import html
import re
from collections.abc import Iterator
from typing import Any

import griffe

COMMENT = re.compile(r"  # (.*)$")
ANNOTATED = re.compile(r"Annotated\[((?:[^,\[\]]|\[[^\[\]]*\])+),.*\]", re.DOTALL)  # the type is its first argument


class Fields(griffe.Extension):
    """Adds a table of the fields to dataclasses and NamedTuples: type, default and trailing comment."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Add the tables; griffe calls this once it has read the whole package."""
        for module in _modules(pkg):
            for each in module.classes.values():
                if not each.is_alias and each.docstring is not None:
                    _add_table(each, each.docstring)


def _modules(module: griffe.Module) -> Iterator[griffe.Module]:
    yield module
    for inner in module.modules.values():
        if not inner.is_alias:
            yield from _modules(inner)


def _add_table(described: griffe.Class, docstring: griffe.Docstring) -> None:
    """Insert the table after the docstring's first section, its text."""
    fields = [field for field in described.attributes.values() if field.annotation is not None]
    rows = [f"| `{field.name}`<br>{_type(field)}{_default(field)} | {_comment(field)} |" for field in fields]
    if rows:
        table = "\n".join(["| field | meaning |", "|---|---|", *rows])
        docstring.parsed.insert(1, griffe.DocstringSectionText(table))


def _type(field: griffe.Attribute) -> str:
    """Return the annotation, with a link if it is one of our classes."""
    annotation, names = field.annotation, field.module.attributes
    is_ours = isinstance(annotation, griffe.ExprName) and annotation.canonical_path.startswith("mnistsum.")
    if is_ours and str(annotation) not in names:
        return f"[{annotation}][{annotation.canonical_path}]"
    text = _expand(str(annotation), names)
    choices = re.fullmatch(r"Literal\[(.*)\]", text)
    text = text if choices is None else choices[1].replace(", ", " | ")
    return html.escape(text).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;").replace("[", "&#91;")


def _expand(text: str, names: dict[str, griffe.Attribute]) -> str:
    """Return a type with the module's own names for types, such as `Pixels`, replaced by what they stand for."""
    text = ANNOTATED.sub(r"\1", text)
    return re.sub(r"\w+", lambda word: _expand(str(names[word[0]].value), names) if word[0] in names else word[0], text)


def _default(field: griffe.Attribute) -> str:
    """Return the default; nothing for a part of a config, whose fields have their own."""
    return "" if field.value is None or str(field.value).startswith("field(") else f" = {field.value}"


def _comment(field: griffe.Attribute) -> str:
    match = COMMENT.search(field.lines[-1]) if field.lines else None
    return match[1] if match else ""
