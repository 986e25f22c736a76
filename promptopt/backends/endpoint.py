"""Endpoint: where a model is served and what is needed to get there: base URL, model, key and proxy.

All of it is settled before the first call, so that a wrong setting costs nothing.
"""

import os
import urllib.request
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Self
from urllib.parse import SplitResult, urlsplit

from promptopt.errors import ConfigError

KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one base URL.

    Args:
        url: The base URL, without a slash at its end.
        model: The model that was named; empty if none was.
        key: The key to send; empty if none is needed.
        key_variable: The environment variable that the key is read from.
        proxy: The proxy to go through, if any; may hold a password.
    """

    url: str
    model: str
    key: str = field(repr=False)
    key_variable: str
    proxy: str | None = field(repr=False)

    @classmethod
    def at(cls, address: str, key_variable: str = "") -> Self:
        """Return the endpoint of an address such as ``http://host:port/v1#model``, with the environment's key.

        Args:
            address: The base URL, ``/v1`` if it has no path, and the model after ``#`` where the server has several.
            key_variable: The environment variable that holds the key; ``OPENAI_API_KEY`` if empty.

        Raises:
            ConfigError: The address cannot be used, or the key is missing.
        """
        url, _, model = address.partition("#")
        parts = _check_url(url)
        url = url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"
        return cls(url, model, _find_key(parts, key_variable), key_variable or KEY_VARIABLE, _find_proxy(parts))

    @property
    def address(self) -> str:
        """The base URL, with the model if one was named."""
        return f"{self.url}#{self.model}" if self.model else self.url


def _check_url(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{parts.scheme}://{parts.hostname or ''} is not an address; write http://host:port/v1.")
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(
            f"The address of {parts.hostname} holds a user name, password or query; an address is stored and shown, "
            "so put the key into an environment variable and name it with key_variable."
        )
    return parts


def _find_key(parts: SplitResult, variable: str) -> str:
    host = parts.hostname or ""
    shielded = parts.scheme == "https" or _is_loopback(host)
    named = variable or KEY_VARIABLE
    key = os.environ.get(named, "").strip()
    if not key and (variable or (parts.scheme == "https" and not _is_loopback(host))):
        raise ConfigError(
            f"There is no key for {host}: set the environment variable {named}, or name another with key_variable."
        )
    if not key.isprintable():
        raise ConfigError(f"The key in the environment variable {named} holds control characters; set it anew.")
    # Without encryption anybody on the way can read the key, so it goes out only if it was named for this address.
    return key if variable or shielded else ""


def _find_proxy(parts: SplitResult) -> str | None:
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    if (scheme := urlsplit(proxy).scheme) not in ("http", "https"):
        raise ConfigError(f"The proxy for {host} is of the kind '{scheme}'; only http proxies work, or set NO_PROXY.")
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
