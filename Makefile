# Set-up and the two commands of the README; everything else is Snakemake's.
PYTHON ?= python3
VENV := .venv
ifneq ($(words $(VENV)),1)
$(error make takes no blanks in the folder of the environment; name another one: make VENV=.venv)
endif
BIN := $(VENV)/bin
TORCH := $(shell grep "^torch==" requirements.lock)
STUDY ?= mini
RESULTS := results/$(STUDY)
CORES ?= $(shell nproc 2>/dev/null)
SERVERS ?= 6
WORKERS ?= 2
# What the machine, or the container's limit, leaves free
MEMORY_MB ?= $(shell $(or $(wildcard $(BIN)/python),$(PYTHON)) envs/machine_check.py --memory)
# Snakemake makes a cache below the home folder, and nothing begins without.
ifeq ($(shell [ -w "$$HOME" ] && echo writable),)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/caches
endif
SNAKEMAKE := $(BIN)/python -m snakemake --cores $(CORES) --resources mem_mb=$(MEMORY_MB) $(RESOURCES) --quiet host reason $(SDM) --config study=$(STUDY)

.PHONY: run fetch gpu scores test lint unit convert docs families pins rehearsal bench clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	@$(SNAKEMAKE)
	@[ -z "$$(find $$(ls -d $(RESULTS)/paper.json $(RESULTS)/figures $(RESULTS)/audits 2>/dev/null) -newer $(RESULTS)/report.html 2>&1)" ] \
	|| $(SNAKEMAKE) --report $(RESULTS)/report.html
	@echo "The results are in $(RESULTS): open index.html, or paper.pdf"

# Everything that a study fetches, for a machine with network.
fetch: $(VENV)/installed
	$(SNAKEMAKE) -- fetch

# The mini study on one NVIDIA GPU, with vLLM's CUDA build out of envs/serving_cuda.yaml, by conda; where that vLLM is
# installed beside Snakemake, `make gpu SDM=`.  SERVERS of them share the GPU while they answer; for what is measured
# afterwards, each has it to itself.
gpu: SDM = --software-deployment-method conda
gpu: $(VENV)/installed
	$(MAKE) scores STUDY=mini-gpu SDM="$(SDM)" RESOURCES=gpu=$(SERVERS)
	$(MAKE) run STUDY=mini-gpu SDM="$(SDM)" RESOURCES=gpu=1

# A study up to its scores.
scores: $(VENV)/installed
	$(SNAKEMAKE) --until scores

test: lint unit

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

unit: $(VENV)/installed
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

# mergekit's configuration MERGEKIT as config/studies/STUDY.yaml.
convert: $(VENV)/installed
	@PYTHONPATH=scripts $(BIN)/python -m aoe.studies.mergekit "$(MERGEKIT)" "$(STUDY)"

# The tables of the documentation that come from schemas and registries.
docs: $(VENV)/installed
	@PYTHONPATH=scripts $(BIN)/python -m documentation

# Tries every family of language models of transformers (docs/architectures.md); takes some 20 minutes.
families: $(VENV)/installed
	PYTHONPATH=scripts:tests $(BIN)/python -m support.all_families $(FAMILIES)
	$(MAKE) docs

# Installs a lock into an environment: $(call install,folder,lock).  PyTorch's build for CPUs is taken from pip's index,
# else from PyTorch's own; where neither has it for this Python, the plain build, which brings CUDA on x86-64, runs on CPUs.
define install
@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON); install Python 3.11 to 3.14, or name it: make PYTHON=..." >&2; exit 1; }
@$(PYTHON) envs/machine_check.py "$(1)"
$(PYTHON) -m venv "$(1)"
@grep -v "^torch==" $(2) > "$(1)/without-torch.lock"
$(1)/bin/pip install --quiet --no-deps $(TORCH) 2>/dev/null \
|| $(1)/bin/pip install --quiet --no-deps --retries 1 --index-url https://download.pytorch.org/whl/cpu $(TORCH) 2>/dev/null \
|| { echo "PyTorch's build for CPUs is not to be had here for this Python: taking the plain one (5 GB)" \
     && $(PYTHON) envs/machine_check.py "$(1)" 6 2>&1 \
     && $(1)/bin/pip install --quiet --constraint "$(1)/without-torch.lock" $(TORCH:+cpu=); }
$(1)/bin/pip install --quiet --no-deps -r "$(1)/without-torch.lock"
@touch -r "$(2)" "$(1)/installed"
endef

$(VENV)/installed: requirements.lock
	$(call install,$(VENV),$<)

# requirements.lock, and the exact versions below the marks in envs/*.yaml.  WHEELS names folders with wheels that no
# index in reach has.
pins: $(VENV)/installed
	$(BIN)/python envs/resolve.py $(WHEELS)

# DeepSeek-V3's 689 GB three times over, as files of holes: everything but the arithmetic, in seconds.
rehearsal: $(VENV)/installed
	PYTHONPATH=scripts $(BIN)/python scripts/rehearse.py resources/deepseek-v3/config.json

# The picture of the rules in docs/how-it-works.md, as the study `paper` has them; needs Graphviz.  `tred` leaves out what follows anyway.
docs/rules.svg: Snakefile $(wildcard rules/*.smk) $(VENV)/installed
	$(BIN)/snakemake --config study=paper --rulegraph dot -- results/paper/paper.pdf results/paper/index.html results/paper/audits/r1t/audit.html \
	| sed 's/fontname=sans, *fontsize=10/fontname="Helvetica,Arial,sans-serif", fontsize=11/; s/margin=0/margin=0.1, nodesep=0.12, ranksep=0.3/; s/penwidth=2/penwidth=1.3/' \
	| tred | dot -Tsvg -o $@

# Takes some 25 minutes and 40 GB under results/bench; nothing else should run.  Writes docs/benchmarks.json and .md.
bench: $(VENV)/installed $(VENV)-mergekit/installed
	PYTHONPATH=scripts:tests $(BIN)/python -m performance --mergekit $(VENV)-mergekit/bin/mergekit-yaml

$(VENV)-mergekit/installed: requirements-mergekit.lock
	$(call install,$(VENV)-mergekit,$<)

# Deletes what runs have made.  It asks before it deletes answers; `make clean YES=1` does not ask.
clean:
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) scripts/launcher/clean.py $(if $(filter 1,$(YES)),--yes)
