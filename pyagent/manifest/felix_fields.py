"""Fields of upstream's FelixConfiguration that mean nothing here but must survive a round trip.

They are accepted unchecked and kept in ``FelixConfigurationSpec.upstream``; all else is an unknown field.
"""

from __future__ import annotations

_NAMES = """
allowIPIPPacketsFromWorkloads allowVXLANPacketsFromWorkloads awsSrcDstCheck chainInsertMode cgroupV2Path
dataplaneDriver dataplaneWatchdogTimeout debugDisableLogDropping debugHost debugMemoryProfilePath debugPort
debugSimulateCalcGraphHangAfter debugSimulateDataplaneApplyDelay debugSimulateDataplaneHangAfter
deviceRouteProtocol deviceRouteSourceAddress deviceRouteSourceAddressIPv6 disableConntrackInvalidCheck
endpointReportingDelay endpointReportingEnabled endpointStatusPathPrefix externalNodesList
featureDetectOverride featureGates genericXDPEnabled goGCThreshold goMaxProcs goMemoryLimitMB
healthHost healthPort healthTimeoutOverrides
ipForwarding ipipMTU ipsetsRefreshInterval ipv4ElevatedRoutePriority ipv4NormalRoutePriority
ipv6ElevatedRoutePriority ipv6NormalRoutePriority ipv6Support istioAmbientMode istioDSCPMark
iptablesFilterAllowAction iptablesFilterDenyAction iptablesLockFilePath iptablesLockProbeInterval
iptablesLockTimeout iptablesMangleAllowAction iptablesMarkMask iptablesNATOutgoingInterfaceFilter
iptablesPostWriteCheckInterval iptablesRefreshInterval
kubeMasqueradeBit kubeNodePortRanges localWorkloadRoute
logActionRateLimit logActionRateLimitBurst logDebugFilenameRegex logFilePath logPrefix logSeverityFile
logSeveritySys maxIpsetSize metadataAddr metadataPort mtuIfacePattern
natOutgoingAddress natOutgoingExclusions natPortRange netlinkTimeout
nftablesFilterAllowAction nftablesFilterDenyAction nftablesMangleAllowAction nftablesMarkMask nftablesMode
nftablesRefreshInterval openstackRegion policySyncPathPrefix programClusterRoutes
prometheusGoMetricsEnabled prometheusMetricsCAFile prometheusMetricsCertFile prometheusMetricsClientAuth
prometheusMetricsHost prometheusMetricsKeyFile prometheusProcessMetricsEnabled prometheusReporterEnabled
prometheusWireGuardMetricsEnabled removeExternalRoutes reportingTTL requireMTUFile routeRefreshInterval
routeSource routeSyncDisabled routeTableRange routeTableRanges serviceLoopPrevention
sidecarAccelerationEnabled usageReportingEnabled usageReportingInitialDelay usageReportingInterval
useInternalDataplaneDriver
vxlanMTU vxlanMTUV6 vxlanVNI windowsManageFirewallRules
wireguardEnabledV6 wireguardHostEncryptionEnabled wireguardInterfaceName wireguardInterfaceNameV6
wireguardKeepAlive wireguardListeningPortV6 wireguardMTU wireguardMTUV6 wireguardRoutingRulePriority
wireguardThreadingEnabled workloadSourceSpoofing xdpEnabled xdpRefreshInterval
"""
#: Whole families of fields, each the settings of one upstream component.
_FAMILIES = ("bpf", "flowLogs")

KNOWN = frozenset(_NAMES.split())


def is_upstream_field(name: str) -> bool:
    """Whether ``spec.<name>`` is a setting of upstream's agent that is kept though it is not used."""
    return name in KNOWN or any(
        name.startswith(family) and name[len(family) : len(family) + 1].isupper() for family in _FAMILIES
    )
