"""The API's rules for names (apimachinery, util/validation). Each returns what is wrong, or ""."""

from __future__ import annotations

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_PORT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ENVIRONMENT = re.compile(r"[ -<>-~]+")  # printable ASCII without =
_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9*]([-_a-zA-Z0-9*]*[a-zA-Z0-9*])?)*")
_HEADER = re.compile(r"[-!#$%&'*+.^_`|~A-Za-z0-9]+")

_WORD, _NAME = 63, 253
_PORT_NAME = 15


def label(text: str) -> str:
    """DNS-1123 label: containers, volumes, namespaces, hostnames."""
    if len(text) <= _WORD and _LABEL.fullmatch(text):
        return ""
    return f"{text!r} is no name: at most {_WORD} lower-case letters, digits and -, no - at an end"


def subdomain(text: str) -> str:
    """DNS-1123 subdomain: pods and other objects."""
    if len(text) <= _NAME and _SUBDOMAIN.fullmatch(text):
        return ""
    return f"{text!r} is no name: at most {_NAME} lower-case letters, digits, - and ., as DNS has them"


def qualified(text: str) -> str:
    """Keys of labels and annotations: [prefix/]name."""
    prefix, slash, name = text.rpartition("/")
    if (not slash or not subdomain(prefix.lower())) and 0 < len(name) <= _WORD and _QUALIFIED.fullmatch(name):
        return ""
    return f"{text!r} is no key: [a DNS name/]at most {_WORD} letters, digits, -, _ and ."


def label_value(text: str) -> str:
    if not text or (len(text) <= _WORD and _QUALIFIED.fullmatch(text)):
        return ""
    return f"{text!r} is no label's value: at most {_WORD} letters, digits, -, _ and ."


def data_key(text: str) -> str:
    """Keys of ConfigMaps and Secrets: they become file names."""
    if len(text) <= _NAME and _KEY.fullmatch(text) and text != "." and not text.startswith(".."):
        return ""
    return f"{text!r} is no key: letters, digits, -, _ and ., not beginning with .."


def port(text: str) -> str:
    """IANA service name."""
    if len(text) <= _PORT_NAME and _PORT.fullmatch(text) and not text.replace("-", "").isdecimal():
        return ""
    return f"{text!r} is no port's name: at most {_PORT_NAME} lower-case letters, digits and -, one a letter"


def environment(text: str) -> str:
    if _ENVIRONMENT.fullmatch(text):
        return ""
    return f"{text!r} is no variable's name: printable ASCII without ="


def sysctl(text: str) -> str:
    if len(text) <= _NAME and _SYSCTL.fullmatch(text):
        return ""
    return f"{text!r} is no kernel parameter's name"


def header(text: str) -> str:
    return "" if _HEADER.fullmatch(text) else f"{text!r} is no HTTP header's name"


def address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return f"{text!r} is no IP address"
    return ""


def inner_path(text: str) -> str:
    """A relative path that stays where it is: of keys in volumes, sub-paths, seccomp profiles."""
    if not text or text.startswith("/"):
        return f"{text!r} is no relative path"
    return f"{text!r} must not hold .." if ".." in text.split("/") else ""
