"""autohep: automatic host endpoints for Kubernetes nodes, enforced by eBPF."""

__version__ = "0.1.0"
