"""The flags of a verb, parsed into its dataclass, with help texts that wrap as prose."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar, get_type_hints

import tyro

__all__ = ["parse_flags"]

Flags = TypeVar("Flags")


def parse_flags(flags: type[Flags], verb: str, arguments: Sequence[str]) -> Flags:
    """The arguments of `qecpipe VERB` as an instance of the dataclass `flags`, or help and SystemExit.

    The dataclass's docstring is the description, a field's, its own or inherited, its help. tyro would keep
    each source line of the latter a line of its own, since it removes line breaks before it dedents; so it is
    given every paragraph as one line.
    """
    helps = _field_helps(flags)
    hints = get_type_hints(flags, include_extras=True)
    fields = [field for field in dataclasses.fields(flags) if field.init]  # type: ignore[arg-type]
    shown = dataclasses.make_dataclass(
        flags.__name__,
        [
            (
                field.name,
                Annotated[
                    hints[field.name],
                    tyro.conf.arg(help=helps.get(field.name, ""), help_behavior_hint=_hint(field)),
                ],
                dataclasses.field(
                    default=field.default, default_factory=field.default_factory, kw_only=field.kw_only
                ),
            )
            for field in fields
        ],
    )
    parsed = tyro.cli(shown, prog=f"qecpipe {verb}", description=_description(flags), args=arguments)
    return flags(**{field.name: getattr(parsed, field.name) for field in fields})


def _hint(field: dataclasses.Field) -> Callable[[str], str] | str:
    """What stands behind a help text: the default, but for one that its text tells as "left out: ..."."""
    if field.default is None or field.default in ((), "default"):
        return ""
    required = field.default is field.default_factory is dataclasses.MISSING
    return "(required)" if required else lambda default: f"(default: {default})"


def _description(flags: type) -> str:
    """The dataclass's docstring, as wide as the terminal: tyro wraps help, but no description.

    It joins lines that begin with a letter, so that each begins with a space here; and since it makes two
    empty lines of one before such a line, paragraphs have none between them.
    """
    width = shutil.get_terminal_size().columns - 1
    paragraphs = _joined(inspect.getdoc(flags) or "").split("\n\n")
    wrapped = (
        textwrap.wrap(one, width, break_long_words=False, break_on_hyphens=False) for one in paragraphs
    )
    return "\n".join(f" {line}" for lines in wrapped for line in lines)


def _field_helps(flags: type) -> dict[str, str]:
    """Field name -> its docstring, of the first class in the order of inheritance that has one."""
    helps: dict[str, str] = {}
    for one in (base for base in flags.__mro__ if dataclasses.is_dataclass(base)):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in itertools.pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(ast.Constant(str(docstring))):
                        helps.setdefault(field.target.id, _joined(docstring))
    return helps


def _joined(docstring: str) -> str:
    """The paragraphs of a docstring, each in one line."""
    paragraphs = re.split(r"\n\s*\n", docstring.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
