"""A validating admission webhook: says at ``kubectl apply`` what the schemas cannot say."""

from __future__ import annotations

from pyagent.webhook.review import review
from pyagent.webhook.server import WebhookServer

__all__ = ["WebhookServer", "review"]
