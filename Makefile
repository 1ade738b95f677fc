# Few verbs; each does what CI does. `make demo` and `make test` install what they need by themselves.
.DEFAULT_GOAL := help
.PHONY: test-vm bench-floods bench-churn manifests image test-image help setup preflight check format test test-resilience soak test-kube crds demo lab lab-down fuzz fuzz-parsers mutation bench bench-smoke bench-verdict bench-scale docs docs-inspection wheel clean
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
BIN := .venv/bin
CHECKED := pyagent tests benchmarks scripts

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

setup: ## install Debian packages and .venv; nothing to do the second time
	@scripts/setup

preflight: setup
	@$(PYTHON) scripts/preflight.py

check: setup ## linters, types, layers, the C code's form and warnings
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	scripts/check-c
	shellcheck scripts/setup scripts/check-c scripts/deploy-tools deploy/image/build .ci/run
	$(BIN)/codespell

format: setup ## lay out Python and C as `make check` wants them
	$(BIN)/ruff check --fix-only --quiet $(CHECKED)
	$(BIN)/ruff format $(CHECKED)
	clang-format -i bpf/*.h $(wildcard bpf/*.c)

test: preflight ## every tier: unit, property, dataplane, netns; a skipped test is a failure (root)
	AUTOHEP_REQUIRE_ALL=1 $(PYTHON) -m pytest -q

test-kube: setup ## the kube tier against a real cluster, under names of its own: KUBECONFIG=PATH
	@test -n "$(KUBECONFIG)" || { echo "usage: make test-kube KUBECONFIG=PATH" >&2; exit 2; }
	AUTOHEP_TEST_KUBECONFIG="$(KUBECONFIG)" $(PYTHON) -m pytest -q tests/kube

crds: setup ## deploy/crds from the model
	$(PYTHON) -m pyagent.crds deploy/crds

manifests: setup ## deploy/kustomize from the chart and deploy/crds
	@scripts/deploy-tools
	@$(PYTHON) scripts/manifests.py

image: setup ## the container image, from Debian packages, without any registry; about a minute (root)
	@deploy/image/build

test-image: preflight image ## the agent in its container, with the manifest's rights only, on real packets (root)
	@command -v runc >/dev/null || { apt-get -qq update; DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends runc; } </dev/null >/dev/null
	@$(PYTHON) -m tests.image

test-resilience: preflight ## every fault under traffic, as a table, and a fault at every step of an apply (root)
	@$(PYTHON) -m tests.resilience
	@$(PYTHON) -m tests.sweep
	AUTOHEP_REQUIRE_ALL=1 $(PYTHON) -m pytest -q -m slow tests/netns

soak: preflight ## hours of churn in which nothing may grow: make soak MINUTES=60; plot in build/ (root)
	@$(PYTHON) -m tests.soak --minutes $(or $(MINUTES),60)

test-vm: setup ## the tests that need a kernel on one of Debian's, emulated: KERNEL=5.10|6.1|6.12|newest SELECT=tiers (root)
	@test -n "$(KERNEL)" || { echo "usage: make test-vm KERNEL=5.10|6.1|6.12|newest [SELECT=smoke|kinds|dataplane|netns|tiers]" >&2; exit 2; }
	@$(PYTHON) -m tests.vm "$(KERNEL)" --select "$(or $(SELECT),tiers)" --seconds "$(or $(SECONDS),3600)"

demo: preflight ## the walkthrough with real packets, step by step; DATASTORE=kubernetes [KUBECONFIG=PATH] (root)
	@$(PYTHON) -m tests.lab.story $(if $(filter kubernetes,$(DATASTORE)),--datastore kubernetes $(if $(KUBECONFIG),--kubeconfig "$(KUBECONFIG)"))

lab: preflight ## bring the lab up and leave it for playing by hand (root)
	@$(PYTHON) -m tests.lab up

lab-down: preflight ## remove what `make lab` made (root)
	@$(PYTHON) -m tests.lab down

fuzz: preflight ## random packets, policies and all three engines: make fuzz PACKETS=2000000 SEED=1 (root)
	@$(PYTHON) -m tests.fuzz --packets $(or $(PACKETS),200000) --seed $(or $(SEED),1)

fuzz-parsers: setup ## coverage-guided fuzzing of all that reads what users write: make fuzz-parsers SECONDS=60
	@mkdir -p build; for target in selector failsafe manifest policytest; do \
		$(PYTHON) -m tests.fuzzing $$target $(or $(SECONDS),15) >build/fuzzing-$$target.log 2>&1 || { tail -n 40 build/fuzzing-$$target.log; exit 1; }; \
		echo "$$target: $$(sed -n 's/^stat::number_of_executed_units: *//p' build/fuzzing-$$target.log) inputs, none answered badly"; \
	done

mutation: preflight ## deliberate faults in compiler and program, one at a time; each must be noticed (root)
	@$(PYTHON) -m tests.mutation

bench: preflight ## everything measured, against nftables and iptables; some fifteen minutes (root)
	@$(PYTHON) -m benchmarks

bench-smoke: preflight ## the same in next to no time, only to see that it works (root)
	@$(PYTHON) -m benchmarks --smoke --into build/bench-smoke

bench-scale: preflight ## 5,000 nodes simulated: CPU, memory, bytes, latency; writes benchmarks/results/scale.json (root)
	@$(PYTHON) -m benchmarks.scale --nodes $(or $(NODES),5000) --seconds $(or $(SECONDS),60) --json benchmarks/results/scale.json

bench-verdict: preflight ## the verdict's cost at 1 to 10,000 rules (root)
	@$(PYTHON) -m benchmarks.verdict

bench-floods: preflight ## what floods leave of an established connection's rate, filtered and not (root)
	@$(PYTHON) -m benchmarks.floods

bench-churn: preflight ## 500 interfaces a minute come and go: when each is filtered, what stays: make bench-churn MINUTES=10 (root)
	@$(PYTHON) -m benchmarks.churn --minutes $(or $(MINUTES),10)

docs: setup ## write docs/maps.md anew from the C sources
	@$(PYTHON) scripts/maps_doc.py

docs-inspection: preflight ## write docs/inspection.md anew from what the commands print (root)
	@$(PYTHON) scripts/inspection_doc.py

wheel: setup ## dist/*.whl, which carries the C sources
	$(PYTHON) -m pip wheel -q --no-deps --no-build-isolation -w dist .

clean: ## remove what the other verbs left in the checkout, .venv included
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
