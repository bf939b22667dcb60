"""What a service account asks Google's token endpoint with.

It alone of the providers needs `cryptography`, which takes 9 MB: it is loaded with the first token.
"""

from base64 import urlsafe_b64encode
from typing import Final
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sluice.providers.vertex import ServiceAccount
from sluice.values.errors import MalformedCredential

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S: Final = 3600
"""How long Google may believe an assertion: its own bound."""
_LARGEST_KEY_BITS: Final = 4096
_LONGEST_KEY: Final = 8192


def grant(account: ServiceAccount, now_s: int) -> bytes:
    """The form that asks for an access token (RFC 7523). Takes about 2 ms. Raises MalformedCredential."""
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": account.private_key_id} if account.private_key_id else {})
    claims = {
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": now_s,
        "exp": now_s + _ASSERTION_S,
    }
    said = b".".join(_base64(msgspec.json.encode(part)) for part in (header, claims))
    signature = _rsa_key(account).sign(said, PKCS1v15(), SHA256())
    return urlencode({"grant_type": GRANT, "assertion": b"%b.%b" % (said, _base64(signature))}).encode()


def _rsa_key(account: ServiceAccount) -> RSAPrivateKey:
    try:
        if len(account.private_key) <= _LONGEST_KEY:
            key = load_pem_private_key(account.private_key.encode(), None)
            if isinstance(key, RSAPrivateKey) and key.key_size <= _LARGEST_KEY_BITS:
                return key
    except (ValueError, TypeError, UnsupportedAlgorithm):
        pass
    raise MalformedCredential("The private_key of the service account for google-vertex-ai is no RSA key in PEM")


def _base64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
