# Firstlight's workshop. Everything runs from a fresh clone as an ordinary user; "make help" lists the words.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
ifneq (,$(filter output-sync,$(.FEATURES)))
MAKEFLAGS += --output-sync=target
endif

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
CACHE := $(CURDIR)/.cache
LOCK := packaging/requirements-dev.txt

# Caches stay inside the checkout: the home directory may not be writable.
export PIP_CACHE_DIR := $(CACHE)/pip
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export UV_CACHE_DIR := $(CACHE)/uv
export HYPOTHESIS_STORAGE_DIRECTORY := $(CACHE)/hypothesis

# Our own programs run without this machine's habits; pip and apt-get keep them, they may need them to reach a registry.
PLAIN := env -u PYTHONDONTWRITEBYTECODE -u PYTHONPATH -u PYTHONHOME -u SSL_CERT_FILE -u SSL_CERT_DIR \
	-u REQUESTS_CA_BUNDLE -u CURL_CA_BUNDLE -u HTTP_PROXY -u HTTPS_PROXY -u ALL_PROXY -u NO_PROXY \
	-u http_proxy -u https_proxy -u all_proxy -u no_proxy

SOURCES := $(shell find agent hub systemd -name __pycache__ -prune -o -print 2>/dev/null) \
	pyproject.toml LICENSE $(wildcard install.sh.j2 README.md)
SHELL_SCRIPTS = .ci/run $(shell find tests docs packaging -name '*.sh' 2>/dev/null)

.PHONY: help setup install test lint types unit compatibility test-system test-vm vendors soak system-packages as-root fuzz demo twin bench bundle deb lock clean

help:  ## list these words
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 22

# ---- the environment -------------------------------------------------------------------------------------------

setup: $(VENV)/.locked  ## make .venv with every locked dependency (PYTHON=... picks the interpreter)

# python3 when it is 3.10 to 3.13, else the newest of those that runs.
define find_python
for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do \
	"$$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
		&& { python="$$candidate"; break; }; \
done; \
if [ -z "$${python:-}" ]; then \
	echo "make setup: no Python 3.10 to 3.13 found$(if $(PYTHON), as $(PYTHON)); name one with PYTHON=/path/to/python." >&2; \
	exit 1; \
fi
endef

# Debian ships venv without ensurepip unless python3-venv is there: then pip from outside, or virtualenv, does the same.
define make_venv
if "$$python" -c 'import ensurepip, venv' 2>/dev/null; then "$$python" -m venv $(VENV); \
elif "$$python" -m pip --python "$$python" --version >/dev/null 2>&1; then "$$python" -m venv --without-pip $(VENV); \
elif "$$python" -m virtualenv --version >/dev/null 2>&1; then "$$python" -m virtualenv --quiet $(VENV); \
elif command -v virtualenv >/dev/null; then virtualenv --quiet --python "$$python" $(VENV); \
else \
	echo "make setup: $$python cannot make a virtual environment; install the Debian package python3-venv." >&2; \
	exit 1; \
fi
endef

# pip of the environment itself, or (an environment made without pip) the pip of the Python it was made from.
PIP = $$([ -x $(BIN)/pip ] && echo "$(BIN)/python -m pip" || echo "$$($(BIN)/python -c 'import sys; print(sys._base_executable)') -m pip --python $(BIN)/python")

# Two makes at once must not install over each other.
ALONE = $$(command -v flock >/dev/null && echo flock $(VENV)/.alone)

$(VENV)/.locked: $(LOCK)
	@mkdir -p $(CACHE)
	@if ! $(BIN)/python -c '' 2>/dev/null; then $(find_python); rm -rf $(VENV); $(make_venv); fi
	@echo "setup: $$($(BIN)/python --version), $$(grep -c == $(LOCK)) locked packages"
	@pip="$(PIP)"; $(ALONE) $$pip install --quiet --require-hashes --only-binary=:all: -r $(LOCK)
	@touch $@

install: $(VENV)/.installed  ## install both distributions into .venv, as they would be on a box

$(VENV)/.installed: $(VENV)/.locked $(SOURCES)
	@pip="$(PIP)"; for each in . ./hub; do \
		$(ALONE) $$pip install --quiet --force-reinstall --no-index --no-deps --no-build-isolation --compile "$$each"; \
	done
	@touch $@
	@echo "install: $$($(BIN)/python -c 'from importlib.metadata import version as v; print("firstlight", v("firstlight"), "and firstlight-hub", v("firstlight-hub"))')"

# ---- checks ----------------------------------------------------------------------------------------------------

test: lint types unit  ## everything that needs no root: lint, types, tests (try make -j2 test)

lint: $(VENV)/.locked  ## ruff and shellcheck
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PATH="$(abspath $(BIN)):$$PATH"; command -v shellcheck >/dev/null \
		|| { echo "make lint: no shellcheck for this processor in .venv; install the Debian package shellcheck." >&2; exit 1; }; \
	shellcheck $(SHELL_SCRIPTS)

types: $(VENV)/.locked  ## mypy, strict, on agent, hub and tests
	@$(PLAIN) $(BIN)/mypy

compatibility: $(VENV)/.installed  ## play the walk of each platform and write the table in README.md (needs mosquitto)
	@$(PLAIN) FIRSTLIGHT_WRITES_TABLE=yes $(BIN)/python -m pytest -q -m 'system or not system' $(addprefix tests/platforms/test_walks.py::,test_walk test_walk_with_mosquitto)

unit: $(VENV)/.installed
	@$(PLAIN) $(BIN)/python -m pytest -n 4 --dist loadfile $(PYTEST)

# Where a vendor publishes a client, it is the judge: each in an environment of its own, apart from ours and each other.
VENDORS := roboflow huawei

vendors: $(VENDORS:%=$(CACHE)/vendors/%/.locked)

$(CACHE)/vendors/%/.locked: packaging/requirements-%.txt
	@$(MAKE) setup VENV=$(CACHE)/vendors/$* LOCK=packaging/requirements-$*.txt

# Root file systems and bundles are made before the tests: those run without the way to a registry that these may need.
test-system: as-root system-packages vendors  ## tests that need root or Debian packages (as root it installs those itself)
	@tests/system/root.sh $(CACHE)/system bookworm trixie bullseye >/dev/null
	@tests/system/bundles.sh $(BIN)/python $(CACHE)/system/bundles >/dev/null
	@tests/system/debs.sh $(BIN)/python $(CACHE)/system/debs >/dev/null
	@$(PLAIN) $(BIN)/python -m pytest -n 2 --dist loadfile -m system tests/system tests/platforms $(PYTEST)

test-vm: as-root system-packages  ## tests on a machine with a kernel of its own (QEMU), power cuts among them
	@tests/vm/image.sh $(CACHE)/vm >/dev/null
	@tests/system/root.sh $(CACHE)/system bookworm >/dev/null
	@tests/system/bundles.sh $(BIN)/python $(CACHE)/system/bundles >/dev/null
	@$(PLAIN) $(BIN)/python -m pytest -m vm -o timeout=900 tests/vm $(PYTEST)

soak: as-root system-packages  ## power cuts and reboots in a row; goes on where it was (CUTS=200 REBOOTS=200 MINUTES=...)
	@tests/vm/image.sh $(CACHE)/vm >/dev/null
	@tests/system/root.sh $(CACHE)/system bookworm >/dev/null
	@tests/system/bundles.sh $(BIN)/python $(CACHE)/system/bundles >/dev/null
	@$(PLAIN) PYTHONPATH=. $(BIN)/python tests/vm/soak.py $(CACHE)/soak $(or $(CUTS),200) $(or $(REBOOTS),200) $(MINUTES)

# Only atheris and what the decoders use: that has wheels for few Pythons, so it gets an environment of its own.
fuzz: $(VENV)/.installed  ## fuzz whatever reads data from outside (INPUTS=1000000, TARGETS="parts typed_code ...")
	@fits='import platform as p, sys; sys.exit((p.system(), p.machine()) != ("Linux", "x86_64") or not (3, 11) <= sys.version_info[:2] <= (3, 13))'; \
	for candidate in $(or $(PYTHON),$(BIN)/python python3 python3.13 python3.12 python3.11); do \
		"$$candidate" -c "$$fits" 2>/dev/null && { python="$$candidate"; break; }; \
	done; \
	if [ -z "$${python:-}" ]; then \
		echo "make fuzz: atheris is there for Linux on x86_64 with Python 3.11 to 3.13 only; hypothesis tries the same targets instead." >&2; \
		exec $(PLAIN) $(BIN)/python -m pytest tests/fuzz $(PYTEST); \
	fi; \
	$(MAKE) setup VENV=$(CACHE)/fuzz/venv PYTHON="$$python" LOCK=packaging/requirements-fuzz.txt; \
	$(PLAIN) PYTHONPATH=agent:. PYTHONDONTWRITEBYTECODE=1 $(CACHE)/fuzz/venv/bin/python -m tests.fuzz.run $(CACHE)/fuzz $(or $(INPUTS),1000000) $(TARGETS)

system-packages: $(VENV)/.installed
	@if [ -s tests/system/packages.txt ] && command -v apt-get >/dev/null; then \
		missing=$$(grep -vE '^ *(#|$$)' tests/system/packages.txt | while read -r name; do \
			dpkg-query -W -f '$${Status}' "$$name" 2>/dev/null | grep -q 'ok installed' || echo "$$name"; done); \
		if [ -n "$$missing" ]; then \
			echo "system-packages: apt-get install" $$missing; \
			apt-get -qq update; \
			DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
		fi; \
	fi

as-root:
	@[ "$$(id -u)" = 0 ] || { echo "make: this needs root, since it boots boxes in namespaces of its own; run it with sudo or in CI." >&2; exit 1; }

# ---- seeing it work --------------------------------------------------------------------------------------------

demo: $(VENV)/.installed  ## a hub and a device on this machine, from command to heartbeat (ROAD=mqtt, offline, huawei, qubitro or fleet; JSON=1, KEEP=1)
	@$(PLAIN) $(BIN)/python tests/demo.py $(if $(ROAD),--road $(ROAD)) $(if $(JSON),--json) $(if $(KEEP),--keep)

twin: $(VENV)/.installed  ## run a small real server in a platform's place, until Ctrl-C (PLATFORM=huawei, qubitro or fleet)
	@$(PLAIN) $(BIN)/python -m tests.twins $(or $(PLATFORM),huawei)

bench: $(VENV)/.installed  ## measure what the agent and the hub cost
	@$(PLAIN) $(BIN)/python tests/bench/run.py $(BENCH)

bundle: $(VENV)/.installed  ## the agent in one file per architecture, for a hub to serve (OUTPUT=DIR, ARCHS="x86_64 aarch64", SIGN=KEYFILE)
	@packaging/bundle.sh $(BIN)/python $(or $(OUTPUT),dist/bundles) "$(SIGN)" $(ARCHS)

deb: $(VENV)/.installed  ## Debian packages of agent and hub (OUTPUT=DIR, DEBS="firstlight_amd64 firstlight-hub~deb12_amd64 …", SIGN=KEYFILE, TRUST="hub.pub …")
	@rm -rf $(CACHE)/deb/bundles
	@packaging/bundle.sh $(BIN)/python $(CACHE)/deb/bundles "$(SIGN)"
	@packaging/deb/build.sh $(BIN)/python $(CACHE)/deb/bundles $(or $(OUTPUT),dist/deb) $(DEBS)

# ---- upkeep ----------------------------------------------------------------------------------------------------

# Same answer on every machine: one file for all Pythons and processors, no header, no address of any registry.
COMPILE = $(CACHE)/uv-venv/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header \
	--no-annotate --no-emit-package firstlight --no-emit-package firstlight-hub $(LOCK_FLAGS)

lock: $(VENV)/.locked  ## resolve the lock files again (LOCK_FLAGS=--upgrade for newer versions), and check that all have wheels
	@$(BIN)/python -m venv $(CACHE)/uv-venv && $(CACHE)/uv-venv/bin/pip install --quiet uv
	@$(COMPILE) pyproject.toml -o packaging/requirements-agent.txt
	@$(COMPILE) pyproject.toml --extra scan -c packaging/requirements-agent.txt -o packaging/requirements-scan.txt
	@$(COMPILE) hub/pyproject.toml -c packaging/requirements-agent.txt -o packaging/requirements-hub.txt
	@$(COMPILE) pyproject.toml hub/pyproject.toml --extra scan --extra labels --group dev -c packaging/requirements-hub.txt -o $(LOCK)
	@printf '%s\n' atheris base45 cbor2 cryptography | $(subst 3.10,3.11,$(COMPILE)) -c packaging/requirements-agent.txt - \
		-o packaging/requirements-fuzz.txt
	@printf '%s\n' roboflow-slim | $(COMPILE) - -o packaging/requirements-roboflow.txt
	@printf '%s\n' huaweicloudsdkiotda | $(COMPILE) - -o packaging/requirements-huawei.txt
	@for version in 3.10 3.11 3.12 3.13; do for machine in x86_64 aarch64; do \
		echo "lock: wheels for Python $$version on $$machine"; \
		for each in $(LOCK) packaging/requirements-scan.txt; do \
			$(CACHE)/uv-venv/bin/uv pip install --quiet --dry-run --no-build --no-deps --require-hashes --target $(CACHE)/wheels-check \
				--python-version $$version --python-platform $$machine-manylinux_2_28 -r $$each; \
		done; \
	done; done

clean:  ## remove everything that make made
	@rm -rf $(VENV) .cache dist
	@find agent hub tests -name __pycache__ -type d -prune -exec rm -rf {} +
