"""What the agent takes on a box, part by part: installed from the file of ``make bundle``, byte code included."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.bench.figures import Figure, Report
from tests.bench.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
MB = 1_000_000
CORE_MB, SCAN_MB = 26, 55
# What belongs to a part although it is called otherwise.
PARTS = {
    "_cffi_backend": "cffi",
    "pillow.libs": "pillow",
    "PIL": "pillow",
    "zxingcpp": "zxing-cpp",
    "zxing_cpp": "zxing-cpp",
    "typing_extensions": "typing-extensions",
    "paho": "paho-mqtt",
    "paho_mqtt": "paho-mqtt",
}


def measure(stage: Stage, report: Report) -> None:
    """Installs with the layer for scanning, and counts."""
    prefix = stage.folder / "size"
    line = [str(ROOT / "tests/system/bundles.sh"), sys.executable, str(ROOT / ".cache/system/bundles")]
    made = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout.split()
    (bundle,) = (one for one in made if one.endswith(f"-{platform.machine()}.tar"))
    script = subprocess.run(["tar", "-xOf", bundle, "install.sh"], check=True, stdout=subprocess.PIPE).stdout
    words = ["--bundle", bundle, "--prefix", str(prefix), "--no-service", "--with-scanning"]
    subprocess.run(["sh", "-s", "--", *words], input=script, check=True, stdout=subprocess.DEVNULL, timeout=300)

    (release,) = (prefix / "lib").iterdir()
    core, scan = parts(release / "lib"), parts(release / "scan")
    share = sum(path.stat().st_size for path in (release / "share").rglob("*") if path.is_file())
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    report.head(
        "size", f"the files of one release on a box, Python {version}, byte code included; 1 MB = 1,000,000 bytes"
    )
    total = sum(core.values()) + share
    report.add(Figure("the agent with its libraries", total / MB, "MB", at_most=CORE_MB))
    report.add(Figure("the same with scanning", (total + sum(scan.values())) / MB, "MB", at_most=SCAN_MB))
    report.add(Figure("the file that brings it, for four Pythons", Path(bundle).stat().st_size / MB, "MB"))
    for title, found in (("of the agent", core), ("of scanning", scan)):
        for name, size in found.most_common():
            report.add(Figure(f"  {title}: {name}", size / MB, "MB"))
    report.add(Figure("  of the agent: units, scripts, release keys", share / MB, "MB"))


def parts(folder: Path) -> Counter[str]:
    """Bytes of each distribution in a folder."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.is_file():
            top = path.relative_to(folder).parts[0]
            if top == "__pycache__":
                top = path.name
            name = re.sub(r"-[^-]*\.dist-info$", "", top).split(".cpython")[0].removesuffix(".py")
            found[PARTS.get(name, name)] += path.stat().st_size
    return found
