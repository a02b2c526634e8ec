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
CORES ?= $(shell nproc)
SERVERS ?= 6
WORKERS ?= 2
MEMORY_MB ?= $(shell awk '/MemAvailable/ {print int($$2 / 1024 * 0.9)}' /proc/meminfo)
# Snakemake makes a cache below the home folder, and nothing begins without.
ifeq ($(shell [ -w "$$HOME" ] && echo writable),)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/caches
endif
SNAKEMAKE := $(BIN)/python -m snakemake --cores $(CORES) --resources mem_mb=$(MEMORY_MB) $(RESOURCES) --quiet host reason $(SDM) --config study=$(STUDY)

.PHONY: run fetch gpu scores test lint unit pins rehearsal bench clean
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
	$(BIN)/snakemake --lint

unit: $(VENV)/installed
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder

$(VENV)/installed: requirements.lock
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \"Python 3.11 or newer is needed; name it: make PYTHON=python3.11\")"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps $(TORCH) || $(BIN)/pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu $(TORCH)
	$(BIN)/pip install --quiet --no-deps -r requirements.lock
	touch -r $< $@

# The exact versions below the marks in envs/*.yaml.  Wants uv (`pip install uv`); WHEELS names folders with wheels that
# no index in reach has.
pins: $(VENV)/installed
	$(BIN)/python envs/resolve.py $(WHEELS)

# DeepSeek-V3's 689 GB three times over, as files of holes: everything but the arithmetic, in seconds.
rehearsal: $(VENV)/installed
	PYTHONPATH=scripts $(BIN)/python scripts/rehearse.py resources/deepseek-v3/config.json

# The README's picture of the rules, as the study `paper` has them; needs Graphviz.  `tred` leaves out what follows anyway.
docs/rules.svg: Snakefile $(wildcard rules/*.smk) $(VENV)/installed
	$(BIN)/snakemake --config study=paper --rulegraph dot -- results/paper/paper.pdf results/paper/index.html results/paper/audits/r1t/audit.html \
	| sed 's/fontname=sans, *fontsize=10/fontname="Helvetica,Arial,sans-serif", fontsize=11/; s/margin=0/margin=0.1, nodesep=0.12, ranksep=0.3/; s/penwidth=2/penwidth=1.3/' \
	| tred | dot -Tsvg -o $@

# Takes some 20 minutes and 40 GB under results/bench; nothing else should run.  Writes docs/benchmarks.json and .md.
bench: $(VENV)/installed $(VENV)-mergekit/installed
	PYTHONPATH=scripts:tests $(BIN)/python -m performance --mergekit $(VENV)-mergekit/bin/mergekit-yaml

$(VENV)-mergekit/installed: requirements-mergekit.lock
	$(PYTHON) -m venv $(VENV)-mergekit
	$(VENV)-mergekit/bin/pip install --quiet --no-deps $(TORCH) || $(VENV)-mergekit/bin/pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu $(TORCH)
	$(VENV)-mergekit/bin/pip install --quiet --no-deps -r requirements-mergekit.lock
	touch $@

clean:
	rm -rf results .snakemake
