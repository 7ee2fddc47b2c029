"""Every error the agent can end in, as one tree.

    FirstlightError
    ├── UsageError            what was typed, or a settings file, cannot be used       exit 2
    ├── InvitationError       the installId or payload itself is wrong                exit 65
    ├── UnreachableError      the platform was not reached, or not understood: retry  exit 69
    ├── UpgradeError          a release was refused or given up: the old one runs on  exit 70
    ├── StateError            this machine's state cannot be read or written          exit 74
    ├── NotEnrolledError      a verb that needs a registration found none             exit 78
    └── RefusedError          the platform said a named, permanent no                 exit 78

Each carries a stable ``code`` (lower_snake_case, never renamed), one sentence that says what happened, and a
``hint`` that says what to do next. ``is_permanent`` answers the only question the daemon asks: is retrying useless?
Exit statuses follow sysexits.h. This module imports nothing, so that every room may import it.
"""

HINTS = {
    # what was typed
    "usage": "Run the command with --help.",
    "settings_invalid": "Correct the setting named above, then run the command again.",
    "settings_unreadable": "Run the command as the user who owns the settings file, or with sudo.",
    # the invitation
    "source_unreadable": "Check the path, and that you may read it.",
    "install_id_malformed": "Copy the installId again: 16 to 64 letters, digits, '-' or '_'.",
    "endpoint_malformed": "Give it as https://HOST[:PORT] without a path, user or query; a broker's as mqtts://HOST[:PORT].",
    "endpoint_insecure": "Use https://. Plain http:// is accepted for this machine's own loopback only.",
    "pin_malformed": "Copy the pin again: it reads sha256// followed by 44 characters.",
    "ca_malformed": "Give a PEM file with the platform's CA certificate.",
    "invitation_malformed": (
        "Put the operator's install command into it as it is, or three lines: hub = https://HOST:PORT, "
        "pin = sha256//…, install_id = …"
    ),
    "already_enrolled": "To enroll this box anew, run 'firstlight reset' first.",
    # the offline road
    "payload_malformed": "Scan or copy the whole code again, as it is; else ask the operator to print it anew.",
    "payload_unsupported": "Install a newer agent, or ask the operator for a code or an install command for this one.",
    "payload_unsigned": "Ask the operator for a code that the hub made; this box takes only signed ones.",
    "payload_key_unknown": (
        "Ask the operator whether the code is of another hub. If not, run 'firstlight-hub release-key' there and put "
        "its public key into /etc/firstlight/trust.d on this box."
    ),
    "payload_forged": "Do not use it. Scan the code again; if that fails too, ask the operator for a new one.",
    "payload_expired": "Ask the operator for a new code. If this box's clock is wrong, set it first.",
    "payload_from_future": "Check this box's clock. If it is right, ask the operator whose hub's clock is wrong.",
    "payload_not_for_this_box": (
        "Take the code that is for this box. Its serial: firstlight facts, or RESULT.txt on the stick."
    ),
    "payload_too_large": "Nothing that the hub makes is so large. Scan the code of this box.",
    "payload_parts_mixed": "Scan the parts of one label or sheet only, beginning again with any of them.",
    "payload_part_missing": "Scan the parts named above too; any order will do.",
    "payload_seen": "A box takes each code in once. Ask the operator for a new one.",
    "typed_code_malformed": "Type the code as it is printed: four groups of four, then two digits.",
    "typed_code_wrong": "Compare the code with the label, one group after the other, and type it again.",
    "picture_unreadable": "Give a PNG or JPEG, best taken from near, with the whole code and its white margin in it.",
    "picture_too_large": "Cut the picture down to the code and its white margin, or save it smaller.",
    "code_not_found": (
        "Go closer, hold still, and mind shadow and glare; the code's white margin must be in the picture."
    ),
    "codes_several": "Show one code alone: cover the other with a hand, or cut the picture.",
    "code_not_ours": "Scan the square code on this box's own label, or that of a Wi-Fi.",
    "text_too_long": "Give the code alone, without anything around it.",
    "camera_missing": "Plug a camera in, or use a picture: firstlight scan --image FILE",
    "camera_busy": "Stop the program that uses the camera, or use a picture: firstlight scan --image FILE",
    "camera_gone": "Plug the camera in again; if it was not pulled, try another socket or cable.",
    "camera_forbidden": "Run the command with sudo, or put this user into the group 'video'.",
    "camera_unsupported": "Take another camera, or set camera_command to a program that writes its pictures.",
    "wifi_malformed": "Print the Wi-Fi's code anew, best with the access point's own page or a phone.",
    "wifi_unsupported": "Set this network up by hand (nmcli), or give the box another one.",
    "network_not_allowed": 'To let codes set the network up: apply_network = "yes" in /etc/firstlight/agent.toml',
    "network_unmanaged": "Set the network up with what this box uses instead of NetworkManager.",
    "network_refused": "Look at NetworkManager's log: journalctl -u NetworkManager",
    "network_wish_malformed": "Scan the code again.",
    # hooks
    "hook_failed": (
        "See what it wrote: journalctl -t firstlight-hook. Once it is mended: firstlight hooks --repeat KIND"
    ),
    "hook_late": (
        "Have it start a service and end, or give it more time: hook_limit_s in /etc/firstlight/agent.toml. Then: "
        "firstlight hooks --repeat KIND"
    ),
    "hook_unstartable": "Mend the file (its first line, its rights), then: firstlight hooks --repeat KIND",
    "hook_no_event": "It is run when there is one. See: firstlight hooks",
    "stick_unreadable": "Put the stick in again; if that fails too, copy the files onto another one (FAT32).",
    "stick_malformed": "Copy the file from the operator's desk onto the stick again.",
    "stick_empty": "Copy the operator's files into the top folder of the stick, then put it in again.",
    "stick_unwritable": "Free some space on the stick and take its write protection off.",
    "scanner_unusable": (
        "Set the scanner to serial (USB-COM), 9600 baud, or name its path in the setting scanner_device."
    ),
    "scan_missing": (
        "Run the install command again with --with-scanning, or install zxing-cpp, pillow and pyzbar with libzbar0."
    ),
    "receipt_malformed": "Copy the whole link, from HTTPS to its last character, or read the picture again.",
    "receipt_newer": "The box has a newer agent than this hub or desk knows. Upgrade the hub.",
    "receipt_forged": "Do not trust it. Make a new receipt on the box: firstlight receipt",
    "receipt_replayed": "Nothing is lost: the hub has a later one. Make a new receipt on the box: firstlight receipt",
    "receipt_unknown_device": "Check that the receipt is of this hub; it may have been restored from an older backup.",
    "receipt_wrong_hub": "Report it to the hub that the box belongs to: its address stands in the receipt's link.",
    "receipt_wrong_workspace": "Use an operator key of the workspace that the receipt names.",
    "receipt_key_other": (
        "Another box has this device, or this one was reset since. Give the box a new offline payload."
    ),
    "receipt_unsupported": "Only a box of a hub gives receipts.",
    "output_unwritable": "Check the path, its rights and the free space there, then run the command again.",
    "code_too_large": "Leave the network block out, or split the code: --split N",
    "labels_missing": (
        "Print labels where 'make install' was run in a checkout: it brings reportlab. --qr and --stick need none."
    ),
    "no_offline_payload": "Only devices of type ai1 in offline mode have one: device create NAME --type ai1 --offline",
    # the way to the platform
    "dns_failed": "Check the box's DNS server and the spelling of the name.",
    "connect_refused": (
        "Check that what listens there is running (the platform, or its MQTT broker) and that the port is right."
    ),
    "connect_timeout": "Check cable, route and firewall: the port named above must be open from this box.",
    "network_unreachable": "Check cable, Wi-Fi and route: this box has no way to that network.",
    "tls_pin_mismatch": "This is not the server of that pin. Copy both anew; look for an intercepting proxy.",
    "tls_untrusted": "The server's certificate is not from the trusted CA. Check for an intercepting proxy on the way.",
    "tls_wrong_name": "The certificate is for another name. Use the address that the platform was set up with.",
    "tls_expired": "The certificate is outside its dates. Check this box's clock, then the server's certificate.",
    "tls_failed": "Check that the port speaks HTTPS and that nothing on the way breaks TLS.",
    "proxy_failed": "Check the proxy's address and port in the settings.",
    "proxy_auth_required": "Put the proxy's user and password into the file that the setting proxy_auth_file names.",
    "certificate_refused": "The agent renews it with its device key by itself. If that fails too, ask the operator.",
    "websocket_failed": "Check the WebSocket address, and that a proxy on the way lets WebSockets through.",
    "mqtt_silent": "What listens there may not be an MQTT broker. Check the broker's address and its log.",
    "mqtt_version": "The broker speaks neither MQTT 5 nor 3.1.1 as this agent does. Check the broker.",
    "mqtt_client_id": "The broker does not allow the device's id as client id. Check the broker's configuration.",
    "mqtt_unavailable": "The broker is overloaded or going down. The agent tries again by itself.",
    "mqtt_bad_login": "The broker does not accept this device's credential. Ask the operator.",
    "mqtt_not_authorized": "The broker does not let this device in. Ask the operator; the agent asks again by itself.",
    "mqtt_taken_over": "Another connection uses this device's id. Look for a second box with a copied disk.",
    "mqtt_disconnected": "Look at the broker's log. The agent connects again by itself.",
    "mqtt_quota": "The broker limits this device. The agent tries again by itself.",
    "mqtt_malformed": "Something other than an MQTT broker answered, or its version does not fit.",
    "mqtt_moved": "The broker names another server, which the agent does not follow. Ask the operator.",
    "mqtt_packet_too_large": "The broker refuses messages of this size. Ask the operator to allow 32 KiB.",
    "reply_timeout": "The platform or the line is slow. The agent tries again by itself.",
    "reply_cut": "The connection broke in the middle of an answer. The agent tries again by itself.",
    "reply_too_large": "Something other than the platform answered. Check proxy and address.",
    "reply_malformed": "Something other than the platform answered, or its version differs. Check proxy and address.",
    "redirected": "The agent follows no redirect. Check for a captive portal, or use the platform's own address.",
    "not_the_hub": "Something other than the hub answered. Check for a captive portal or a proxy.",
    "hub_busy": "The hub asked to wait. The agent tries again by itself.",
    "hub_error": "Look at the hub's log. The agent tries again by itself.",
    # this machine
    "state_unwritable": "Free some space or correct the rights of the state directory, then run the command again.",
    "state_unreadable": "Run the command as the user who owns the state directory, or with sudo.",
    "state_corrupt": "The named file is damaged. Run 'firstlight reset' and enroll again with a new installId.",
    "state_newer": "A newer agent wrote this state. Install that version again.",
    "agent_running": "See: firstlight status",
    "status_overdue": "Look for a full disk, a frozen process or a box that is overloaded, then restart the agent.",
    "state_locked": "Another firstlight command is at work on this state directory. Wait for it to end.",
    "clock_wrong": "Set the clock or let NTP do it. Enrolling goes on without dates where the hub's key is pinned.",
    "sandbox_weakened": "See which drop-in takes it away: systemctl cat firstlight",
    "not_enrolled": (
        "Run 'firstlight enroll' with an installId from the hub, or 'firstlight scan' with the code on its label."
    ),
    "retired": "The hub removed this device. Ask for a new installId, run 'firstlight reset', then enroll again.",
    "journal_missing": "Look into the file that the agent's output goes to, or run it by hand: firstlight run",
    "journal_unreadable": "Run it with sudo, or join the group that may read it: sudo usermod -aG systemd-journal USER",
    "internal": "This is a fault in firstlight. Run again with --debug and send the report to its makers.",
    "desired_unusable": "Correct the desired values at the platform; this box keeps to the ones before.",
    # other platforms than the hub
    "road_unsupported": "Take the file that 'firstlight device create' makes for this platform.",
    "device_file_malformed": "Make it again at the desk: firstlight device create",
    "device_file_newer": "A newer desk made this file. Upgrade the agent, or make the file with this version.",
    "token_spent": "The agent asks for a new token by itself.",
    "mqtt_too_soon": "The agent waits and tries again by itself.",
    "no_renewal": "Change the credential at the platform, then 'firstlight reset' and enroll with the new file.",
    "platform_busy": "The platform asked to wait. Try again later; an agent does so by itself.",
    "platform_error": "The fault is the platform's; see its status page. An agent tries again by itself.",
    "not_the_platform": "Something other than the platform answered. Check address, captive portal and proxy.",
    # Qubitro
    "qubitro_token_refused": (
        "Compare device id and token with those in the Qubitro portal; a device removed there is to be created anew."
    ),
    "qubitro_data_refused": "See the Qubitro portal: the device must exist and take data over this transport.",
    # Fleet and Roboflow
    "field_invalid": "Correct the field named above; nothing was made.",
    "field_unknown": "See the platform's page in docs/platforms for its fields; upper and lower case count.",
    "not_offered": "See the platform's page in docs/platforms for what can be done from here.",
    "create_partial": "Run the command again: what was made is found, and only the rest is made.",
    "fleet_scope": "Use a platform API secret of Fleet with the scope WRITE; READ is enough for list and show.",
    "fleet_company": "Ask Fleet's support: the workspace of this API secret is gone.",
    "fleet_protected": "Fleet does not let its own devices be changed from outside; do it on its pages.",
    "fleet_serial": "Correct the serial number, or look on Fleet's pages whether another device has it.",
    "fleet_user": "Give the number of a user of this workspace, or leave user_id out.",
    "fleet_actor": "Ask Fleet's support: the API secret has no user to act as.",
    "fleet_provisioning": "Run the command again: what was made is found, and only the rest is made.",
    "fleet_search": "Look on Fleet's pages whether the device is there, and give it a longer serial number or name.",
    "roboflow_scope": "Use a Roboflow API key with the scope device:read, for create device:update.",
    # Huawei IoTDA
    "extra_malformed": "Correct the value named above in the device file, or make it again at the desk.",
    "secret_malformed": "Copy the secret again from the platform, as it is.",
    "huawei_secret_refused": (
        "Compare device id and secret with the IoTDA console, and look there whether the device is frozen."
    ),
    "huawei_refused": "Look the code up in Huawei's list of IoTDA error codes, and the device in the IoTDA console.",
    "huawei_child_foreign": "Create the child below this gateway, or take it out of children.json.",
    "bootstrap_silent": "Check device id and scope at the provisioning service. The agent tries again by itself.",
    "bootstrap_failed": "Look at the provisioning service's page for that code. Enrolling tries again for a while.",
    "bootstrap_refused": "Correct device, group or strategy at the provisioning service, then enroll again.",
    "device_exists": "Give another id, serial number or name, or look at the one there is: firstlight device show",
    # refusals of redeem
    "install_id_unknown": "Check the hub's address and copy the installId again.",
    "install_id_expired": "Ask the operator for a new installId.",
    "install_id_revoked": "Ask the operator for a new installId.",
    "install_id_taken": "Ask the operator for a new one.",
    "csr_invalid": "The hub could not verify this box's key. Run 'firstlight reset' and enroll again.",
    "transport_unavailable": "Ask the operator to switch MQTT on in hub.toml, or leave --transport out.",
    "request_malformed": "The platform did not understand this agent. Check that their versions fit.",
    "request_too_large": "The platform refused the size of the request. Check that the versions fit.",
    # refusals of a beat
    "device_unknown": "The operator can allow this device back with the hub's setting take_back.",
    "device_removed": "The operator removed it. Ask for a new installId, run 'firstlight reset', then enroll again.",
    "key_invalid": "The hub does not accept this device's key. Ask the operator; the agent asks again now and then.",
    "credential_revoked": "Ask for a new installId for this device, run 'firstlight reset', then enroll again.",
    "clone_suspected": ("Run 'firstlight reset' on the copy and enroll it with an installId of its own."),
    "rotation_failed": "The present credential stays in use. Run 'firstlight rotate' again, or see: firstlight status",
    "move_untrusted": "Somebody may be playing the hub. The box stays where it is; tell the operator.",
    "take_back_not_allowed": "The operator can allow it with the hub's setting take_back.",
    # upgrades
    "bundle_damaged": "Fetch or copy the bundle again; compare its SHA-256 with the hub's.",
    "bundle_newer": "Upgrade in two steps: first to an older release that can read this one.",
    "bundle_unfit": "Take the bundle for this box's processor, with one of the Pythons that the box has.",
    "bundle_missing": "On the hub: put a bundle for this box into its folder bundles, then firstlight-hub sign FILE.",
    "upgrade_untrusted": (
        "Run the pasted install command again: it brings the hub's release key. "
        "Or: firstlight upgrade FILE --id ID, with the id that the hub's operator tells."
    ),
    "upgrade_forged": "Somebody changed this bundle, or it is of another release. Fetch it again from the hub.",
    "upgrade_key_unsafe": "Make it root's alone: chown root FILE and chmod go-w FILE, for the folder too.",
    "upgrade_older": "To go down on purpose: firstlight upgrade FILE --allow-older",
    "upgrade_no_space": "Free some space on that disk, then run the command again.",
    "upgrade_broken": "Report this release to its makers; the old one runs on.",
    "upgrade_crashed": "See why: journalctl -u firstlight. The old release runs again.",
    "upgrade_not_proved": "Check that this box reaches the hub, then upgrade again. The old release runs meanwhile.",
    "upgrade_undone": "A person at the box went back to the release before.",
    "upgrade_no_previous": "This box has no other release. Give the bundle of one: firstlight upgrade FILE",
    "upgrade_one_way": "Give a bundle of a release that can upgrade itself.",
    "upgrade_under_way": "An upgrade is being proved. Wait for its end, or see: firstlight upgrade --check",
    "upgrade_managed": "Upgrade it with: apt-get install --only-upgrade firstlight",
    "upgrade_unsupported": "Upgrade it the way it was installed (pip), or install it with the hub's pasted command.",
    "upgrade_unattended": "No upgrade unit watches here. Run: firstlight upgrade",
    "upgrade_malformed": "The hub will say it again; if not, run: firstlight upgrade",
    # the desk
    "api_key_missing": "Give an operator key: a file with --key-file, or FIRSTLIGHT_API_KEY_FILE.",
    "keyring_missing": "Install it (pip install 'firstlight[keyring]'), or give a file with --api-key-file.",
    "keyring_unreadable": "Unlock this user's keyring, or give a file with --api-key-file.",
    "journal_other": "Give the journal of this very table and platform, or another one with --journal FILE.",
    "journal_damaged": (
        "Put it aside. The devices that it names are made: take their lines out of the table before you run it again."
    ),
    "journal_locked": "Wait until the other run has ended.",
    "unauthorized": "Check the operator key.",
    "forbidden": "Use an operator key of this workspace with the needed scope.",
    "not_found": "Check workspace and device id.",
    "bad_request": "Correct the value named above.",
    "method_not_allowed": "Use one of the methods in the answer's Allow header.",
    "unsupported_media_type": "Send the body as Content-Type: application/json.",
    # the hub's own command
    "hub_exists": "Serve it with 'firstlight-hub serve', or give another folder with --dir.",
    "folder_taken": "Give a new or empty folder with --dir.",
    "hub_missing": "Make one with 'firstlight-hub init', or give its folder with --dir.",
    "hub_served": "Stop the process named above first. All verbs but 'serve' work while it serves.",
    "hub_damaged": "Restore this file from a backup of the hub.",
    "key_file_exists": "Give another file, or move that one away first.",
    "rollout_exists": "End it first: firstlight-hub rollout end",
    "rollout_missing": "Start one: firstlight-hub rollout start",
    "backup_exists": "Give a name that is not taken yet.",
    "backup_format": "Give a new folder, or a new file that ends in .tar.",
    "address_in_use": "Stop what listens there, or choose another --port.",
    "listen_insecure": "Plain HTTP is for 127.0.0.1 and ::1 only. Leave the flag out to serve HTTPS.",
    "proxy_not_trusted": "Name the proxy's address in hub.toml's trusted_proxies, or let the proxy remove the header.",
    "broker_missing": "Install mosquitto on this machine (Debian: apt-get install mosquitto), or set mqtt to off.",
    "broker_failed": "Look at the broker's last lines above, and for another program on its port.",
    "broker_unreachable": "Check that the broker runs, its address in hub.toml, and the hub's password for it.",
    "schema_newer": "Install that hub's version again.",
    "database_unusable": "Check free space and the rights of the hub's folder.",
}


def _plain(text: str) -> str:
    """What a platform said may be in it: nothing that a terminal would obey."""
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


class FirstlightError(Exception):
    """Base of the tree; never raised itself.

    Args:
        code: stable name of the cause, a key of ``HINTS`` or a platform's own word.
        message: one sentence in a technician's words, without secrets.
        hint: the next step; by default the one that ``HINTS`` has for the code.
    """

    exit_status = 1
    is_permanent = False

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        message = _plain(message)
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or HINTS.get(code, "")

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class UsageError(FirstlightError):
    """A flag, an argument or a settings file that cannot be used."""

    exit_status = 2
    is_permanent = True


class InvitationError(FirstlightError):
    """An installId or payload that is wrong in itself; no network was touched."""

    exit_status = 65
    is_permanent = True


class UnreachableError(FirstlightError):
    """The platform was not reached or did not answer as a platform does. Trying again may help.

    Args:
        retry_after_s: seconds the other side asked to wait, or None.
    """

    exit_status = 69

    def __init__(self, code: str, message: str, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(code, message, hint)
        self.retry_after_s = retry_after_s


class StateError(FirstlightError):
    """The state directory or a file in it cannot be read or written."""

    exit_status = 74


class UpgradeError(FirstlightError):
    """A release that was refused, or given up after it was tried; the one before runs on."""

    exit_status = 70


class NotEnrolledError(FirstlightError):
    """There is no registration on this box."""

    exit_status = 78
    is_permanent = True


class RefusedError(FirstlightError):
    """A permanent no from the platform, with a named reason."""

    exit_status = 78
    is_permanent = True
