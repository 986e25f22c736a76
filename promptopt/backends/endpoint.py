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
OPENAI_URL = "https://api.openai.com/v1"

_EXAMPLES = {"openai": "openai:gpt-4o-mini", "litellm": "litellm:anthropic/claude-sonnet-4-5"}
_ACCOUNT = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one base URL.

    Args:
        url: The base URL, without a slash at its end; empty where litellm knows it.
        model: The model that was named; empty if none was.
        key: The key to send; empty if none is needed.
        key_variable: The environment variable that the key is read from; empty where litellm knows it.
        proxy: The proxy to go through, if any; may hold a password.
        package: The package that the address names: ``openai``, ``litellm``, or none.
    """

    url: str
    model: str
    key: str = field(repr=False)
    key_variable: str
    proxy: str | None = field(repr=False, default=None)
    package: str = ""

    @classmethod
    def at(cls, address: str, key_variable: str = "") -> Self:
        """Return the endpoint of an address, with the key of the environment.

        Args:
            address: ``http://host:port/v1#model``, with ``/v1`` if it has no path, and the model where the server has
                several; or ``openai:`` or ``litellm:`` before such a one or before the model alone.
            key_variable: The environment variable that holds the key; ``OPENAI_API_KEY`` if empty.

        Raises:
            ConfigError: The address cannot be used, or the key is missing.
        """
        package, url, model = _split(address)
        if not url:  # litellm finds the server and its key by the model's name
            key = _read(key_variable)
            if key_variable and not key:
                raise _no_key(address, key_variable)
            return cls("", model, key, key_variable, package=package)
        parts = _check_url(url)
        url = url.rstrip("/") if parts.path.strip("/") else f"{url.rstrip('/')}/v1"
        key = _find_key(parts, key_variable)
        return cls(url, model, key, key_variable or KEY_VARIABLE, _find_proxy(parts), package)

    @property
    def address(self) -> str:
        """The base URL, with the model if one was named; behind the package, if one was named."""
        place = "" if self.package and self.url in ("", OPENAI_URL) else self.url
        named = f"{place}#{self.model}" if place and self.model else place or self.model
        return f"{self.package}:{named}" if self.package else named

    @property
    def headers(self) -> dict[str, str]:
        """What says to the server who is asking."""
        if not self.key:
            return {}
        headers = {"Authorization": f"Bearer {self.key}"}
        if self.key_variable == KEY_VARIABLE:
            headers |= {name: value for name, variable in _ACCOUNT.items() if (value := _read(variable))}
        return headers


def _split(address: str) -> tuple[str, str, str]:
    """Return the package, base URL and model that an address names, empty where it names none."""
    package, _, named = address.partition(":")
    if package not in ("openai", "litellm"):
        package, named = "", address
    url, mark, model = named.partition("#")
    if package and not mark and not named.startswith(("http://", "https://")):
        url, model = "", named
    if package == "openai" and not url:
        url = _read("OPENAI_BASE_URL") or OPENAI_URL
    if package and not model and url in ("", OPENAI_URL):
        raise ConfigError(f"{address} names no model; write {_EXAMPLES[package]}.")
    return package, url, model


def _check_url(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:  # a bracket of an IPv6 address is not closed, say
        raise ConfigError(f"{url} is not an address ({error}); write http://host:port/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{parts.scheme}://{parts.hostname or ''} is not an address; write http://host:port/v1.")
    try:
        _ = parts.port
    except ValueError:
        raise ConfigError(f"The port of {url} is no number from 0 to 65535; write http://host:port/v1.") from None
    if parts.username is not None or parts.password is not None or parts.query:
        raise ConfigError(
            f"The address of {parts.hostname} holds a user name, password or query; an address is stored and shown, "
            "so put the key into an environment variable and name it with key_variable."
        )
    return parts


def _find_key(parts: SplitResult, variable: str) -> str:
    host = parts.hostname or ""
    loopback = _is_loopback(host)
    key = _read(variable or KEY_VARIABLE)
    if not key and (variable or (parts.scheme == "https" and not loopback)):
        raise _no_key(host, variable or KEY_VARIABLE)
    # Without encryption anybody on the way can read the key, so it goes out only if it was named for this address.
    return key if variable or parts.scheme == "https" or loopback else ""


def _read(variable: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value.isprintable():
        raise ConfigError(f"The environment variable {variable} holds control characters; set it anew.")
    return value


def _no_key(place: str, variable: str) -> ConfigError:
    return ConfigError(
        f"There is no key for {place}: set the environment variable {variable}, or name another with key_variable."
    )


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
