# What a person types. Everything happens in .venv, made with the Python that PYTHON names.
PYTHON ?= python3
MODEL ?= smollm2-135m-instruct
DATA ?= data
bin := .venv/bin

.PHONY: run test check bench torture native model compiled clean

## run: install, get the default model, serve the sample data folder (Ctrl-C stops it)
run: model
	@exec $(bin)/python -m jan_server serve --data-folder $(DATA)

## test: install what the tests need and run the whole suite
test: .venv/clients compiled
	$(bin)/python -m pytest --cov

## check: lint, format, types, layers
check: .venv/checked
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports

## bench: measure, print and write bench/results.md; fails when a bound is missed
# (with an engine built for this processor, as llama-server is)
bench: .venv/benched .venv/native model compiled
	$(bin)/python -m bench --data-folder $(DATA) --model $(MODEL)

## torture: kill a server 1,000 times while it is written to; fails when anything is lost
torture: .venv/tested
	$(bin)/python -m bench --only torture

## native: build the engine's library for this very processor (needs a C++ compiler; a minute)
native: .venv/native

# Answers and prompts take a seventh less time with it (measured), mostly since a weight's scale,
# which is a half-precision number, is converted by the processor: the library as it comes looks each
# up in a table of 256 KB. AVX-512 is left out: with it all takes a few percent longer.
x86 := -march=native -mno-avx512f \
  -DGGML_FP16_TO_FP32=_cvtsh_ss "-DGGML_FP32_TO_FP16(x)=_cvtss_sh(x,0)"
native_flags = $(if $(filter x86_64 amd64,$(shell uname -m)),$(x86))

.venv/native: .venv/installed Makefile
	CFLAGS='$(native_flags)' CXXFLAGS='$(native_flags)' $(bin)/python -m pip install --quiet \
	  --disable-pip-version-check --no-deps --no-cache-dir --force-reinstall \
	  --no-binary ctransformers "$$(sed -n 's/^ *"\(ctransformers==.*\)",/\1/p' pyproject.toml)"
	@touch $@

# Where PYTHONDONTWRITEBYTECODE is set, each of the thousand processes that tests start would compile
# the package anew, and each start that is measured: it takes 0.6 s then instead of 0.3 s.
compiled: .venv/installed
	@$(bin)/python -m compileall -q jan_server

model: .venv/installed
	@test -n "$(wildcard $(DATA)/models/$(MODEL)/*.gguf)" \
	  || $(bin)/python -m jan_server pull $(MODEL) --data-folder $(DATA)

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "jan_server needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(bin)/python || $(PYTHON) -m venv .venv
	$(bin)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/tested: .venv/installed
	$(bin)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(bin)/python -m pip install --quiet --disable-pip-version-check --group test
	@touch $@

# Other people's programs, as the tests of clients run them: OpenAI's Python package as it was in
# late 2024, the newest one for Node (which is itself a package of the test group), and the programs
# of the README's "Use it with", apart since LangChain brings a plug-in for pytest along.
.venv/clients: .venv/tested Makefile
	@test -x .venv/openai-2024/bin/python || $(bin)/python -m venv .venv/openai-2024
	.venv/openai-2024/bin/python -m pip install --quiet --disable-pip-version-check openai==1.57.4
	@test -x .venv/use-with/bin/python || $(bin)/python -m venv .venv/use-with
	.venv/use-with/bin/python -m pip install --quiet --disable-pip-version-check \
	  langchain-openai llm
	@mkdir -p .venv/node
	PATH="$(CURDIR)/$(bin):$$PATH" npm install --silent --no-fund --no-audit --prefix .venv/node \
	  openai || test -z "$$CI"
	@touch $@

# llama-server is compiled here, and would be by as many processes as it has files.
.venv/benched: .venv/tested
	LLAMA_CPP_BUILD_JOBS=2 $(bin)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

.venv/checked: .venv/tested
	$(bin)/python -m pip install --quiet --disable-pip-version-check --group check
	@touch $@

clean:
	rm -rf .venv .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
