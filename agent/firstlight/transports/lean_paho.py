"""paho-mqtt without what it imports for things that the process that stays never asks of it.

``import paho.mqtt.client`` costs 5.2 MB of private memory (CPython 3.11, ``-I -S``, after ssl), and 3.3 MB of that is
not MQTT: ``urllib`` brings http.client, the e-mail package, tempfile and compressors, only to read proxies from the
environment; ``logging`` is for its optional logger; ``platform`` brings subprocess on 3.10. Proxies are ours
(``connect.py``) and so are logs. So while paho is imported, small stand-ins take the place of these modules; right
after, whoever asks for them gets the real ones. A process that has them already, such as ``firstlight enroll``, is left
as it is.

paho's optional companions are kept out as well: what is installed beside it must not change what it does.
"""

from __future__ import annotations

import hashlib  # noqa: F401 - paho's own import, done before: on a Python that lacks a hash it wants the real logging
import sys

__all__ = [
    "CallbackAPIVersion",
    "MQTTMessage",
    "MQTTProtocolVersion",
    "PacketTypes",
    "Properties",
    "ReasonCode",
    "client",
]

TYPE_CHECKING = False

# What paho reads of each while it is imported. None: "this module is not installed".
STAND_INS: dict[str, dict[str, object] | None] = {
    "urllib": {},
    "urllib.parse": {},
    "urllib.request": {},
    "logging": {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40},
    # uuid is for empty client ids, which ours never are; it must go with platform, which it asks while it is imported.
    "platform": {"system": str},  # "" is not "Windows"
    "uuid": {},
    "socks": None,
    "dns": None,
}


def _put_in() -> list[str]:
    """Puts in a stand-in for each module whose package is not loaded yet; the names of those."""
    names = [name for name in STAND_INS if name.partition(".")[0] not in sys.modules]
    for name in names:
        content = STAND_INS[name]
        if content is None:
            sys.modules[name] = None  # type: ignore[assignment]  # the import system's own sign for "there is none"
            continue
        module = type(sys)(name)
        module.__dict__.update(content)
        sys.modules[name] = module
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)
    return names


if TYPE_CHECKING:
    from paho.mqtt import client
    from paho.mqtt.client import MQTTMessage
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
else:
    _stand_ins = _put_in()
    try:
        from paho.mqtt import client
        from paho.mqtt.client import (
            CallbackAPIVersion,
            MQTTMessage,
            MQTTProtocolVersion,
            PacketTypes,
            Properties,
            ReasonCode,
        )
    finally:
        for _name in _stand_ins:
            del sys.modules[_name]
