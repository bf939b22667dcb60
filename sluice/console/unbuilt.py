"""What the contract knows and no version has built yet. An issue that builds a part deletes its row."""

from collections.abc import Callable
from typing import Final

from sluice.console.call import Method
from sluice.console.envelope import not_built
from sluice.values.gateway import GatewayConfig

GATEWAY_FIELDS: Final[dict[str, tuple[str, Callable[[GatewayConfig], bool]]]] = {
    "dlp": ("Data loss prevention (dlp.enabled)", lambda c: c.dlp is not None and c.dlp.enabled),
    "guardrails": (
        "Guardrails (a rule in guardrails)",
        lambda c: c.guardrails is not None and bool(c.guardrails.prompt or c.guardrails.response),
    ),
    "otel": ("OpenTelemetry export (otel)", lambda c: bool(c.otel)),
    "store_id": ("A secrets store (store_id)", lambda c: c.store_id is not None),
    "stripe": ("Stripe metering (stripe)", lambda c: c.stripe is not None),
    "log_classification": ("Log classification (log_classification)", lambda c: c.log_classification),
    "workers_ai_billing_mode": (
        "Unified billing (workers_ai_billing_mode unified)",
        lambda c: c.workers_ai_billing_mode == "unified",
    ),
    "zdr": ("Zero data retention (zdr)", lambda c: c.zdr),
}
"""Field to what is refused, and when a value asks for it."""

_GATEWAY: Final = "/client/v4/accounts/{account}/ai-gateway/gateways/{gateway}"
_ACCOUNT: Final = "/client/v4/accounts/{account}/ai-gateway"

ANY: Final[tuple[Method, ...]] = ("GET", "POST", "PUT", "PATCH", "DELETE")

PATHS: Final[tuple[tuple[tuple[Method, ...], str, str], ...]] = (
    (ANY, f"{_GATEWAY}/datasets", "Datasets"),
    (ANY, f"{_GATEWAY}/evaluations", "Evaluations"),
    (ANY, f"{_GATEWAY}/routes", "Dynamic routes"),
    (ANY, f"{_GATEWAY}/policies", "Policies"),
    (ANY, f"{_GATEWAY}/custom-domains", "Custom domains"),
    (ANY, f"{_ACCOUNT}/evaluation-types", "Evaluations"),
    (ANY, f"{_ACCOUNT}/billing", "Billing"),
)
"""Methods, the path with all below it, and what stands behind it."""


def refuse_unbuilt_fields(config: GatewayConfig) -> None:
    for field, (what, asked) in GATEWAY_FIELDS.items():
        if asked(config):
            raise not_built(what, "body", field)
