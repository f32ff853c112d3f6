# The commands of the README, nothing clever. Variables: PORT, HOST, PYTHON, and every SD_ setting.

PYTHON ?= python3.11
HOST ?= 127.0.0.1
PORT ?= 3000
VENV := .venv
BIN := $(VENV)/bin
# Environments of their own: they clash with the service's requirements, and with each other.
BENTOCTL := .venv-bentoctl
DEPLOY_VENV := .venv-deploy
KSERVE_VENV := .venv-kserve
RAY_VENV := .venv-ray
UI_VENV := .venv-ui
# OpenAI's client for Node, which only a test needs.
NODE := tests/integration/node
# Where the page is (make ui).
UI_HOST ?= 127.0.0.1
UI_PORT ?= 7860
CONFIG ?= deployment/bentoctl/deployment_config.yaml
FOLDER ?= runs/ec2
# One more worker than the cores of a small machine: the tests of deployment/ mostly wait.
JOBS ?= 3
# xdist would begin again with the test that a worker died of, and in the end hang.
PARALLEL := -n $(JOBS) --dist loadscope --no-loadscope-reorder --max-worker-restart 0
# One for the server that is measured, one for the host without BentoML meanwhile.
ABUSE := -n 2 --dist loadscope --max-worker-restart 0 tests/abuse

# Also where the environment forbids it: each process of each server that a test starts would compile
# the code again, for a second.
export PYTHONDONTWRITEBYTECODE :=
# Absolute: some recipes work in other folders.
export BENTOML_CONFIG := $(CURDIR)/configuration.yaml
export BENTOML_DO_NOT_TRACK := True
export BACKEND SBOM

.PHONY: serve ui ui-container ui-tools serve-ray test-ray bento bentoctl-test container vulnerabilities container-test release bentoctl-tools ec2-generate ec2-build ec2-apply ec2-destroy ec2-roll ec2-rollback ec2-versions ec2-updates ec2-inputs test test-rest test-quick test-full abuse deploy-tools kserve-tools lint format types evaluate bench tune soak architecture lock clean

SERVE := $(BIN)/bentoml serve service:svc --host $(HOST) --port $(PORT)

serve: $(VENV)/.serving  ## start the service on http://127.0.0.1:3000
	@echo "a page for the browser, from another terminal: make ui URL=http://$(HOST):$(PORT)"
	$(SERVE)

# URL=... and KEY=... of a service; without a URL one is started beside the page, where none is yet
ui: export SD_KEY := $(or $(KEY),$(SD_KEY))
ui: $(UI_VENV)/.installed $(if $(URL),,$(VENV)/.serving)  ## a page to make pictures with, on http://127.0.0.1:7860
	$(UI_VENV)/bin/python $(if $(URL),-m ui --url "$(URL)",-m ui.beside --url http://$(HOST):$(PORT)) \
		--host $(UI_HOST) --port $(UI_PORT) $(if $(URL),,-- $(SERVE))

# BACKEND=docker|podman, BASE_IMAGE
ui-container:  ## an image of the page: docs/ui.md
	version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		&& BUILDAH_FORMAT=docker $(or $(BACKEND),$$(command -v docker >/dev/null && echo docker || echo podman)) build --network host \
		--tag "stable_diffusion_ui:$$version" --build-arg "VERSION=$$version" \
		--build-arg "REVISION=$$(git rev-parse HEAD)" \
		$(if $(BASE_IMAGE),--build-arg "BASE_IMAGE=$(BASE_IMAGE)") ui

# OPTIONS="models=embedded max_replicas=2" (docs/ray.md), ISOLATED=1: in a network with nothing but
# loopback, for machines where Ray must not look for others
serve-ray: $(RAY_VENV)/.installed  ## start the service on Ray Serve, on http://127.0.0.1:3000
	$(RAY_VENV)/bin/python -m deployment.ray --host $(HOST) --port $(PORT) \
		$(if $(ISOLATED),--isolated) $(OPTIONS)

# MODEL=sd-1.5 (a name of the catalog, or several: sd-1.5,embedded), PRECISION=fp32|fp16|bf16,
# DEVICE=cpu|cuda, MODEL_SOURCE=s3://bucket/prefix, EXTRAS="nsfw openvino ray", VERSION, BASE_IMAGE
bento: $(VENV)/.serving  ## build a Bento: docs/bento.md
	$(BIN)/python -m deployment.bento --models "$(or $(MODEL),embedded)" \
		--precision "$(or $(PRECISION),fp32)" $(if $(DEVICE),--device "$(DEVICE)") \
		$(if $(MODEL_SOURCE),--model-source "$(MODEL_SOURCE)") \
		$(foreach extra,$(EXTRAS),--extra "$(extra)") $(if $(VERSION),--version "$(VERSION)") \
		$(if $(BASE_IMAGE),--base-image "$(BASE_IMAGE)")

# BENTO (a tag; default: one is built, see bento), BACKEND=docker|podman, SBOM=file
container: $(VENV)/.development  ## an image of a Bento: docs/container.md
	bento="$(or $(BENTO),$$($(MAKE) --silent --no-print-directory bento))" \
		&& deployment/container/build.sh "$$bento"

# REPORT: of trivy, grype or pip-audit, in JSON; docs/container.md
vulnerabilities: $(VENV)/.serving  ## fail where an image has a vulnerability that nobody has excepted
	$(BIN)/python deployment/container/vulnerabilities.py "$(or $(REPORT),$(error REPORT is not set))"

container-test: $(VENV)/.development $(KSERVE_VENV)/.installed  ## build and run the images with podman, without a registry (root)
	deployment/container/proof.sh

# KEY: a private key (PEM, ECDSA P-256) that signs the checksums
release: $(VENV)/.development  ## dist/: Bentos, Terraform modules, bills of materials, provenance, checksums
	$(BIN)/python -m deployment.release $(if $(KEY),--key "$(KEY)")

test: $(VENV)/.development $(BENTOCTL)/.installed $(DEPLOY_VENV)/.installed $(KSERVE_VENV)/.installed $(UI_VENV)/.installed  ## the whole test suite
	$(BIN)/python -m pytest $(PARALLEL) --ignore tests/abuse
	$(BIN)/python -m pytest $(ABUSE)

test-rest: $(VENV)/.development $(BENTOCTL)/.installed $(DEPLOY_VENV)/.installed $(KSERVE_VENV)/.installed $(UI_VENV)/.installed $(if $(shell command -v npm),$(NODE)/node_modules)  ## the tests that take long, which make test leaves out
	EFFORT=full $(BIN)/python -m pytest $(PARALLEL) -m full --ignore tests/abuse

test-quick: $(VENV)/.development  ## the unit tests, without the slow ones: within two minutes
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow" tests/unit

test-ray: $(RAY_VENV)/.installed  ## the tests of the Ray host, in a network with nothing but loopback
	$(RAY_VENV)/bin/python -m deployment.ray.namespace pytest tests/integration/ray

abuse: $(VENV)/.development  ## tests/abuse with far more examples: ten minutes and more
	EFFORT=full $(BIN)/python -m pytest $(ABUSE) --timeout 3600

test-full: $(VENV)/.development $(BENTOCTL)/.installed $(DEPLOY_VENV)/.installed $(UI_VENV)/.installed  ## the test suite with all that takes minutes, and the abuse
	EFFORT=full $(BIN)/python -m pytest $(PARALLEL) --ignore tests/abuse
	$(MAKE) abuse

ec2-updates: $(VENV)/.development $(DEPLOY_VENV)/.installed  ## plan a change of each variable of the EC2 module, against a mock (four minutes of processor time)
	EFFORT=full UPDATES=each $(BIN)/python -m pytest tests/e2e/deployment/test_updates.py

deploy-tools: $(DEPLOY_VENV)/.installed  ## what the tests of deployment/terraform need

kserve-tools: $(KSERVE_VENV)/.installed  ## the clients that the tests of KServe's protocols run

ui-tools: $(UI_VENV)/.installed  ## the environment of the page

bentoctl-tools: $(BENTOCTL)/.installed  ## an environment for bentoctl

# bentoctl itself ends with 0 whatever happens; through these targets a failure is one, with its
# cause. CONFIG, FOLDER (where the Terraform lives), BENTO (a tag), YES=1 (do not ask)

ec2-generate ec2-build ec2-apply ec2-destroy: $(BENTOCTL)/.installed
	@mkdir -p "$(FOLDER)"
	cd "$(FOLDER)" && PATH="$(abspath $(BENTOCTL))/bin:$$PATH" env -u BENTOML_CONFIG python \
		"$(CURDIR)/deployment/bentoctl/operator/bentoctl_repairs.py" $(@:ec2-%=%) -f "$(abspath $(CONFIG))" \
		$(if $(filter ec2-build,$@),--bento-tag "$(or $(BENTO),$(error BENTO is not set: BENTO=stable_diffusion_fp16:0.1.0))") \
		$(if $(filter ec2-apply ec2-destroy,$@),$(if $(YES),--auto-approve))

# Of a deployment whose Terraform is in FOLDER, after an apply: replace the instances, and say how it
# went. VERSION=N (of the launch template), ALARM=0 (for a hotfix: while responses are errors), FORCE=1
# (also instances that have the version, for secrets that have changed)
ec2-roll ec2-rollback ec2-versions:
	@python3 deployment/terraform/rollout.py --folder "$(FOLDER)" $(@:ec2-%=%) \
		$(if $(filter-out ec2-versions,$@),$(if $(VERSION),--version $(VERSION))) \
		$(if $(filter ec2-roll,$@),$(if $(filter 0,$(ALARM)),--no-alarm) $(if $(FORCE),--force))

bentoctl-test: $(BENTOCTL)/.installed $(DEPLOY_VENV)/.installed  ## all of bentoctl, without AWS (root)
	deployment/bentoctl/proof.sh

lint: $(VENV)/.development  ## style, format, dependency rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.development  ## strict type check
	$(BIN)/mypy

format: $(VENV)/.development  ## mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

evaluate: $(VENV)/.serving  ## measure the embedded model again
	$(BIN)/python -m training evaluate --model models/embedded --out docs

# QUICK=1 (within 5 minutes), CONTESTANTS="ours ray_serve_models", WORKLOADS="several", DEVICE=cuda
bench: $(RAY_VENV)/.benchmark  ## this service against the others; into docs/ if it is all of it
	$(RAY_VENV)/bin/python -m benchmarks run $(if $(QUICK),--quick) $(if $(DEVICE),--device $(DEVICE)) \
		$(if $(CONTESTANTS),--contestants "$(CONTESTANTS)") \
		$(if $(WORKLOADS),--workloads "$(WORKLOADS)") $(if $(OUT),--out "$(OUT)")

tune: $(RAY_VENV)/.benchmark  ## find the settings that suit the contestants of the benchmark here
	$(RAY_VENV)/bin/python -m benchmarks tune

soak: $(VENV)/.serving  ## 2,000 jobs with cancels and failures: does the memory grow?
	$(BIN)/python -m benchmarks.soak

architecture: $(VENV)/.development  ## the drawing in docs/architecture.md, made of the code's imports
	$(BIN)/python -m docs.architecture

ec2-inputs: $(VENV)/.development  ## the page of the EC2 module, made of its variables
	$(BIN)/python -m docs.ec2_inputs

lock: $(VENV)/.development $(RAY_VENV)/.benchmark $(UI_VENV)/.installed  ## write down what is installed, after a change of a requirement
	$(RAY_VENV)/bin/pip freeze --exclude torch --exclude pip --exclude setuptools > requirements.lock
	$(BIN)/pip freeze --all | grep ^setuptools== >> requirements.lock  # torch wants it newer than venv has it
	tools=$$(mktemp -d) && trap 'rm -r "$$tools"' EXIT && $(PYTHON) -m venv "$$tools" \
		&& "$$tools/bin/pip" install --quiet uv==0.13.9 \
		&& $(RAY_VENV)/bin/python -m deployment.bento.packages "$$tools/bin/uv"
	$(UI_VENV)/bin/pip freeze --exclude pip --exclude setuptools > ui/requirements.lock

clean:  ## remove the virtual environments
	rm -rf $(VENV) $(BENTOCTL) $(DEPLOY_VENV) $(KSERVE_VENV) $(RAY_VENV) $(UI_VENV) $(NODE)/node_modules

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serving: requirements.txt requirements.lock | $(VENV)/bin/python
	$(BIN)/pip install --quiet -r requirements.txt -c requirements.lock
	@touch $@

# Of the last package the tests take axe-core, a file, and not Playwright, of which it is a plug-in.
$(VENV)/.development: requirements-dev.txt requirements-nsfw.txt requirements-openvino.txt $(VENV)/.serving
	$(BIN)/pip install --quiet -r requirements-dev.txt -c requirements.lock
	$(BIN)/pip install --quiet --no-deps axe-playwright-python==0.1.8
	@touch $@

$(BENTOCTL)/.installed: requirements-bentoctl.txt
	$(PYTHON) -m venv $(BENTOCTL)
	$(BENTOCTL)/bin/pip install --quiet -r requirements-bentoctl.txt
	@touch $@

PACKAGES := "import site; print(site.getsitepackages()[0])"
# On top of the other one, which it sees: Ray brings servers and parsers along that would change
# what the rest runs on. Each of Ray's processes imports jsonschema, which takes seconds where a
# package of the development's is there that reads a grammar; Ray waits no longer than 15 for them.
$(RAY_VENV)/.installed: requirements-ray.txt requirements.lock $(VENV)/.development
	$(PYTHON) -m venv $(RAY_VENV)
	$(BIN)/python -c $(PACKAGES) > "$$($(RAY_VENV)/bin/python -c $(PACKAGES))/service.pth"
	echo 'raise ImportError("not for Ray")' > \
		"$$($(RAY_VENV)/bin/python -c $(PACKAGES))/rfc3987_syntax.py"
	$(RAY_VENV)/bin/pip install --quiet -r requirements-ray.txt -c requirements.lock
	@touch $@

$(RAY_VENV)/.benchmark: requirements-bench.txt $(RAY_VENV)/.installed
	$(RAY_VENV)/bin/pip install --quiet -r requirements-bench.txt -c requirements.lock
	@touch $@

$(DEPLOY_VENV)/.installed: requirements-deploy.txt requirements-deploy.lock
	$(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/pip install --quiet -r requirements-deploy.txt -c requirements-deploy.lock
	@touch $@

$(KSERVE_VENV)/.installed: requirements-kserve.txt requirements-kserve.lock
	$(PYTHON) -m venv $(KSERVE_VENV)
	$(KSERVE_VENV)/bin/pip install --quiet -r requirements-kserve.txt -c requirements-kserve.lock
	$(KSERVE_VENV)/bin/pip install --quiet --no-deps kserve-storage==0.21.0
	@touch $@

$(NODE)/node_modules: $(NODE)/package-lock.json
	npm ci --prefix $(NODE) --no-audit --no-fund
	@touch $@

$(UI_VENV)/.installed: ui/requirements.txt ui/requirements.lock
	$(PYTHON) -m venv $(UI_VENV)
	$(UI_VENV)/bin/pip install --quiet -r ui/requirements.txt -c ui/requirements.lock
	@touch $@
