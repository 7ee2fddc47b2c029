"""The systemd units say only what systemd understands."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.rules.sources import ROOT

UNITS = sorted(
    path for path in (ROOT / "systemd").glob("*.*") if path.suffix in {".service", ".timer", ".socket", ".path"}
)
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
ANALYZE = shutil.which("systemd-analyze")

# What systemd 249 (Ubuntu 22.04) to 257 (Debian 13) know, and only what a unit of ours might use. A key that is not
# here is misspelt, or needs a place here after a look into its manual.
KNOWN = {
    "Unit": """
        Description Documentation Wants Requires Requisite BindsTo PartOf Upholds Conflicts Before After
        OnFailure OnSuccess PropagatesReloadTo ReloadPropagatedFrom StopWhenUnneeded RefuseManualStart
        RefuseManualStop DefaultDependencies JobTimeoutSec StartLimitIntervalSec StartLimitBurst
        StartLimitAction FailureAction SuccessAction RequiresMountsFor ConditionPathExists
        ConditionPathExistsGlob ConditionPathIsDirectory ConditionFileNotEmpty ConditionVirtualization
        ConditionFirstBoot ConditionKernelCommandLine ConditionCapability ConditionUser AssertPathExists
        AssertFileNotEmpty""",
    "Install": "Alias WantedBy RequiredBy UpheldBy Also DefaultInstance",
    "Timer": """
        OnActiveSec OnBootSec OnStartupSec OnUnitActiveSec OnUnitInactiveSec OnCalendar AccuracySec
        RandomizedDelaySec FixedRandomDelay Persistent WakeSystem RemainAfterElapse Unit OnClockChange
        OnTimezoneChange""",
    "Socket": """
        ListenStream ListenDatagram ListenSequentialPacket ListenFIFO SocketUser SocketGroup SocketMode
        DirectoryMode Accept MaxConnections Service FileDescriptorName RemoveOnStop BindIPv6Only Backlog
        KeepAlive""",
    "Path": "PathExists PathExistsGlob PathChanged PathModified DirectoryNotEmpty Unit MakeDirectory DirectoryMode",
    "Service": """
        Type ExitType RemainAfterExit GuessMainPID PIDFile BusName ExecStart ExecStartPre ExecStartPost
        ExecCondition ExecReload ExecStop ExecStopPost RestartSec RestartSteps RestartMaxDelaySec
        TimeoutStartSec TimeoutStopSec TimeoutAbortSec TimeoutSec RuntimeMaxSec WatchdogSec Restart RestartMode
        SuccessExitStatus RestartPreventExitStatus RestartForceExitStatus NonBlocking NotifyAccess Sockets
        FileDescriptorStoreMax OOMPolicy OOMScoreAdjust ReloadSignal WorkingDirectory RootDirectory User Group
        DynamicUser SupplementaryGroups SetLoginEnvironment PAMName UMask Environment EnvironmentFile
        PassEnvironment UnsetEnvironment StandardInput StandardOutput StandardError SyslogIdentifier SyslogLevel
        SyslogLevelPrefix LogLevelMax LogRateLimitIntervalSec LogRateLimitBurst LogNamespace LoadCredential
        LoadCredentialEncrypted SetCredential ImportCredential RuntimeDirectory RuntimeDirectoryMode
        RuntimeDirectoryPreserve StateDirectory StateDirectoryMode CacheDirectory CacheDirectoryMode
        LogsDirectory LogsDirectoryMode ConfigurationDirectory ConfigurationDirectoryMode CapabilityBoundingSet
        AmbientCapabilities NoNewPrivileges SecureBits ProtectSystem ProtectHome ProtectHostname ProtectClock
        ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectControlGroups ProtectProc ProcSubset
        PrivateTmp PrivateDevices PrivateNetwork PrivateIPC PrivateUsers PrivateMounts PrivatePIDs
        MemoryDenyWriteExecute LockPersonality RestrictAddressFamilies RestrictNamespaces RestrictRealtime
        RestrictSUIDSGID RestrictFileSystems RemoveIPC KeyringMode SystemCallFilter SystemCallErrorNumber
        SystemCallArchitectures SystemCallLog ReadWritePaths ReadOnlyPaths InaccessiblePaths ExecPaths
        NoExecPaths TemporaryFileSystem BindPaths BindReadOnlyPaths MountFlags MountAPIVFS DeviceAllow
        DevicePolicy IPAddressAllow IPAddressDeny SocketBindAllow SocketBindDeny RestrictNetworkInterfaces Slice
        Delegate CPUQuota CPUWeight CPUAccounting MemoryMin MemoryLow MemoryHigh MemoryMax MemorySwapMax
        MemoryAccounting TasksMax TasksAccounting IOWeight IOAccounting IPAccounting ManagedOOMPreference Nice
        IOSchedulingClass IOSchedulingPriority CPUSchedulingPolicy TimerSlackNSec KillMode KillSignal
        SendSIGKILL FinalKillSignal WatchdogSignal LimitNOFILE LimitNPROC LimitCORE LimitAS LimitDATA LimitMEMLOCK
        LimitFSIZE""",
}


# The strictest value of what a sandbox is made of; "" = set, but empty. Looser or missing must be explained.
STRICTEST = {
    "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "DynamicUser": "yes",
    "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
    "DevicePolicy": "closed", "PrivateUsers": "yes", "PrivateIPC": "yes", "PrivateMounts": "yes",
    "PrivateNetwork": "yes", "IPAddressDeny": "any", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes",
    "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes", "ProtectClock": "yes", "ProtectHostname": "yes",
    "ProtectProc": "invisible", "ProcSubset": "pid", "RestrictNamespaces": "yes", "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes", "RestrictAddressFamilies": "none", "LockPersonality": "yes",
    "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native", "SystemCallFilter": "",
    "SystemCallErrorNumber": "EPERM", "KeyringMode": "private", "RemoveIPC": "yes", "UMask": "0077",
    "RootDirectory": "/",
}  # fmt: skip
# Lines that only open something.
OPENING = {"ReadWritePaths", "DeviceAllow", "SupplementaryGroups", "BindPaths", "ExecPaths", "IPAddressAllow"}
LIMITS = {"MemoryMax", "TasksMax"}


def settings(unit: Path) -> list[tuple[str, str, str]]:
    """Every setting of a unit as section, key and value; a line that is none of this fails."""
    found = []
    section = ""
    text = unit.read_text(encoding="utf-8")
    for line in re.sub(r"\\\n(?:\s*[#;].*\n)*", " ", text).splitlines():
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        if heading := re.fullmatch(r"\[(\w+)\]", line.strip()):
            section = heading[1]
            continue
        key, equals, value = line.partition("=")
        assert equals, f"{unit.name}: not a setting: {line!r}"
        found.append((section, key.strip(), value.strip()))
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_has_only_known_keys(unit: Path) -> None:
    """Each key of a unit is one that systemd knows in that section."""
    assert settings(unit)
    unknown = [f"[{section}] {key}" for section, key, _ in settings(unit) if key not in KNOWN.get(section, "").split()]
    assert not unknown


@pytest.mark.skipif(ANALYZE is None, reason="no systemd-analyze here; the known keys were checked all the same")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_unit_pleases_systemd(unit: Path, tmp_path: Path) -> None:
    """The installed systemd verifies each unit without one word, our programs replaced by one that exists."""
    for each in UNITS:
        text = each.read_text(encoding="utf-8")
        (tmp_path / each.name).write_text(re.sub(r"(?m)^(Exec\w+=[-@:+!|]*)[^\s@:+!|-]\S*", r"\1/bin/true", text))
    name = unit.name.replace("@.", "@1.")
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def looser(unit: Path) -> set[str]:
    """The lines by which a unit is looser than the strictest."""
    found: dict[str, list[str]] = {}
    for section, key, value in settings(unit):
        if section == "Service":
            found.setdefault(key, []).append(value)
    missing = {key for key, strictest in STRICTEST.items() if found.get(key) != [strictest]}
    return missing | {key for key in OPENING if key in found}


def explained() -> set[tuple[str, str]]:
    """Unit and line of each row of the table in systemd/README.md."""
    text = (ROOT / "systemd/README.md").read_text(encoding="utf-8")
    table = text.partition("## What is looser than the strictest")[2].partition("\n## ")[0]
    found = set()
    for line, units in re.findall(r"(?m)^\| `(\w+)` \| ([a-z, ]+) \| \S", table):
        for unit in SERVICES:
            stem = unit.stem.removeprefix("firstlight-")
            if units == "all" or stem in units.split(", "):
                found.add((unit.name, line))
    return found


def test_each_relaxed_line_is_explained() -> None:
    """The README of the units names every line by which a unit is looser than the strictest, and no other."""
    assert explained() == {(unit.name, line) for unit in SERVICES for line in looser(unit)}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_service_has_limits(unit: Path) -> None:
    """Memory and processes of each service have a ceiling."""
    assert {key for _, key, _ in settings(unit)} >= LIMITS
