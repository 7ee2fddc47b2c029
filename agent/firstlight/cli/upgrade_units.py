"""The units of a release, put where systemd finds them: after an upgrade in place they are those of the new one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from firstlight.system.releases import Releases

OF_OURS = re.compile(r"firstlight(-[a-z]+)?\.(service|path)\Z")
WAY_BACK = "firstlight-upgrade."  # these units go on after a power cut: what is in doubt may not replace them
STICK, STICKS = "firstlight-stick.service", "firstlight-stick@.service"  # names in a bundle have no "@"
RULES = "70-firstlight-stick.rules"
# As in start-service.sh: what begins by itself, and what does so only where codes can be read.
BY_ITSELF = re.compile(r".*\.path\Z|firstlight-firstboot\.service\Z")
WHERE_CODES_ARE_READ = "firstlight-provision.service"


class Units:
    """Those of a box.

    Args:
        releases: of this PREFIX.
        config: the settings file that units name.
        folder: systemd's, for units of the administrator.
        rules: udev's, likewise; a box without it has no udev.
        systemctl: runs it with these words.
    """

    def __init__(
        self, releases: Releases, config: str, folder: Path, rules: Path, systemctl: Callable[..., object]
    ) -> None:
        self._releases, self._config, self._folder, self._rules = releases, config, folder, rules
        self._systemctl = systemctl

    def put(self, release: str, *, is_proved: bool) -> None:
        """As that release has them.

        Those that are installed here; once it is proved, also those that it is the first to have, switched on where
        the install script would. One that was masked, linked or taken away stays so.

        Raises:
            OSError: one cannot be written.
        """
        share = Path(self._releases.folder(release), "share")
        changed, begun = False, []
        for source in sorted(share.iterdir()) if share.is_dir() else []:
            target = self._target(source.name)
            if target is None or target.is_symlink() or (source.name.startswith(WAY_BACK) and not is_proved):
                continue
            is_first = not target.exists()
            if is_first and not (is_proved and self._is_new(source.name, release)):
                continue
            if self._write(source, target):
                changed = changed or target.parent == self._folder
                begun += [source.name] if is_first and self._begins(source.name, release) else []
        if changed:
            self._systemctl("daemon-reload")
        for name in begun:
            self._systemctl("enable", *(["--now"] if name.endswith(".path") else []), name)

    def _target(self, name: str) -> Path | None:
        if name == RULES:
            return self._rules / name if self._rules.is_dir() else None
        if not OF_OURS.match(name):
            return None
        return self._folder / (STICKS if name == STICK else name)

    def _is_new(self, name: str, release: str) -> bool:
        """Whether no other release here has it: then nobody can have taken it away."""
        others = [one for one in self._releases.names() if one != release]
        return bool(others) and not any(Path(self._releases.folder(one), "share", name).exists() for one in others)

    def _begins(self, name: str, release: str) -> bool:
        if name == WHERE_CODES_ARE_READ:
            return Path(self._releases.folder(release), "scan").is_dir()
        return bool(BY_ITSELF.match(name))

    def _write(self, source: Path, target: Path) -> bool:
        """Whether it was not so before. An udev rule that this unit's sandbox keeps from being written is left out."""
        text = source.read_text("utf-8")
        if source.name != RULES:
            text = _placed(text, self._releases.prefix, self._config)
        if target.exists() and target.read_text("utf-8").rstrip("\n") == text.rstrip("\n"):
            return False
        beside = target.with_name(f".{target.name}.new")
        try:
            beside.write_text(text, "utf-8")
            beside.chmod(0o644)
            beside.replace(target)
        except OSError:
            if source.name != RULES:
                raise
            return False
        return True


def _placed(text: str, prefix: str, config: str) -> str:
    """A unit as ``start-service.sh`` puts it: with the paths of this installation."""
    text = text.replace("/opt/firstlight", prefix).replace("/etc/firstlight/agent.toml", config)
    return re.sub("/etc/firstlight(?=[^-])", lambda _: str(Path(config).parent), text)
