# ffkv. 'make help' lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
CC = gcc
PYTHON ?= /usr/bin/python3

# BUILD=sanitize: address and undefined-behaviour sanitizers. CC=clang: another compiler.
BUILD ?= release
DIR = build/$(BUILD)-$(CC)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
# No contraction of a * b + c: results are then the same bits on every x86 processor.
CFLAGS_release = -O3 -g
CFLAGS_sanitize = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
PACKAGES = msgpack jansson zlib icu-uc libpcre2-8 libxxhash openblas libzip
ALL_CPPFLAGS = -Icommon -D_POSIX_C_SOURCE=200809L $(shell pkg-config --cflags $(PACKAGES)) $(CPPFLAGS)
ALL_CFLAGS = -std=c11 $(WARNINGS) -ffp-contract=off -fno-math-errno $(CFLAGS_$(BUILD)) $(CFLAGS)
ALL_LDFLAGS = $(CFLAGS_$(BUILD)) -pthread -Wl,--as-needed $(LDFLAGS)
LIBRARIES = $(shell pkg-config --libs $(PACKAGES)) -lcsv -lm

TOOLS = agreement-stats composition-stats forward-dump import-model project-values refinement-stats stream-cat tokenize topk-keys
COMMON = $(patsubst common/%.c,$(DIR)/common/%.o,$(sort $(wildcard common/*.c)))
UNIT_TESTS = $(patsubst tests/%.c,$(DIR)/tests/%,$(sort $(wildcard tests/unit_*.c)))
MANUALS = $(sort $(wildcard tools/*.[17] common/*.5))

# Fuzzers, which take the place of malloc, free and mmap in what they get bytes into.
SECONDS ?= 60
FUZZ_FLAGS = -std=c11 $(WARNINGS) -g -O1 -Icommon -D_POSIX_C_SOURCE=200809L -fsanitize=address,undefined \
	-fno-sanitize-recover=all
FUZZ_NAMES = $(foreach name,malloc free mmap munmap,-D$(name)=fuzz_$(name))
RUN_FUZZER = ASAN_OPTIONS=detect_leaks=0 build/fuzz/$(1) -max_total_time=$(SECONDS) -timeout=20 -rss_limit_mb=4000 \
	-artifact_prefix=build/fuzz/ -max_len=$(2) build/fuzz/$(1)-corpus

# V=1 shows whole commands.
Q = $(if $(V),,@)
SAY = $(if $(V),@true,@echo)

# What 'make run' runs on. MODEL: brown-lm, smollm2, a directory, or a GGUF file. CORPUS: brown, or a
# file; MODE: how tokenize reads it; SENTENCES: how many of it (default: all).
MODEL ?= brown-lm
CORPUS ?= brown
SENTENCES ?= $(if $(filter smollm2,$(MODEL)),2000)
MODEL_PATH = $(if $(filter brown-lm,$(MODEL)),data/brown-lm,$(if $(filter smollm2,$(MODEL)),data/models/smollm2/model.gguf,$(MODEL)))
MODEL_NAME = $(basename $(notdir $(MODEL)))
ifeq ($(CORPUS),brown)
TEXT = data/corpora/brown-train.txt
MODE ?= lines
OUT ?= out/$(MODEL_NAME)
else
TEXT = $(CORPUS)
MODE ?= $(if $(filter wiki.%.tokens,$(notdir $(CORPUS))),wikitext,raw)
OUT ?= out/$(MODEL_NAME)-$(basename $(notdir $(CORPUS)))
endif

all: $(TOOLS:%=$(DIR)/%) ## build the tools (default); BUILD=sanitize, CC=clang, V=1

run: ## set up, build, fetch the corpus, run the experiment; MODEL=smollm2 CORPUS=file MODE=raw SENTENCES=2000 OUT=dir
	@./setup.sh $(if $(filter smollm2,$(MODEL)),smollm2,run)
	@$(MAKE) --no-print-directory -s all
	@$(if $(filter brown,$(CORPUS)),./data/brown.sh,true)
	@$(if $(filter smollm2,$(MODEL)),./data/smollm2.sh,true)
	@PATH="$(CURDIR)/$(DIR):$$PATH" ./pipelines/agreement.sh "$(MODEL_PATH)" "$(TEXT)" "$(OUT)" \
		--mode $(MODE) --name "$(basename $(notdir $(TEXT)))" $(if $(SENTENCES),--limit $(SENTENCES))

test: ## set up, build with gcc, clang and the sanitizers, run all tests
	@./setup.sh test
	@./data/brown.sh
	@$(MAKE) --no-print-directory -s all unit-tests test-programs
	@$(MAKE) --no-print-directory -s all unit-tests test-programs CC=clang
	@$(MAKE) --no-print-directory -s all unit-tests test-programs BUILD=sanitize
	@$(PYTHON) -m pytest -q -p no:cacheprovider -n auto --dist loadfile tests

bench: ## arithmetic beside plain matrix products; pruned beside whole projections, on the shipped model's residuals
	@./setup.sh run
	@./data/brown.sh
	@$(MAKE) --no-print-directory -s all bench-program
	@$(DIR)/tests/bench-forward $(BENCH_OPTIONS)
	@$(DIR)/tokenize -m data/brown-lm --sample 500 data/corpora/brown-valid.txt | \
		$(DIR)/forward-dump -m data/brown-lm --emit resid,ffn --positions random | \
		$(DIR)/tests/bench-projection -m data/brown-lm

fuzz: ## fuzz the readers of checkpoints and of GGUF files with clang's libFuzzer; SECONDS=60 each
	@./setup.sh test
	@mkdir -p build/fuzz/import-corpus build/fuzz/gguf-corpus
	$(Q)for part in pickle torchfile fairseq; do \
		clang $(FUZZ_FLAGS) -fsanitize=fuzzer-no-link $(FUZZ_NAMES) -c -o build/fuzz/$$part.o common/$$part.c || exit; \
	done
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -o build/fuzz/import tests/fuzz-import.c common/json.c build/fuzz/*.o $(LIBRARIES)
	$(Q)clang $(FUZZ_FLAGS) -fsanitize=fuzzer -Wl,--wrap=free -o build/fuzz/gguf tests/fuzz-gguf.c \
		common/gguf.c common/quantized.c common/floats.c -lm
	$(Q)$(PYTHON) tests/gguf_seeds.py build/fuzz/gguf-corpus
	@$(call RUN_FUZZER,import,40000) tests/fairseq-tiny
	@$(call RUN_FUZZER,gguf,4096)

unit-tests: $(UNIT_TESTS)
bench-program: $(DIR)/tests/bench-forward $(DIR)/tests/bench-projection
test-programs: bench-program $(DIR)/tests/bpe-encode $(DIR)/tests/gguf-print

install: all ## install tools and manual pages; PREFIX, DESTDIR
	install -d "$(DESTDIR)$(PREFIX)/bin" $(foreach n,1 5 7,"$(DESTDIR)$(PREFIX)/share/man/man$(n)")
	install $(TOOLS:%=$(DIR)/%) "$(DESTDIR)$(PREFIX)/bin"
	$(foreach page,$(MANUALS),install -m 644 $(page) "$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))" &&) true

uninstall: ## remove what install installed
	rm -f $(TOOLS:%="$(DESTDIR)$(PREFIX)/bin/%")
	rm -f $(foreach page,$(MANUALS),"$(DESTDIR)$(PREFIX)/share/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page))")

clean: ## remove what was built (not corpora, not results)
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

$(DIR)/%: $(DIR)/tools/%.o $(DIR)/libffkv.a
	$(SAY) "link    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBRARIES)

$(DIR)/tests/%: $(DIR)/tests/%.o $(DIR)/libffkv.a
	$(SAY) "link    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBRARIES) $(if $(filter unit_%,$*),-lcmocka)

$(DIR)/libffkv.a: $(COMMON)
	$(SAY) "archive $@"
	$(Q)rm -f $@
	$(Q)$(AR) rc $@ $^

$(DIR)/%.o: %.c
	$(SAY) "compile $@"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(DIR)/*/*.d)
.SECONDARY:
.PHONY: all run test bench fuzz unit-tests bench-program test-programs install uninstall clean help
