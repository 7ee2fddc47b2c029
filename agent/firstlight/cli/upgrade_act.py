"""What one call of ``firstlight upgrade`` does: goes on, begins, goes back, follows the hub's wish, or only says so."""

from __future__ import annotations

import argparse
import json
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from firstlight.cli import liveness, next_step, status, upgrade_bundle, upgrade_fetch, upgrading
from firstlight.cli.settings import Settings
from firstlight.cli.upgrade_agent import agent_of
from firstlight.cli.upgrade_bundle import Checked, Host
from firstlight.cli.upgrading import Parts, Upgrading
from firstlight.core.detached import PARKED, WAITING
from firstlight.core.model import Offer, Registration, Upgraded
from firstlight.core.upgrade import BACK, DONE, SWITCH, Evidence, Journal
from firstlight.errors import FirstlightError, NotEnrolledError, StateError, UpgradeError
from firstlight.system import journal as log
from firstlight.system import place, registration_file
from firstlight.system.bundle_file import BundleFile
from firstlight.system.releases import PROVEN, Launcher, Releases
from firstlight.system.store import REGISTRATION, UPGRADE_WISH, StateDirectory
from firstlight.wire import bundle


class Act:
    """What one call of the verb does.

    Args:
        releases: what is installed.
        settings: of the box.
        typed: the command line.
        tell: takes a sentence of progress.
    """

    def __init__(
        self, releases: Releases, settings: Settings, typed: argparse.Namespace, tell: Callable[[str], None]
    ) -> None:
        self.releases, self.settings, self.typed, self.tell = releases, settings, typed, tell
        self.store = StateDirectory(settings.state_dir)

    # -- what is there -----------------------------------------------------------------------------------------------
    def launcher(self) -> Launcher:
        """The one in use. Raises UpgradeError."""
        found = self.releases.launcher()
        if found is None:
            where = self.releases.path_of("firstlight")
            raise UpgradeError("upgrade_unsupported", f"{where} is no launcher of the install script.")
        return found

    def trust_dir(self, launcher: Launcher) -> str:
        """The folder of the release keys: beside the settings."""
        return str(Path(launcher.config).parent / "trust.d")

    def registration(self) -> Registration:
        """Raises NotEnrolledError."""
        found = self.store.load_registration() if self.store.is_there() else None
        if found is None:
            raise NotEnrolledError(
                "not_enrolled",
                f"There is no registration in {self.settings.state_dir}, and so no hub to ask.",
                "Give a bundle: firstlight upgrade FILE",
            )
        return found

    def parts(self, launcher: Launcher) -> Parts:
        """What an upgrade is made of here."""
        releases, store = self.releases, self.store
        return Parts(
            releases=releases,
            launcher=launcher,
            store=store,
            agent=agent_of(releases, store, self.settings, launcher.config, self.tell),
            look=lambda: seen(self.settings),
            reads_state=lambda release: upgrade_bundle.reads_state(releases, release, launcher, store.path),
            add_keys=lambda release: upgrade_bundle.add_keys(releases, release, self.trust_dir(launcher)),
            now_s=liveness.now_s,
            wait=_wait,
            tell=self.tell,
            patience_s=self.typed.patience,
        )

    # -- going on ----------------------------------------------------------------------------------------------------
    def resume(self, words: list[str]) -> Journal | None:
        """Ends an upgrade that was interrupted; how, or None where there was none."""
        try:
            journal = self.releases.journal()
        except StateError as error:
            self._back_to_the_proven(error)
            return None
        if journal is None:
            return None
        proven = self.releases.launcher(PROVEN)
        if journal.stage != DONE and proven and place.release_name() != proven.release == journal.old:
            # Not by the release that is in doubt: what was proved judges.
            sys.stdout.flush()
            os.execv(self.releases.path_of(PROVEN), [self.releases.path_of(PROVEN), "upgrade", *words])  # noqa: S606
        self.tell(f"going on with the upgrade from {journal.old} to {journal.new}")
        return Upgrading(self.parts(proven or self.launcher())).resume(journal)

    def _back_to_the_proven(self, why: StateError) -> None:
        """The journal does not say where it was: what was proved last is taken, if it is there."""
        proven = self.releases.launcher(PROVEN)
        if proven is None or not upgrade_bundle.is_there(self.releases, proven.release):
            self.tell(f"{why} No proved release is left to go back to; {self.launcher().release} stays.")
        else:
            self.tell(f"{why} Going back to the release that was proved last.")
            is_switched = self.launcher().release != proven.release
            agent = self.parts(proven).agent
            self.releases.point_back()
            with suppress(OSError):
                agent.put_units(proven.release, is_proved=True)
            if is_switched:
                agent.begin_again(agent.was_running())
        self.releases.end_journal()

    # -- beginning ---------------------------------------------------------------------------------------------------
    def begin(self) -> Journal | None:
        """What a person asked for; None = it is so already."""
        launcher = self.launcher()
        if self.typed.back:
            return self._back(launcher)
        try:
            into = Path(self.releases.make_new(), "bundle")
            if self.typed.file:
                upgrade_bundle.copy_in(self.typed.file, into)
                return self._upgrade(launcher, into, self.typed.id, attempt=0)
            registration = self.registration()
            with upgrade_fetch.caller(self.settings, self.store, registration) as calls:
                offer = upgrade_fetch.offered(calls, registration, upgrade_bundle.host_of(launcher))
                if is_running(launcher, offer.id):
                    return None
                self._check_offer(offer, launcher)
                self.tell(f"fetching {offer.version} from {registration.endpoint.url}")
                upgrade_fetch.fetch(calls, registration, offer.path, into, self.tell)
            return self._upgrade(launcher, into, offer.id, attempt=0)
        finally:
            self.releases.remove_new()

    def _check_offer(self, offer: Offer, launcher: Launcher) -> None:
        """Before it is fetched; the bundle itself is asked again. Raises UpgradeError."""
        running = version_of(launcher.release)
        with suppress(ValueError):
            if bundle.version_order(offer.version) < bundle.version_order(running):
                raise UpgradeError(
                    "upgrade_older", f"The hub has {offer.version}, which is older than {running}, which runs here."
                )

    def _upgrade(self, launcher: Launcher, path: Path, wanted_id: str, attempt: int) -> Journal | None:
        releases, host = self.releases, upgrade_bundle.host_of(launcher)
        with BundleFile(str(path), bundle.LIMITS) as opened:
            found = self._checked(opened, launcher, host, wanted_id)
            if found.release == launcher.release:
                return None
            self.tell(f"unpacking and trying {found.release}")
            upgrade_bundle.put_in_place(opened, found, host, releases, launcher)
        if not upgrade_bundle.reads_state(releases, found.release, launcher, self.store.path):
            releases.remove(found.release)
            raise StateError("state_newer", f"{found.release} cannot read the registration of this box.")
        parts = self.parts(launcher)
        started = Journal(
            stage=SWITCH,
            old=launcher.release,
            new=found.release,
            version=found.manifest.version,
            id=found.id,
            attempt=attempt,
            signer=found.signer,
            was_running=parts.agent.was_running(),
        )
        return Upgrading(parts).start(started)

    def _checked(self, opened: BundleFile, launcher: Launcher, host: Host, wanted_id: str) -> Checked:
        found = upgrade_bundle.checked(
            opened, self.trust_dir(launcher), wanted_id, is_vouched=bool(self.typed.id) and not self.typed.wished
        )
        upgrade_bundle.check_fit(found.manifest, host, version_of(launcher.release), allow_older=self.typed.allow_older)
        return found

    def _back(self, launcher: Launcher) -> Journal:
        releases = self.releases
        target = self._previous(launcher)
        left_id = bundle.release_id(body) if (body := releases.manifest(launcher.release)) else ""
        last = upgrading.result_of(self.store)
        parts = self.parts(launcher)
        journal = Journal(
            stage=SWITCH,
            old=launcher.release,
            new=target,
            version=version_of(launcher.release),
            id=left_id,
            attempt=last.attempt if last and last.id == left_id else 0,
            was_running=parts.agent.was_running(),
            is_undoing=True,
        )
        return Upgrading(parts).start(journal)

    def _previous(self, launcher: Launcher) -> str:
        """The release to go back to. Raises UpgradeError, StateError."""
        releases = self.releases
        target = releases.before(launcher.release)
        if not target:
            raise UpgradeError("upgrade_no_previous", f"{launcher.release} is the only release here.")
        if not upgrade_bundle.is_there(releases, target):
            raise UpgradeError("upgrade_one_way", f"{target} cannot upgrade itself: from there no way leads on.")
        if not upgrade_bundle.reads_state(releases, target, launcher, self.store.path):
            copies = releases.kept_state(target)
            if not is_same_credential(self.registration(), copies.get(REGISTRATION, b"")):
                raise StateError("state_newer", f"{target} cannot read the registration of this box.")
        return target

    # -- the hub's wish ----------------------------------------------------------------------------------------------
    def wished(self, log_line: Callable[[int, str], None]) -> int:
        """Does what the hub asked for and leaves the result; 0 also where it was refused: that is an answer."""
        try:
            offer = upgrading.wish_of(self.store)
        except UpgradeError as error:
            log_line(log.WARNING, f"{error} {error.hint}")
            self.store.remove(UPGRADE_WISH)
            return 0
        if offer is None:
            return 0
        result = Upgraded(offer.version, offer.id, offer.attempt, "")
        status = 0
        try:
            ended = self._follow(offer)
            if ended is not None:
                return 0  # with its result, and logged
        except FirstlightError as error:
            log_line(log.WARNING, f"The upgrade to {offer.version} was not made: {error} {error.hint}")
            result = result._replace(code=error.code, message=error.message)
        except Exception as error:  # the wish must be answered, or the unit would be started for ever
            log_line(log.ERROR, f"A fault in firstlight [internal]: {type(error).__name__}.")
            result = result._replace(code="internal", message=f"A fault in firstlight: {type(error).__name__}.")
            status = 1
        try:
            upgrading.leave_result(self.store, result)
        finally:
            upgrading.forget_wish(self.store, result)
        return status

    def _follow(self, offer: Offer) -> Journal | None:
        launcher = self.launcher()
        if is_running(launcher, offer.id):
            return None
        registration = self.registration()
        try:
            into = Path(self.releases.make_new(), "bundle")
            self._check_offer(offer, launcher)
            self.tell(f"The hub asks for {offer.version}: fetching it.")
            with upgrade_fetch.caller(self.settings, self.store, registration) as calls:
                upgrade_fetch.fetch(calls, registration, offer.path, into, self.tell)
            return self._upgrade(launcher, into, offer.id, offer.attempt)
        finally:
            self.releases.remove_new()

    # -- saying --------------------------------------------------------------------------------------------------------
    def conclude(self, ended: Journal | None) -> int:
        """Says how it ended. Raises UpgradeError where it went back."""
        if ended is None:
            release = self.launcher().release
            say(self.typed, {"upgraded": False, "release": release}, f"nothing to do: {release} runs already")
            return 0
        if ended.stage == BACK:
            raise UpgradeError(ended.code, f"{ended.message} {ended.old} is in use again.")
        found = {"upgraded": True, "from": ended.old, "release": ended.new, "version": version_of(ended.new)}
        way = f"to {ended.old} again" if ended.is_undoing else "back"
        say(self.typed, found, next_step.typed(f"{ended.new} is in use; to go {way}: firstlight upgrade --back"))
        return 0

    def check(self) -> int:
        """Says what would be done. Raises what would keep it from being done."""
        launcher = self.launcher()
        journal = self.releases.journal()
        if journal is not None:
            shown: dict[str, object] = {"underWay": journal.stage, "from": journal.old, "release": journal.new}
            say(self.typed, shown, f"an upgrade from {journal.old} to {journal.new} is under way ({journal.stage})")
            return 0
        if self.typed.back:
            target, found_id = self._previous(launcher), ""
        elif self.typed.file:
            with BundleFile(self.typed.file, bundle.LIMITS) as opened:
                found = self._checked(opened, launcher, upgrade_bundle.host_of(launcher), self.typed.id)
            target, found_id = found.release, found.id
        else:
            target, found_id = self._offered(launcher)
        shown = {"wouldUpgrade": target != launcher.release, "from": launcher.release, "release": target}
        sentence = f"would go from {launcher.release} to {target}"
        if target == launcher.release:
            sentence = f"nothing to do: {target} runs already"
        say(self.typed, {**shown, "id": found_id or None}, sentence)
        return 0

    def _offered(self, launcher: Launcher) -> tuple[str, str]:
        offer = upgrading.wish_of(self.store) if self.typed.wished else None
        if offer is None:
            registration = self.registration()
            with upgrade_fetch.caller(self.settings, self.store, registration) as calls:
                offer = upgrade_fetch.offered(calls, registration, upgrade_bundle.host_of(launcher))
        if is_running(launcher, offer.id):
            return launcher.release, offer.id
        self._check_offer(offer, launcher)
        return f"{offer.version}-{offer.id[:8]}", offer.id


def seen(settings: Settings) -> Evidence:
    """What the running agent says of itself."""
    try:
        found = status.read(settings)
    except StateError as error:
        return Evidence(reason=error.code)
    version, digits = found.get("agentVersion"), found.get("release")
    runs = bool(found.get("pid")) and found["state"] != "stopped"
    # A box that was provisioned tells it by this word, and has no hub yet that could accept anything.
    is_detached = "agentRuns" in found
    has_kept = found["state"] in (WAITING, PARKED) and found.get("beats", 0) != 0
    return Evidence(
        release=f"{version}-{digits}" if runs and version and digits else "",
        is_accepted=has_kept if is_detached else found["state"] == "online" and bool(found.get("isConfirmed", True)),
        reason=str(found.get("reason") or ""),
        is_detached=is_detached,
    )


def is_running(launcher: Launcher, release_id: str) -> bool:
    """Whether the launcher names the release of that id."""
    return launcher.release.endswith(f"-{release_id[:8]}")


def version_of(release: str) -> str:
    """``0.2.0-12ab34cd`` -> ``0.2.0``."""
    return release.rpartition("-")[0]


def is_same_credential(present: Registration, copy: bytes) -> bool:
    """Whether a copy of the registration still opens the door: no rotation came in between."""
    try:
        former = registration_file.decode(copy, REGISTRATION)
    except StateError:
        return False
    return (former.device_id, former.credential, former.key_fingerprint, former.endpoint) == (
        present.device_id,
        present.credential,
        present.key_fingerprint,
        present.endpoint,
    )


def _wait(seconds: float) -> None:
    select.select([], [], [], seconds)


def say(typed: argparse.Namespace, found: dict[str, object], sentence: str) -> None:
    """Prints a result: for people, or with --json as an object."""
    print(json.dumps(found) if typed.json else f"firstlight: {sentence}", flush=True)
