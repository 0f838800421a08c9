"""The TOML file that `qecpipe train --config FILE.toml` reads.

A file describes the stages of one set of weights. What stands at its top is shared; every `[[stages]]` adds
to it or changes it, key by key; a file without any is one stage. `[task]` holds what a file's tasks share.
`init` at the top is where the first stage begins.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from predecoder.correction import Policies
from predecoder.network import network_config
from predecoder.training.config import ClassLossConfig, DataConfig, OptimizerConfig, StageConfig, TrainConfig
from predecoder.training.tasks import TaskConfig

__all__ = ["load_config"]

_TABLES = {
    "policies": Policies,
    "optimizer": OptimizerConfig,
    "data": DataConfig,
    "class_loss": ClassLossConfig,
}
_T = TypeVar("_T")


def load_config(path: str | Path) -> TrainConfig:
    """Read a training run.

    Raises:
        ValueError: not TOML, no tasks, an unknown key, a value of the wrong type or out of range.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    name = table.pop("name", path.stem)
    own = table.pop("stages", None)
    if own is None:
        stages = [{"name": name}]
    elif not isinstance(own, list) or not own:
        raise ValueError(f"{path}: stages={own!r} is not an array of tables, as in [[stages]]")
    else:
        stages = [{"name": f"stage-{k}", **stage} for k, stage in enumerate(own, 1)]
    if "init" in table:
        stages[0] = {"init": table.pop("init"), **stages[0]}
    return TrainConfig(name, tuple(_stage(table | stage, shared=table, path=path) for stage in stages))


def _stage(table: dict[str, Any], *, shared: dict[str, Any], path: Path) -> StageConfig:
    """One stage, of a table with its own keys over the shared ones."""
    where = f"{path}, stage {table['name']!r}"
    values = dict(table)
    if "network" in values:
        merged = _table(shared, "network", where) | _table(values, "network", where)
        try:
            values["network"] = network_config(merged)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    for name, kind in _TABLES.items():
        if name in values:
            merged = _table(shared, name, where) | _table(values, name, where)
            of_table = f"{where} [{name}]"
            policies = kind is Policies  # tables in a table
            values[name] = _policies(merged, of_table) if policies else _build(kind, merged, of_table)
    common = _table(shared, "task", where) | _table(values, "task", where)
    values.pop("task", None)
    tasks = values.pop("tasks", None)
    if not isinstance(tasks, list):
        raise ValueError(f"{where} has no tasks; say what to train on in [[tasks]]")
    values["tasks"] = [_build(TaskConfig, common | task, f"{where} [[tasks]]") for task in tasks]
    return _build(StageConfig, values, where)


def _table(of: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    table = of.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"{where}: {name}={table!r} is not a table, as in [{name}]")
    return table


def _build(kind: type[_T], table: dict[str, Any], where: str) -> _T:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for key in table:
        if key not in fields:
            raise ValueError(f"{where}: unknown key {key!r}; known keys are {', '.join(fields)}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    for key, value in values.items():
        default = fields[key].default
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if isinstance(value, tuple) and "tuple" in str(fields[key].type):
            continue  # one number, or several
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{where}: {key}={value!r} is not a number")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _policies(table: dict[str, Any], where: str) -> Policies:
    try:
        return Policies.from_dict(table)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
