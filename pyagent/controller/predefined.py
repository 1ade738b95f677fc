"""The resources that always exist: the controller writes those that are missing."""

from __future__ import annotations

from pyagent.controller.desired import DEFAULT_PROFILE
from pyagent.manifest import BUILT_IN_TIERS, initial_kube_controllers_configuration
from pyagent.model import CALICO_V3, Metadata, Profile, Resource, Tier
from pyagent.model.policy import ProfileSpec, Rule


def predefined() -> tuple[Resource, ...]:
    """The three tiers, the profile that allows everything, and the controllers' configuration."""
    tiers = (
        Tier(api_version=CALICO_V3, kind=Tier.KIND, metadata=Metadata(name=name), spec=spec)
        for name, spec in BUILT_IN_TIERS.items()
    )
    allow = (Rule(action="Allow"),)
    profile = Profile(
        api_version=CALICO_V3,
        kind=Profile.KIND,
        metadata=Metadata(name=DEFAULT_PROFILE),
        spec=ProfileSpec(ingress=allow, egress=allow),
    )
    return (*tiers, profile, initial_kube_controllers_configuration())
