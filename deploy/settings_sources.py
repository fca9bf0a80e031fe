"""Where the settings' values come from, and the one line that says what is wrong with one."""

import difflib
import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from deploy.settings import ENV_PREFIX, FILE_NAME, Settings, SettingsError

MASK = "********"
MISSPELT_CUTOFF = 0.9
"""NEXTCLICK_TOPK is like its setting by .97, NEXTCLICK_SERVICE_HOST like none by more than .87."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """The settings with the origin of each: a flag, an environment variable, the file or the default."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(flags: Mapping[str, Any] | None = None, folder: Path | None = None) -> Settings:
    """Return the settings of this run; ``flags`` are those given on the command line, None where not given.

    Raises SettingsError with one line for whoever wrote the value.
    """
    return load_with_origins(flags, folder).settings


def load_with_origins(flags: Mapping[str, Any] | None = None, folder: Path | None = None) -> LoadedSettings:
    """Return the settings and where each value came from; raises SettingsError."""
    _warn_of_misspelt_variables()
    path = (folder or Path()) / FILE_NAME
    from_file = _read_file(path)
    from_flags = {name: value for name, value in (flags or {}).items() if value is not None}
    origins = dict.fromkeys(Settings.model_fields, "default")
    origins |= dict.fromkeys(from_file, FILE_NAME)
    origins |= {
        name: variable_of(name) for name in Settings.model_fields if os.environ.get(variable_of(name))
    }
    origins |= {name: flag_of(name) for name in from_flags}
    # pydantic-settings ranks keyword arguments above the environment, which the file must not be.
    for_pydantic = {
        name: value
        for name, value in (from_file | from_flags).items()
        if origins[name] in (FILE_NAME, flag_of(name))
    }
    try:
        return LoadedSettings(Settings(**for_pydantic), origins)
    except ValidationError as error:
        raise SettingsError(_one_line(error, origins, for_pydantic)) from error


def variable_of(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENV_PREFIX + name.upper()


def flag_of(name: str) -> str:
    """Return the command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def may_be(name: str) -> str:
    """Return in words what values a setting takes."""
    field = Settings.model_fields[name]
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "may_be" in extra:
        return str(extra["may_be"])
    kinds = _kinds(field.annotation)
    if get_origin(kinds[0]) is Literal:
        *others, last = get_args(kinds[0])
        return f"{', '.join(others)} or {last}"
    number = "a whole number" if int in kinds else "a number"
    limits = _limits(field)
    return f"{number} {limits}" if limits else number


def shown(name: str, value: Any) -> str:
    """Return a value as text that may be printed: secrets are masked."""
    if value is None:
        return "not set"
    return MASK if SecretStr in _kinds(Settings.model_fields[name].annotation) else str(value)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from error
    for name in values:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else "nextclick settings lists them all"
            raise SettingsError(f"{path}: there is no setting {name!r}; {hint}")
    return values


def _warn_of_misspelt_variables() -> None:
    """Say which variables look like a setting and are none; no error, for platforms set some of their own."""
    variables = [variable_of(name) for name in Settings.model_fields]
    for name in sorted(os.environ):
        if name.startswith(ENV_PREFIX) and name not in variables:
            near = difflib.get_close_matches(name, variables, n=1, cutoff=MISSPELT_CUTOFF)
            if near:
                _log.warning("%s is no setting and is ignored; did you mean %s?", name, near[0])


def _one_line(error: ValidationError, origins: Mapping[str, str], given: Mapping[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:  # two settings that contradict each other; the text names both
        return str(first["msg"]).removeprefix("Value error, ")
    name = str(first["loc"][0])
    value = given.get(name, os.environ.get(variable_of(name)))
    return f"setting {name} = {shown(name, value)} ({origins[name]}) is not usable: expected {may_be(name)}"


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for kind in get_args(annotation) if kind is not NoneType)
    return (annotation,)


def _limits(field: FieldInfo) -> str:
    words = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=value):
                words.append(f"of at least {value:,}")
            case Gt(gt=value):
                words.append(f"above {value:,}")
            case Le(le=value):
                words.append(f"at most {value:,}")
            case Lt(lt=value):
                words.append(f"below {value:,}")
    return " and ".join(words)
