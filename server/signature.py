"""Signatures over manifests: Ed25519 (RFC 8032), as `openssl pkeyutl -rawin` writes them too."""

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from server.settings import ServerError

PEM = re.compile(b"-----BEGIN [^-]+-----.*?-----END [^-]+-----", re.DOTALL)


def public_keys(path: Path) -> list[Ed25519PublicKey]:
    """The keys in a PEM file. Raises ServerError if there are none, or any is of another kind."""
    try:
        keys = [load_pem_public_key(each) for each in PEM.findall(path.read_bytes())]
    except OSError as error:
        raise ServerError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ServerError(f"{path}: not a PEM file of public keys") from error
    ours = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if not keys or len(ours) < len(keys):
        raise ServerError(f"{path}: expected PEM of Ed25519 public keys: openssl pkey -pubout")
    return ours


def private_key(path: Path) -> Ed25519PrivateKey:
    """The key in a PEM file. Raises ServerError if it is none."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ServerError(f"{path}: {error.strerror}") from error
    except (ValueError, TypeError) as error:  # TypeError of one with a passphrase
        raise ServerError(f"{path}: not a PEM file of a private key without passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ServerError(f"{path}: no Ed25519 key: openssl genpkey -algorithm ed25519")
    return key


def is_signed(text: bytes, signature: bytes, keys: list[Ed25519PublicKey]) -> bool:
    """Whether one of `keys` has signed `text`."""
    for key in keys:
        try:
            key.verify(signature, text)
            return True
        except InvalidSignature:
            continue
    return False
