# `make help` lists what a person calls; everything else is called by those.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# make splits its targets at spaces, and the halves of a path are other people's directories.
$(if $(word 2,$(CURDIR)),$(error The path of this checkout has a space: $(CURDIR). Move it to a path without one))

VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
# The checkout is its own collection: .ansible/ holds the link, and Molecule and ansible-lint, which do not read
# our ansible.cfg, find it by this.
export ANSIBLE_HOME := $(CURDIR)/.ansible
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export MOLECULE_GLOB := molecule/*/molecule.yml

# A stamp in the environment is named after everything that decides its content, its place included.
digest = $(shell (echo $(CURDIR); cat $(1)) 2>/dev/null | sha256sum | cut -c1-16)
RUN_FILES := requirements.txt runtime/requirements.txt runtime/requirements-gateway.txt runtime/setup.cfg runtime/setup.py
TEST_FILES := $(RUN_FILES) requirements-test.txt requirements-serving-api.txt
RUN_STAMP := $(VENV)/.installed-run-$(call digest,$(RUN_FILES))
TEST_STAMP := $(VENV)/.installed-test-$(call digest,$(TEST_FILES))
BENCH_STAMP := $(VENV)/.installed-bench-$(call digest,$(TEST_FILES) requirements-bench.txt)
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

# For the demo: ARGS goes to ansible-playbook (ARGS='--check --diff'), REPORTS is where its inventory writes them.
ARGS :=
REPORTS := .tfleet/reports

##@ Use
.PHONY: help setup demo gateway stop clean
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(RUN_STAMP) ## Make the virtual environment .venv from the pinned requirements

demo: setup ## Build, release, serve and check the demo models on this machine (no root, no Docker)
	ansible-playbook -i inventories/local playbooks/site.yml $(ARGS)
	@tools/show_demo $(REPORTS)

gateway: setup ## A web page that asks the demo's models, or yours, about pictures of your own; its address is printed
	@ansible-playbook -i inventories/local playbooks/gateway.yml $(ARGS)

stop: setup ## End the servers that the demo and the gateway have started
	ansible-playbook -i inventories/local playbooks/stop.yml $(ARGS)

clean: ## Remove test hosts, environments, caches and everything built; the demo's models too
	@if [ -d .tfleet ] && [ -x $(VENV)/bin/ansible-playbook ]; then $(MAKE) --no-print-directory stop; fi
	molecule/shared/test_hosts down
	rm -rf .venv .cache .tfleet build .mypy_cache .pytest_cache .ruff_cache .ansible/tmp .ansible/cp runtime/build
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name '*.egg-info' -prune -exec rm -rf {} +

##@ Test
# Two at a time, the longest first.
SUITES := molecule:1800$(MORE_SUITES) unit:960 test-demo:720 conformance:720 test-conversion:600 due-benchmark:240 due-networks:180 due-tftrt:360 test-legacy:540 test-faults:420 test-guides:240 sanity:180 lint:240 test-browser:150 test-monitoring:120
.PHONY: test setup-test lint sanity unit conformance test-demo test-conversion test-benchmark test-networks molecule faults test-faults test-legacy test-guides test-browser test-monitoring test-tftrt test-hardware test-arm64 collection docs bench
test: setup-test ## Everything that CI runs, with a table of times at the end
	@tools/run_suites $(SUITES)

setup-test: $(TEST_STAMP) ## Add what the tests need to .venv

lint: setup-test ## ruff, mypy, Python 3.6 syntax, yamllint, ansible-lint, changelog, generated pages, documentation
	@$(MAKE) --no-print-directory --keep-going $(addprefix lint-,ruff mypy syntax yaml ansible changelog pages docs)

.PHONY: lint-ruff lint-mypy lint-syntax lint-yaml lint-ansible lint-changelog lint-pages lint-docs
lint-ruff:
	ruff check
lint-mypy:
	mypy
lint-syntax:
	vermin --target=3.6- --violations --no-tips --eval-annotations plugins runtime/src runtime/setup.py
lint-yaml:
	yamllint --strict .
lint-ansible:
	ansible-lint
lint-changelog:
	antsibull-changelog lint
lint-pages:
	tools/role_readme.py --check
	tools/compatibility_table.py --check
	tools/references.py --check
lint-docs:
	antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck .
	pre-commit validate-config

# A minute more the first time, which makes the environments of its tests.
sanity: setup-test ## ansible-test sanity on the collection as it is published; exceptions in tests/sanity
	tools/sanity

unit: setup-test ## Unit tests of the modules, the runtime, the roles and the collection
	pytest tests/unit --ignore $(CONVERSIONS) --ignore $(BENCHMARKS)

conformance: setup-test ## The model server against the TensorFlow Serving API
	pytest tests/conformance

test-demo: setup-test ## The demo twice, then rollback and status, apart from a running demo
	pytest tests/demo

test-conversion: setup-test ## Variants of the demo models built, compared, measured and released by the rule
	pytest tests/conversion

BENCHMARKS := tests/unit/runtime/measure/test_benchmark.py
test-benchmark: setup-test ## `tfleet benchmark`, in-process and served; note the pass in tests/proven/benchmark
	pytest $(BENCHMARKS)
	tools/due benchmark --note

CONVERSIONS := tests/unit/runtime/convert/variants/test_conversions.py
test-networks: setup-test ## Variants of MobileNetV2, ResNet50, SSD and Faster R-CNN; note the pass in tests/proven/networks
	pytest $(CONVERSIONS)
	tools/due networks --note

# In this order: the first releases the models that the others find built.
SCENARIOS := default provision container rollout
molecule: setup-test ## The roles on real systemd hosts in Docker
	molecule/shared/test_hosts up
	@failed=; for scenario in $(SCENARIOS); do molecule test --scenario-name $$scenario --no-command-borders || failed="$$failed $$scenario"; done; \
	  if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

# One step of the default scenario while working on a role, as molecule-converge or molecule-verify.
molecule-%: setup-test
	molecule $*

test-guides: setup-test ## Every command of the guides: run, or proven by what its mark names, or at least understood by its program
	pytest tests/guides

test-faults: setup-test ## Of `make faults` what goes wrong with the server and with releases on their way
	pytest tests/faults --ignore tests/faults/rollout

# Half an hour; `make test` has a part of it, and of rollouts the scenario rollout.
faults: setup-test ## What goes wrong with servers, with releases on their way and with rollouts; results in build/faults.json
	pytest tests/faults

# Not yet part of `make test`: seven minutes, of which the scenario provision proves a part.
.PHONY: test-system
test-system: setup-test ## The roles that change a whole machine (swap, zram, targets, power); only with CI=true or TFLEET_TEST_SYSTEM=1
	molecule/shared/test_hosts up
	pytest tests/system

test-monitoring: setup-test ## Rules and dashboard by Debian's Prometheus, which scrapes a real model server, gateway and device page
	pytest tests/monitoring

test-browser: setup-test ## The web pages in headless Chromium: the gateway's, with a real model server behind it, and the reports
	pytest tests/browser

test-legacy: setup-test ## Modules and a rollout on Python 3.6 under ansible-core 2.16, the runtime on TensorFlow 1.15 and 2.7
	pytest tests/legacy

test-tftrt: setup-test ## TF-TRT up to the saved graph with a stand-in for TensorRT (x86_64; a wheel of 600 MB, once); note the pass in tests/proven/tftrt
	pytest tests/tftrt
	@if [ "$$(uname -m)" = x86_64 ]; then tools/due tftrt --note; fi

# What `make test` runs: nothing has to be proven twice.
.PHONY: due-benchmark due-networks due-tftrt
due-benchmark due-networks due-tftrt: due-%: setup-test
	@if tools/due $*; then $(MAKE) --no-print-directory test-$*; else echo "Nothing that test-$* proves has changed since it passed."; fi

test-hardware: setup-test ## TF-TRT on a real device: HOST=user@device, RUNTIME=the tfleet command there
	@test -n "$(HOST)" || { echo "Say which device: make test-hardware HOST=user@device" >&2; exit 2; }
	PYTHONPATH=runtime/src pytest tests/hardware --host "$(HOST)" --runtime "$(or $(RUNTIME),tfleet)"

# Ten minutes of emulation: not part of `make test`, but of CI whenever `tools/due arm64` says so.
test-arm64: setup-test ## The runtime image on an aarch64 userland under emulation (root); note the pass in tests/proven/arm64
	molecule/shared/test_hosts engine
	@trap 'tests/arm64/emulation down' EXIT; tests/arm64/emulation up && pytest tests/arm64 -s && tools/due arm64 --note

collection: setup ## The collection as it is published, in build/collection
	rm -rf build/collection
	ansible-galaxy collection build --output-path build/collection

docs: setup-test ## The collection's documentation as a site of its own, in build/docs/build/html
	rm -rf build/docs && mkdir -p -m 755 build/docs
	antsibull-docs sphinx-init --use-current --squash-hierarchy --lenient --sphinx-theme alabaster --project tfleet.serving --title tfleet.serving \
	  --dest-dir build/docs tfleet.serving
	# It would ask the sites of Python, Jinja and Ansible for their pages.
	sed -i '/^intersphinx_mapping/,/^}/d' build/docs/conf.py
	build/docs/build.sh

bench: $(BENCH_STAMP) ## Benchmark SUITE (client, server, pictures, convert, gateway, transport, rollout), results in build/bench/
	@test -n "$(SUITE)" || { echo "Say which: make bench SUITE=client" >&2; exit 2; }
	python -m tests.bench.$(SUITE)

# ---- how the environments are made ----
$(RUN_STAMP):
	@tools/make_venv $(VENV)
	$(PIP) install --quiet -r requirements.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable runtime
	@rm -f $(VENV)/.installed-run-*; touch $@

$(TEST_STAMP): $(RUN_STAMP)
	$(PIP) install --quiet -r requirements-test.txt
	$(PIP) install --quiet --no-deps -r requirements-serving-api.txt
	@rm -f $(VENV)/.installed-test-*; touch $@

$(BENCH_STAMP): $(TEST_STAMP)
	$(PIP) install --quiet -r requirements-bench.txt
	@rm -f $(VENV)/.installed-bench-*; touch $@
