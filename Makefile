# Two commands set up everything and do it: `make book` and `make test`.
.PHONY: help book test stress matrix check lint fast weave widgets env weights \
    tables bench lock clean
.DEFAULT_GOAL := help

# Without bytecode every process would compile torch anew, for seconds.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make book     build the site (sets up .venv first; 2 minutes)"
	@echo "make test     run the whole test suite (the same; 10 to 17 minutes)"
	@echo "make stress   more of what make test has a sample of (20 minutes)"
	@echo "make matrix   run the fast tests on other Pythons, dependencies," \
	    "places (10 minutes)"
	@echo "make check    make lint and make fast: under a minute"
	@echo "make lint     check style, spelling, imports and types"
	@echo "make fast     run the fast tests"
	@echo "make weave    run the text of CHAPTER=03, write its notebook"
	@echo "make widgets  build the pages' script from book/widgets (with Node)"
	@echo "make weights  train the shipped weights again (an hour, 2 cores)"
	@echo "make tables   measure the tables of the README (4 hours)"
	@echo "make bench    time us, the original's way and transformers (20 min)"
	@echo "make lock     pin the newest dependencies in requirements.lock"
	@echo "make clean    remove what the commands above made, but runs/"

env:
	@tools/setup_env.sh

book:
	@echo "Building the site from the stored notebooks: 1 minute to set up" \
	    "the environment the first time, then half a minute."
	@tools/setup_env.sh
	@.venv/bin/python tools/build_site.py _build
	@echo "The site is ready: open _build/html/index.html"

# The other notebooks are run by tests/test_colab.py.
test:
	@echo "Running the whole test suite: 1 minute to set up the environment" \
	    "the first time, then up to 17 minutes on two cores."
	@tools/setup_env.sh
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --nbval \
	    --nbval-current-env --nbval-cell-timeout=1200 \
	    --nbval-sanitize-with=tests/nbval_sanitize.cfg \
	    --numprocesses=auto --maxprocesses=4 --dist=loadfile \
	    --no-loadscope-reorder --junitxml=_build/tests.xml \
	    tests book/06_train_and_evaluate.ipynb
	@echo "Every test passed; the report is _build/tests.xml"

# Kills at any moment, and inputs made up: all seeds, and new examples of
# hypothesis, which says how to repeat one that fails.
stress:
	@echo "Running fuzz tests and kills: 1 minute to set up the environment" \
	    "the first time, then 20 minutes on two cores."
	@tools/setup_env.sh
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --verbose \
	    -m "stress or hypothesis" --hypothesis-profile=stress \
	    --numprocesses=auto --maxprocesses=4 --dist=worksteal tests

# Which Pythons and which settings, tools/matrix.py says.
matrix:
	@tools/setup_env.sh
	@.venv/bin/python tools/matrix.py \
	    $(SLOW:%='--ignore-glob=*/test_%.py')

check: lint fast
	@echo "All is well; make test runs everything."

lint:
	@echo "Checking style, spelling, imports and types: 15 seconds," \
	    "and 1 minute to set up the environment the first time."
	@tools/setup_env.sh
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check .
	@.venv/bin/codespell
	@.venv/bin/lint-imports --no-cache --no-logo
	@.venv/bin/pyrefly check --summary=none

# Files of tests that take seconds wait for make test; what is new is fast
# until somebody measures it.
SLOW = address bench* book build cli colab environment exercises export \
    faults fuzz grouping handed_on layouts loading pages panoptic_original \
    panoptic_quality parity* phases photographs plain_loop plots* \
    processes recipe_json repeated_runs run_seams saving shipped site \
    template train_command training training_film widget* workflows

fast:
	@echo "Running the fast tests: half a minute on two cores, and 1 minute" \
	    "to set up the environment the first time."
	@tools/setup_env.sh
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest --quiet \
	    --numprocesses=auto --maxprocesses=4 --dist=loadfile \
	    --no-loadscope-reorder $(SLOW:%='--ignore-glob=*/test_%.py') tests

weave:
	@echo "Running the text of chapter $(CHAPTER): as long as it says on its" \
	    "first lines, chapter 06 some 6 minutes; without CHAPTER, all."
	@tools/setup_env.sh
	@.venv/bin/python tools/weave.py $(CHAPTER)
	@echo "The notebooks are in book/; make book shows them."

widgets:
	@echo "Building the pages' script: 20 seconds the first time."
	@tools/setup_env.sh
	@.venv/bin/python tools/build_widgets.py --check
	@.venv/bin/python tools/build_widgets.py
	@echo "The script is in book/_assets/widgets; commit it."

weights:
	@echo "Training the shipped weights: an hour on two cores."
	@tools/setup_env.sh
	@.venv/bin/python tools/make_weights.py

tables:
	@echo "Measuring the tables of the README: four hours on two cores."
	@tools/setup_env.sh
	@.venv/bin/python tools/measure.py all

bench:
	@echo "Timing the package, its algorithm with all savings off, and" \
	    "transformers: 45 minutes on two idle cores, 20 GB of memory."
	@tools/setup_env.sh
	@.venv/bin/python tools/bench.py --runs 3
	@.venv/bin/python tools/bench_tables.py
	@echo "The measurements are in tools/bench.json and on the page Fast and exact."

lock:
	@tools/setup_env.sh
	@.venv/bin/uv pip compile --quiet --universal --no-header \
	    --no-annotate --upgrade --all-extras --generate-hashes \
	    pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv _build .pytest_cache .ruff_cache .hypothesis
