# ffkv. 'make help' lists the targets.

# make splits names at white space, expands their dollars, and gives them to the shell, so what
# 'make paper' and 'make run' are given can have none of these. Letters of any language are right.
# This comes first: make 4.4 expands them for the commands of $(shell) already.
UNFIT = $$ " ' ` \ \# : ; % * ? [ ] ( ) { } | & < > = ~ !
is_given = $(filter command environment,$(firstword $(origin $(1))))
is_unfit = $(or $(word 2,[$(value $(1))]),\
$(strip $(foreach sign,$(UNFIT),$(findstring $(sign),$(value $(1))))))
ifneq ($(filter run paper slurm,$(MAKECMDGOALS)),)
$(foreach name,MODEL CORPUS VALID OUT,$(if $(and $(call is_given,$(name)),$(call is_unfit,$(name))),\
$(error $(name) is "$(value $(name))", but make cannot work on names with white space or one of $(UNFIT): \
rename it, or give a link to it)))
$(foreach name,MODEL CORPUS VALID OUT,$(if $(call is_given,$(name)),$(if $(strip $(value $(name))),,\
$(error $(name) is empty: give it a name, or leave it out))))
$(if $(findstring :,$(CURDIR)),\
$(error The name of this folder, $(CURDIR), has a colon, which cannot be in PATH: rename it))
endif

PREFIX ?= /usr/local
DESTDIR ?=
PROGRAM_PREFIX ?=
CC = gcc
PYTHON ?= /usr/bin/python3

# BUILD=sanitize: address and undefined-behaviour sanitizers. CC=clang: another compiler.
BUILD ?= release
DIR = build/$(BUILD)-$(CC)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
# No contraction of a * b + c: results are then the same bits on every x86 processor.
CFLAGS_release = -O3 -g
CFLAGS_sanitize = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Debian 12 and older call msgpack-c's C library msgpack; Debian 13 and Ubuntu 24.04 call it by its name.
MSGPACK := $(if $(shell pkg-config --exists msgpack 2>&1 || echo no),msgpack-c,msgpack)
PACKAGES = $(MSGPACK) jansson zlib icu-uc libpcre2-8 libxxhash openblas libzip libprotobuf-c
HEADERS = csv.h uthash.h $(if $(filter unit-tests,$(MAKECMDGOALS)),cmocka.h)
# oneDNN makes products of bfloat16 numbers, where it is there; DNNL= builds without it.
DNNL := $(shell $(CC) $(CPPFLAGS) -E -include oneapi/dnnl/dnnl.h -x c /dev/null >/dev/null 2>&1 && echo yes)
ALL_CPPFLAGS = -Icommon -I$(DIR)/generated -D_POSIX_C_SOURCE=200809L \
	$(if $(DNNL),-DFFKV_DNNL) $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
# No trap is asked for: gcc makes vectors of loops with a choice between computed numbers then, as clang does.
ALL_CFLAGS = -std=c11 $(WARNINGS) -ffp-contract=off -fno-math-errno -fno-trapping-math $(CFLAGS_$(BUILD)) \
	$(CFLAGS)
ALL_LDFLAGS = $(CFLAGS_$(BUILD)) -pthread -Wl,--as-needed $(LDFLAGS)
LIBRARIES = $(shell pkg-config --libs $(PACKAGES)) $(if $(DNNL),-ldnnl -lgomp) -lcsv -lresolv -lm

TOOLS = $(sort $(patsubst tools/%.c,%,$(wildcard tools/*.c)))
# Formats that are messages of protocol buffers: a .proto each, of which protoc-c makes C.
PROTOS = $(patsubst common/%.proto,%,$(sort $(wildcard common/*/*.proto)))
COMMON = $(patsubst common/%.c,$(DIR)/common/%.o,$(sort $(wildcard common/*/*.c))) \
	$(PROTOS:%=$(DIR)/generated/%.pb-c.o)
UNIT_TESTS = $(patsubst tests/%.c,$(DIR)/tests/%,$(sort $(wildcard tests/unit_*.c)))

# Fuzzers, built by clang alone; tests/fuzz.c takes the place of these functions.
SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz-%.c,%,$(sort $(wildcard tests/fuzz-*.c)))
FUZZ_WRAPPED = die die_usage message_warn fopen fclose mmap munmap open_memstream pcre2_jit_compile_8 \
	pcre2_jit_stack_create_8
CFLAGS_fuzz = -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
FUZZ_OPTIONS = -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=4000 -max_len=40000

# What 'make systems' makes, and where; empty: everywhere.
COMMANDS ?= run,test
NAMES ?=

# Cases of 'make faults'; a case follows from its number.
SEEDS ?= 500
FIRST ?= 1

# Tokenizers that 'make tokenizers' mixes.
MIXTURES ?= 500

# How other targets call make to build: on all processors, unless -j says on how many.
BUILDING = --no-print-directory -s $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

# V=1 shows whole commands.
Q = $(if $(V),,@)
SAY = $(if $(V),@true,@echo)

# What 'make paper' and 'make run' run on. MODEL: brown-lm, smollm2, a directory, or a GGUF file (the first
# part of a split one).
# CORPUS: brown, in the form that fits the model, or a file; MODE: how tokenize reads it; VALID: a file
# for section 5 (default: that of the Brown corpus, else CORPUS). From these are taken SENTENCES for the
# triggers (empty: all), PREFIXES for section 5 (or all), KEYS a layer and REMOVALS, triggers of each, for
# token removal, ABLATED prefixes (or all), with EVERY=3 in each third layer, for the removal of memories.
# PRODUCTS says how the tools multiply (--products; empty: auto).
MODEL ?= brown-lm
CORPUS ?= brown
MODEL_PATH = $(strip $(if $(filter brown-lm,$(MODEL)),data/brown-lm,\
$(if $(filter smollm2,$(MODEL)),data/models/smollm2/model.gguf,$(MODEL))))
# What OUT is called by default: without folders, a slash at the end, the .gguf of a file, a part's number.
MODEL_NAME = $(firstword $(subst -00001-of-, ,$(patsubst %.gguf,%,$(lastword $(notdir $(abspath $(MODEL)))))))
# A model whose tokenizer is a list of words has the Brown corpus as words, every other one as running text.
model_has = $(wildcard $(addprefix $(MODEL_PATH)/,$(1)))
has_tokenizer = $(call model_has,tokenizer.json vocab.json merges.txt tokenizer.model)
is_of_words = $(and $(call model_has,dict.txt),$(if $(has_tokenizer),,yes))
BROWN = data/corpora/brown-$(if $(is_of_words),,text-)
ifeq ($(CORPUS),brown)
TEXT = $(BROWN)train.txt
VALID ?= $(BROWN)valid.txt
MODE ?= lines
RESULTS = out/$(MODEL_NAME)
else
TEXT = $(CORPUS)
VALID ?= $(CORPUS)
MODE ?= $(if $(filter wiki.%.tokens,$(notdir $(CORPUS))),wikitext,raw)
RESULTS = out/$(MODEL_NAME)-$(basename $(notdir $(CORPUS)))
endif

# What is not there is said before anything starts; what a recipe fetches is there then.
ifneq ($(filter run paper slurm,$(MAKECMDGOALS)),)
$(if $(filter brown-lm smollm2,$(MODEL))$(wildcard $(MODEL)),,\
$(error MODEL=$(MODEL): there is no such folder or file: give \
brown-lm, smollm2, a folder with config.json, or a GGUF file))
$(foreach name,$(if $(filter brown,$(CORPUS)),,CORPUS) $(if $(call is_given,VALID),VALID),\
$(if $(wildcard $($(name))/.),$(error $(name)=$($(name)): this is a folder: give a file with the text))\
$(if $(and $(filter-out %/,$($(name))),$(wildcard $($(name)))),,\
$(error $(name)=$($(name)): there is no such file: give a text, or leave $(name) out)))
endif

# The paper's numbers; a model of another size has fewer, so that it takes minutes too.
LARGE = $(filter-out brown-lm,$(MODEL))
paper slurm: SENTENCES ?= $(if $(LARGE),2000)
paper slurm: PREFIXES ?= $(if $(LARGE),1000,4000)
paper slurm: KEYS ?= $(if $(LARGE),10,100)
paper slurm: REMOVALS ?= $(if $(LARGE),10,50)
paper slurm: ABLATED ?= $(if $(LARGE),100,1000)
paper slurm: EVERY ?= $(if $(LARGE),3)
paper slurm: OUT ?= $(RESULTS)
# These were read in the triggers of the whole corpus.
paper slurm: ANNOTATIONS ?= $(if $(filter brown,$(CORPUS)),$(wildcard data/annotations/$(MODEL_NAME).csv))
run: SENTENCES ?= $(if $(LARGE),2000,10000)
run: PREFIXES ?= $(if $(LARGE),200,1000)
run: KEYS ?= $(if $(LARGE),1,10)
run: REMOVALS ?= $(if $(LARGE),10,50)
run: ABLATED ?= $(if $(LARGE),20,200)
run: EVERY ?= $(if $(LARGE),5)
run: OUT ?= $(RESULTS)-quick

all: $(TOOLS:%=$(DIR)/%) ## build the tools (default); BUILD=sanitize, CC=clang, V=1

run: ## the paper's experiments in their quick form, in a minute or two:
run: ## set up, build, fetch the corpus, results in out/
paper: ## the whole paper; MODEL=smollm2 CORPUS=file VALID=file MODE=raw SENTENCES=2000
paper: ## PREFIXES=all KEYS=100 PRODUCTS=bf16x2 OUT=dir WHAT=figures;
paper: ## SHARDS=16 in parts, by GNU parallel
slurm: ## the same as jobs of a Slurm cluster; SHARDS=64 THREADS=4 RATE=35
slurm: ## SBATCH="--partition=long" (doc/cluster.md)
run paper slurm:
	@./setup.sh $(if $(filter smollm2,$(MODEL)),smollm2,run)
	@mkdir -p build && flock build $(MAKE) $(BUILDING) all
	@$(if $(filter brown,$(CORPUS)),./data/brown.sh,true)
	@$(if $(filter smollm2,$(MODEL)),./data/smollm2.sh,true)
	@$(MAKE) --no-print-directory -f pipelines/paper.mk $(if $(filter slurm,$@),slurm,$(WHAT)) \
		BIN="$(DIR)" MODEL="$(MODEL_PATH)" NAME="$(MODEL_NAME)" TEXT="$(TEXT)" VALID="$(VALID)" \
		MODE="$(MODE)" SENTENCES="$(SENTENCES)" PREFIXES="$(PREFIXES)" KEYS="$(KEYS)" REMOVALS="$(REMOVALS)" \
		ABLATED="$(ABLATED)" EVERY="$(EVERY)" PRODUCTS="$(PRODUCTS)" OUT="$(OUT)" ANNOTATIONS="$(ANNOTATIONS)"
	@echo "Results $(if $(filter slurm,$@),will be,are) in $(OUT): tables, figures/, and report/index.html to \
open in a browser."

test: ## set up, build with gcc, clang and the sanitizers, run all tests
	@./setup.sh test
	@./data/brown.sh
	@$(MAKE) $(BUILDING) all unit-tests test-programs
	@$(MAKE) $(BUILDING) all unit-tests test-programs CC=clang
	@$(MAKE) $(BUILDING) all unit-tests test-programs BUILD=sanitize
	@$(PYTHON) -m pytest -q -rs -p no:cacheprovider -n auto --dist loadfile tests

cluster-test: ## all experiments of the shipped model on Slurm's daemons, started here; as root
	@./setup.sh test
	@./data/brown.sh
	@$(MAKE) $(BUILDING) all
	@FFKV_CLUSTER=long FFKV_BUILDS="$(DIR)" $(PYTHON) -m pytest -q -rs -p no:cacheprovider \
		tests/test_slurm.py tests/test_job_costs.py tests/test_experiment_shards.py tests/test_ssh_shards.py

systems: ## both commands on bare Debian 12, 13, Ubuntu 24.04; arm64, the Dockerfile's commands;
systems: ## as root; NAMES=debian-13 COMMANDS=run
	@./setup.sh test
	@$(MAKE) --no-print-directory run
	@$(PYTHON) tests/systems.py --commands "$(COMMANDS)" $(NAMES)

bench: ## the tools beside PyTorch, by hand, on a quiet machine: out/bench/;
bench: ## ROUNDS=1 SHAPES=brown-lm THREADS=2 LAYERS=16 (of the paper's shape)
	@./setup.sh test
	@./data/brown.sh
	@./data/smollm2.sh
	@$(MAKE) $(BUILDING) all bench-program
	@$(PYTHON) tests/bench.py --bin $(DIR) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(SHAPES),--shapes $(SHAPES)) $(if $(THREADS),--threads $(THREADS)) \
		$(if $(LAYERS),--layers $(LAYERS))

fuzz: ## fuzz the readers of streams, tables, models and tokenizers with clang's libFuzzer;
fuzz: ## SECONDS=60 each, FUZZERS="gguf import"
	@./setup.sh test
	@$(MAKE) $(BUILDING) all
	@$(MAKE) $(BUILDING) $(FUZZERS:%=build/fuzz-clang/tests/fuzz-%) BUILD=fuzz CC=clang
	@$(PYTHON) tests/fuzz_seeds.py build/fuzz-clang $(DIR)
	@cd build/fuzz-clang && for name in $(FUZZERS); do mkdir -p $$name-found && \
		ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 tests/fuzz-$$name $(FUZZ_OPTIONS) \
		-artifact_prefix=$$name- $$name-found $$name-seeds || exit; done

faults: ## faults on purpose: signals, failing calls, limits, damaged files, disturbed makes;
faults: ## SEEDS=500 cases from FIRST=1 on
	@./setup.sh test
	@$(MAKE) $(BUILDING) all
	@$(PYTHON) tests/faults.py --seeds $(SEEDS) --first $(FIRST) --bin $(DIR) --csv build/faults.csv

tokenizers: ## all kinds of tokenizers beside the libraries, each on 24,000 texts;
tokenizers: ## MIXTURES=500 of them of mixed settings
	@./setup.sh test
	@$(MAKE) $(BUILDING) test-programs
	@FFKV_BUILDS="$(DIR)" MIXTURES="$(MIXTURES)" $(PYTHON) -m pytest -q -rP -p no:cacheprovider \
		tests/test_tokenizer_kinds.py tests/test_sentencepiece.py

large-model: ## a model of 2 GB within 600 MB of memory, made for it
	@./setup.sh test
	@$(MAKE) $(BUILDING) all
	@FFKV_BUILDS="$(DIR)" FFKV_LARGE_MODEL=1 $(PYTHON) -m pytest -q -s -p no:cacheprovider \
		tests/test_window.py -k "memory_is_kept_to or values_alone"

unit-tests: $(UNIT_TESTS)
bench-program: $(DIR)/tests/bench-forward $(DIR)/tests/bench-projection
test-programs: bench-program $(DIR)/tests/matrix-multiply $(DIR)/tests/subword-encode \
	$(DIR)/tests/gguf-print $(DIR)/tests/piece-encode

install: ## install tools, manual pages, pipelines, the example model;
install: all ## PREFIX, DESTDIR, PROGRAM_PREFIX=ffkv-
	@./install.sh $(TOOLS:%=$(DIR)/%)

uninstall: ## remove what install installed; PREFIX, DESTDIR
	@./install.sh --uninstall

install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)
install uninstall: export PROGRAM_PREFIX := $(PROGRAM_PREFIX)

clean: ## remove what was built (not corpora, not results)
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1 == last ? "" : $$1, $$2; last = $$1 }' Makefile

$(DIR)/%: $(DIR)/tools/%.o $(DIR)/libffkv.a
	$(SAY) "link    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBRARIES)

$(DIR)/tests/%: $(DIR)/tests/%.o $(DIR)/libffkv.a
	$(SAY) "link    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBRARIES) $(if $(filter unit_%,$*),-lcmocka)

$(DIR)/annotation-sheet: $(DIR)/tools/annotation-sheet.html.embedded.o
$(DIR)/trace-prompts: $(DIR)/tools/trace-prompts.html.embedded.o
$(DIR)/report-pages: $(patsubst %,$(DIR)/tools/report-pages.%.embedded.o,html css js)
$(DIR)/report-pages: $(DIR)/tools/trace-prompts.html.embedded.o
$(DIR)/report-pages: $(DIR)/pipelines/experiments.csv.embedded.o

$(DIR)/tests/fuzz-%: $(DIR)/tests/fuzz-%.o $(DIR)/tests/fuzz.o $(DIR)/libffkv.a
	$(SAY) "link    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer $(FUZZ_WRAPPED:%=-Wl,--wrap=%) -o $@ $^ $(LIBRARIES)

$(DIR)/libffkv.a: $(COMMON)
	$(SAY) "archive $@"
	$(Q)rm -f $@
	$(Q)$(AR) rc $@ $^

# What must be there before anything is compiled; one sentence says what is not.
libraries:
	@missing=; for program in $(CC) pkg-config protoc-c; do \
		command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -n "$$missing" ] || pkg-config --exists $(PACKAGES) || \
		for package in $(PACKAGES); do pkg-config --exists $$package || missing="$$missing $$package"; done; \
	[ -n "$$missing" ] || for header in $(HEADERS); do \
		echo "#include <$$header>" | $(CC) $(CPPFLAGS) -E - >/dev/null 2>&1 || missing="$$missing $$header"; done; \
	[ -z "$$missing" ] || { exec >&2; \
		echo "make: what is needed is not there:$$missing: run ./setup.sh, which installs it"; exit 1; }

$(DIR)/%.o: %.c | libraries
	$(SAY) "compile $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The version that --version shows changes with commits, and version.o alone is compiled anew for it.
$(DIR)/version: FORCE | libraries
	$(Q)mkdir -p $(@D)
	$(Q)version=$$(common/base/version.sh) && \
		{ [ "$$version" = "$$(cat $@ 2>/dev/null)" ] || echo "$$version" >$@; }

$(DIR)/common/base/version.o: ALL_CPPFLAGS += -DFFKV_BUILD='"$(shell cat $(DIR)/version)"'
$(DIR)/common/base/version.o: $(DIR)/version

# The readers of messages include what is made here.
$(DIR)/generated/%.pb-c.c $(DIR)/generated/%.pb-c.h: common/%.proto | libraries
	$(SAY) "protoc  $@"
	$(Q)mkdir -p $(DIR)/generated
	$(Q)protoc-c -Icommon --c_out=$(DIR)/generated $<

# What compilers warn of there is not for this project to mend.
$(DIR)/generated/%.o: $(DIR)/generated/%.c
	$(SAY) "compile $@"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(filter-out $(WARNINGS),$(ALL_CFLAGS)) -MMD -MP -c -o $@ $<

$(PROTOS:%=$(DIR)/common/%.o): $(DIR)/common/%.o: $(DIR)/generated/%.pb-c.h

# A file's bytes, to be part of the executable that has this as a prerequisite: common/report/embedded.h.
$(DIR)/%.embedded.o: %
	$(SAY) "embed   $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(LD) -r -b binary -z noexecstack -o $@ $<

-include $(wildcard $(DIR)/*/*.d $(DIR)/*/*/*.d)
.SECONDARY:
.PHONY: FORCE all run paper slurm test cluster-test systems bench fuzz faults tokenizers large-model \
	libraries unit-tests bench-program test-programs install uninstall clean help
