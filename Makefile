# ffkv: see 'make help'.

VERSION_FILE = common/version.h
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
PACKAGES = msgpack jansson zlib icu-uc libxxhash openblas
CPPFLAGS += -Icommon -D_POSIX_C_SOURCE=200809L $(shell pkg-config --cflags $(PACKAGES))
ALL_CFLAGS = -std=c11 $(WARNINGS) -ffp-contract=off -fno-math-errno $(CFLAGS_$(BUILD)) $(CFLAGS)
ALL_LDFLAGS = $(CFLAGS_$(BUILD)) -pthread -Wl,--as-needed $(LDFLAGS)
LIBRARIES = $(shell pkg-config --libs $(PACKAGES)) -lcsv -lm

TOOLS = agreement-stats forward-dump project-values stream-cat tokenize topk-keys
COMMON = $(patsubst common/%.c,$(DIR)/common/%.o,$(sort $(wildcard common/*.c)))
PROGRAMS = $(TOOLS:%=$(DIR)/%)

all: $(PROGRAMS)

$(DIR)/%: $(DIR)/tools/%.o $(DIR)/libffkv.a
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBRARIES)

$(DIR)/libffkv.a: $(COMMON)
	rm -f $@
	$(AR) rc $@ $^

$(DIR)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(DIR)/*/*.d)
.SECONDARY:
