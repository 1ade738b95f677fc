"""The configuration in force: KubeControllersConfiguration, with the environment's word before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from pyagent.errors import AutohepError
from pyagent.manifest import format_duration, parse_duration
from pyagent.model.config import (
    AutoHostEndpointConfig,
    ControllersConfig,
    KubeControllersConfigurationSpec,
    KubeControllersConfigurationStatus,
    NodeControllerConfig,
)

_ENABLED, _DISABLED = "Enabled", "Disabled"
_SWITCH = {"enabled": _ENABLED, "disabled": _DISABLED}
_BOOLEAN = dict.fromkeys(("1", "t", "true"), _ENABLED) | dict.fromkeys(("0", "f", "false"), _DISABLED)
_SEVERITY = {
    "trace": "Debug",
    "debug": "Debug",
    "info": "Info",
    "warn": "Warning",
    "warning": "Warning",
    "error": "Error",
    "fatal": "Fatal",
    "panic": "Fatal",
}
#: Controllers of the reference implementation; only the first exists here.
_CONTROLLERS = (
    "node",
    "policy",
    "namespace",
    "serviceaccount",
    "workloadendpoint",
    "loadbalancer",
    "migration",
)  #: What is in force when nobody says otherwise; shown in the status as if it were set.
_ASSUMED = {"DATASTORE_TYPE": "kubernetes", "ENABLED_CONTROLLERS": "node"}


class SettingsError(AutohepError):
    """An environment variable has a value that means nothing; a guess would be worse than an end."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the environment lays down; empty: the resource decides. ``variables`` are as they were found."""

    variables: dict[str, str]
    auto_create: str = ""
    severity: str = ""
    health_checks: str = ""
    compaction_period: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Environment:
        """Read the variables that count. Raises SettingsError for a value that means nothing."""
        found = {name: environment[name] for name in (*_ASSUMED, *_READERS) if name in environment}
        read = {name: reader(name, found[name]) for name, reader in _READERS.items() if name in found}
        return cls(
            variables=_ASSUMED | found,
            auto_create=read.get("AUTO_HOST_ENDPOINTS", ""),
            severity=read.get("LOG_LEVEL", ""),
            health_checks=read.get("HEALTH_ENABLED", ""),
            compaction_period=read.get("COMPACTION_PERIOD", ""),
        )


def host_endpoint_config(
    spec: KubeControllersConfigurationSpec, environment: Environment
) -> AutoHostEndpointConfig:
    """What the node controller obeys, complete."""
    node = spec.controllers.node or NodeControllerConfig()
    given = node.host_endpoint or AutoHostEndpointConfig()
    return replace(
        given,
        auto_create=environment.auto_create or given.auto_create or _DISABLED,
        create_default_host_endpoint=given.create_default_host_endpoint or _ENABLED,
    )


def status_of(
    spec: KubeControllersConfigurationSpec, environment: Environment
) -> KubeControllersConfigurationStatus:
    """The status to show: only what really runs, which is the node controller, and what it obeys."""
    config = host_endpoint_config(spec, environment)
    if config.auto_create == _DISABLED:
        config = AutoHostEndpointConfig(auto_create=_DISABLED)
    period = environment.compaction_period or spec.etcd_v3_compaction_period or "10m0s"
    running = KubeControllersConfigurationSpec(
        log_severity_screen=environment.severity or spec.log_severity_screen or "Info",
        health_checks=environment.health_checks or spec.health_checks or _ENABLED,
        etcd_v3_compaction_period=format_duration(parse_duration(period)),
        # Node labels are read from the Nodes themselves, so there is nothing to synchronise.
        controllers=ControllersConfig(node=NodeControllerConfig(sync_labels=_DISABLED, host_endpoint=config)),
    )
    return KubeControllersConfigurationStatus(environment_vars=environment.variables, running_config=running)


def _switch(name: str, value: str) -> str:
    return _one_of(name, value, _SWITCH)


def _boolean(name: str, value: str) -> str:
    return _one_of(name, value, _BOOLEAN)


def _severity(name: str, value: str) -> str:
    return _one_of(name, value, _SEVERITY)


def _duration(name: str, value: str) -> str:
    try:
        return format_duration(parse_duration(value))
    except ValueError as error:
        msg = f"environment variable {name}: {error}"
        raise SettingsError(msg) from error


def _controllers(name: str, value: str) -> str:
    """``node`` must be among them; the reference's others are accepted, but do not run."""
    wanted = [part.strip().lower() for part in value.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in _CONTROLLERS]
    if unknown or "node" not in wanted:
        reason = f"no controller is called {unknown[0]!r}" if unknown else "must name the controller 'node'"
        msg = f"environment variable {name} = {value!r}: {reason}"
        raise SettingsError(msg)
    return value


def _one_of(name: str, value: str, meanings: Mapping[str, str]) -> str:
    try:
        return meanings[value.lower()]
    except KeyError:
        msg = f"environment variable {name} = {value!r}: must be one of {', '.join(meanings)}"
        raise SettingsError(msg) from None


_READERS = {
    "ENABLED_CONTROLLERS": _controllers,
    "AUTO_HOST_ENDPOINTS": _switch,
    "SYNC_NODE_LABELS": _boolean,
    "LOG_LEVEL": _severity,
    "HEALTH_ENABLED": _boolean,
    "RECONCILER_PERIOD": _duration,
    "COMPACTION_PERIOD": _duration,
}
