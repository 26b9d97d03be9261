# BPU Hub: everything builds under $(BUILD); one object tree per configuration.
#   make quickstart   install, build, start the service, check a sample network
#   make              build/bpuhub
#   make test         unit, golden, end-to-end and browser tests (no PyTorch)
#   make SAN=address,undefined test          the same with sanitizers
#   make CC=clang test
#   make torture      500 x kill -9 under load, on a failing disk
#   make test-zoo     the real networks of torchvision
#   make accuracy     fits the machines to published runs, writes docs/accuracy.md: minutes
#   make conformance  what any backend of the store must pass
#   make bench        figures, against peers and bounds measured in the same run
#   make lint         formatting of the rules: includes, clang-tidy, cppcheck
#   make install [DESTDIR=] [PREFIX=]
CC      ?= gcc
ifeq ($(origin CC),default)
CC      := gcc
endif
SAN     ?=
OPT     ?= -O2 -g
PREFIX  ?= /usr/local
DESTDIR ?=
BUILD   ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(findstring clang,$(CC)),-clang)
comma   := ,

V ?=
Q := $(if $(V),,@)
SAY := @printf '  %-6s %s\n'

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings \
        -Wvla -Wundef -Wformat=2 -Werror
# What Debian 12 needs to build and run, to test, and to make the networks of the zoo.
DEPS := gcc make pkg-config libc6-dev libdnnl-dev libmicrohttpd-dev libjansson-dev libsqlite3-dev \
        libprotobuf-c-dev protobuf-c-compiler libonnx-dev libzip-dev libseccomp-dev \
        libssl-dev libcurl4-openssl-dev curl ca-certificates
# Node.js from another source than Debian's brings its own npm, and its package refuses Debian's beside it.
TEST_DEPS := libcmocka-dev python3 chromium procps \
             $(if $(shell command -v node && command -v npm),,nodejs npm)
ZOO_DEPS  := python3-torch python3-torchvision python3-onnx libonnx-testdata
LINT_DEPS := clang clang-tidy cppcheck
APT_INSTALL := DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends

PKGS := libmicrohttpd jansson sqlite3 libprotobuf-c libzip libseccomp libcrypto
ifneq ($(shell command -v pkg-config),) # else only the deps targets can run
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) | sed 's/-I/-isystem /g')
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
# No fused multiply-add where the source has two roundings: docs/arithmetic.md counts them.
ALL_CFLAGS := -std=gnu17 -ffp-contract=off $(OPT) $(WARN) $(SANFLAGS) -I. -I$(BUILD)/gen $(PKG_CFLAGS) -D_FORTIFY_SOURCE=2 \
              -fstack-protector-strong -fPIE $(CFLAGS)
ifneq ($(SAN),)
ALL_CFLAGS := $(filter-out -D_FORTIFY_SOURCE=2,$(ALL_CFLAGS))
endif
ALL_LDFLAGS := $(SANFLAGS) -pie $(LDFLAGS)
LIBS := $(PKG_LIBS) -lm

CORE_SRC   := $(sort $(wildcard core/*/*.c))
# What is behind store.h: make STORE_SRC="…" links another backend, make conformance tries it.
STORE_SRC  := $(sort $(wildcard server/store_*.c))
SERVER_SRC := $(sort $(filter-out server/main.c server/store_%,$(wildcard server/*.c))) $(STORE_SRC)
CORE_OBJ   := $(CORE_SRC:%.c=$(BUILD)/%.o) $(BUILD)/gen/onnx.pb-c.o
SERVER_OBJ := $(SERVER_SRC:%.c=$(BUILD)/%.o) $(BUILD)/gen/static_files.o

all: $(BUILD)/bpuhub $(BUILD)/bpuhub-deliver

$(BUILD)/bpuhub: $(BUILD)/server/main.o $(SERVER_OBJ) $(BUILD)/libbpuhub.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

# What webhooks tell is sent by a program of its own: it alone speaks to other machines.
$(BUILD)/bpuhub-deliver: $(patsubst %.c,$(BUILD)/%.o,$(wildcard server/deliver/*.c)) $(SERVER_OBJ) $(BUILD)/libbpuhub.a
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS) -lcurl

$(BUILD)/libbpuhub.a: $(CORE_OBJ)
	@rm -f $@
	$(SAY) AR $@
	$(Q)$(AR) rcs $@ $^

# The marches are those that the data files of core/march define.
MARCH_DATA := $(filter-out core/march/march% core/march/machine%,$(wildcard core/march/*.c))
$(BUILD)/gen/march_list.h: $(MARCH_DATA)
	@mkdir -p $(@D)
	{ printf '#define MARCH_LIST(X)'; \
	  sed -n 's/^MARCH_DEFINE(\([a-z0-9_]*\)).*/\1/p' $^ | sort | sed 's/.*/ X(&)/' | tr -d '\n'; \
	  echo; } >$@
$(BUILD)/core/march/march.o: $(BUILD)/gen/march_list.h

# The dashboard becomes part of the binary (server/static.c).
STATIC_FILES := $(sort $(wildcard static/*.*))
$(BUILD)/gen/static_files.c: $(STATIC_FILES) static Makefile
	@mkdir -p $(@D)
	@{ echo '#include "server/static.h"'; rows=; n=0; for f in $(STATIC_FILES); do \
	    printf '__asm__(".section .rodata; static_%d: .incbin \\"%s\\"; static_end_%d: .byte 0; .text");\n' \
	        $$n $$f $$n; \
	    echo "extern const unsigned char static_$$n[], static_end_$$n[];"; \
	    rows="$$rows{\"$${f##*/}\", static_$$n, static_end_$$n},"; n=$$((n + 1)); \
	done; echo "const struct static_entry static_entries[] = {$$rows{0, 0, 0}};"; \
	echo "const size_t static_entry_count = $$n;"; } > $@
$(BUILD)/gen/static_files.o: $(BUILD)/gen/static_files.c
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The fast engine's loops are written for the vectorizer.
$(BUILD)/core/run/fast_%.o $(BUILD)/core/sim/sim_conv.o $(BUILD)/core/sim/sim_matmul.o: \
    ALL_CFLAGS += $(if $(SAN),,-O3)
# clang does not come to an end with its checks on loops that are unrolled this far; gcc does.
ifneq ($(findstring clang,$(CC)),)
$(BUILD)/core/run/fast_avx512vnni.o $(BUILD)/core/run/fast_avx2.o: \
    ALL_CFLAGS := $(filter-out -fsanitize=%,$(ALL_CFLAGS))
endif

# ONNX's own schema, turned into C by protobuf-c.
ONNX_PROTO ?= /usr/include/onnx/onnx.proto
$(BUILD)/gen/onnx.pb-c.c: $(ONNX_PROTO)
	@mkdir -p $(@D)
	$(SAY) PROTO $<
	$(Q)protoc-c --c_out=$(@D) -I$(dir $<) $<
$(BUILD)/gen/onnx.pb-c.h: $(BUILD)/gen/onnx.pb-c.c ;
$(BUILD)/gen/onnx.pb-c.o: $(BUILD)/gen/onnx.pb-c.c
	$(SAY) CC $<
	$(Q)$(CC) $(filter-out -Werror,$(ALL_CFLAGS)) -w -c -o $@ $<
$(patsubst %.c,$(BUILD)/%.o,$(wildcard core/import/onnx*.c)): | $(BUILD)/gen/onnx.pb-c.h

# The page of a measurement carries its style and its script.
$(BUILD)/core/job/report_perf_html_frame.o: core/job/perf_page.css core/job/perf_page.js

# The migrations become rows of a C table (server/store_migrate.c).
MIGRATIONS := $(sort $(wildcard migrations/*.sql))
$(BUILD)/gen/migrations.inc: $(MIGRATIONS)
	@mkdir -p $(@D)
	@{ rows=; for f in $^; do \
	    name=$${f##*/}; name=$${name%.sql}; n=$$(echo $$name | sed 's/_.*//; s/^0*//'); \
	    echo "static const char sql_$$n[] = {"; \
	    od -An -v -td1 $$f | sed 's/  *\(-*[0-9][0-9]*\)/\1,/g'; echo "0};"; \
	    rows="$$rows{$$n, \"$$name\", sql_$$n}, "; \
	done; echo "static const struct migration migrations[] = {$$rows{0, NULL, NULL}};"; } > $@
$(BUILD)/server/store_migrate.o: $(BUILD)/gen/migrations.inc

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ── tests ──
# A test program per file: tests/unit/test_x.c becomes $(BUILD)/tests/unit/test_x.
TEST_SRC := $(sort $(wildcard tests/unit/test_*.c tests/server/test_*.c tests/conformance/test_*.c))
TEST_BIN := $(TEST_SRC:%.c=$(BUILD)/%)
TEST_LIBS := -lcmocka -lcurl
TEST_HELPERS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/server/test_%,$(wildcard tests/server/*.c)))
$(BUILD)/tests/%: tests/%.c $(TEST_HELPERS) $(SERVER_OBJ) $(BUILD)/libbpuhub.a
	@mkdir -p $(@D)
	$(SAY) TEST $@
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes -MMD -MP -MF $@.d -o $@ $< $(TEST_HELPERS) $(SERVER_OBJ) \
	    $(BUILD)/libbpuhub.a $(ALL_LDFLAGS) $(LIBS) $(TEST_LIBS)

# A disk that fails on demand, under the service of tests/torture.
FAULT_LIB := $(BUILD)/tests/torture/libfault.so
$(FAULT_LIB): tests/torture/fault.c
	@mkdir -p $(@D)
	$(SAY) TEST $@
	$(Q)$(CC) -std=gnu17 -O2 -g $(filter-out -Wmissing-prototypes -Wpedantic,$(WARN)) -fPIC -shared -o $@ $<

# make torture [KILLS=500] [SEED=n]: kill -9 under load on a failing disk; nothing acknowledged may be lost.
KILLS ?= 500
torture: $(BUILD)/bpuhub $(FAULT_LIB)
	@BUILD=$(BUILD) BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/torture/torture.py --kills $(KILLS) \
	    $(if $(SEED),--seed $(SEED))
.PHONY: torture

test: all $(TEST_BIN) $(FAULT_LIB)
	@BUILD=$(BUILD) SAN=$(SAN) tests/run.sh $(TEST_BIN)

conformance: all $(filter $(BUILD)/tests/conformance/%,$(TEST_BIN))
	@BUILD=$(BUILD) SAN=$(SAN) PROGRAMS_ONLY=yes tests/run.sh $(filter $(BUILD)/tests/conformance/%,$(TEST_BIN))
.PHONY: conformance

test-zoo: $(BUILD)/bpuhub $(BUILD)/tests/zoo/compile_any
	@/usr/bin/python3 -c 'import torch, torchvision, onnx' 2>/dev/null && \
	    [ -d /usr/share/libonnx-testdata ] || $(MAKE) zoo-deps
	@BPUHUB=$(BUILD)/bpuhub tests/zoo/run.sh
	@BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/zoo/agree.py
	@BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/zoo/node_tests.py
	@BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/zoo/exact.py
	@BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/zoo/node_run.py
	@BPUHUB=$(BUILD)/bpuhub /usr/bin/python3 tests/zoo/node_run.py -e fast
	@BPUHUB=$(BUILD)/bpuhub ANY=$(BUILD)/tests/zoo/compile_any /usr/bin/python3 tests/zoo/compile.py

accuracy: $(BUILD)/tests/fit/retime
	@/usr/bin/python3 -c 'import onnx, numpy' 2>/dev/null || $(MAKE) zoo-deps
	@/usr/bin/python3 tests/zoo/published.py --out $(BUILD)/published
	@/usr/bin/python3 tests/fit/accuracy.py $(BUILD)/tests/fit/retime $(BUILD)/published $(BUILD)/fit

bench: $(BUILD)/bpuhub
	@BPUHUB=$(BUILD)/bpuhub tests/bench/run.sh

lint: $(BUILD)/gen/onnx.pb-c.h $(BUILD)/gen/march_list.h $(BUILD)/gen/migrations.inc
	@CFLAGS="-std=gnu17 -I. -I$(BUILD)/gen $(PKG_CFLAGS)" tests/lint.sh

# ── fuzzing ──
# make fuzz [FUZZ_SECONDS=60] [FUZZ_TARGETS="onnx check"]: each target of tests/fuzz for that long, with sanitizers.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(patsubst tests/fuzz/target_%.c,%,$(sort $(wildcard tests/fuzz/target_*.c)))
FUZZ_BUILD   ?= build-fuzz
FUZZ_DEPS    := clang libclang-rt-14-dev
$(BUILD)/fuzz/%: tests/fuzz/target_%.c tests/fuzz/fuzz.c tests/fuzz/xml.c tests/fuzz/zip.c tests/fuzz/fuzz.h \
                 tests/fuzz/zip.h $(SERVER_OBJ) $(BUILD)/libbpuhub.a
	@mkdir -p $(@D)
	$(SAY) FUZZ $@
	$(Q)$(CC) $(ALL_CFLAGS) -DFUZZ_MAIN -fsanitize=fuzzer -o $@ $(filter-out %.h,$^) $(ALL_LDFLAGS) $(LIBS)
fuzz-bin: $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)
fuzz:
	@$(MAKE) --no-print-directory BUILD=$(FUZZ_BUILD) CC=clang SAN=address,undefined,fuzzer-no-link \
	    OPT="-O1 -g" fuzz-bin
	@BUILD=$(FUZZ_BUILD) tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)
fuzz-deps: deps
	$(APT_INSTALL) $(FUZZ_DEPS)
.PHONY: fuzz fuzz-bin fuzz-deps

# ── installing ──
deps:
	apt-get update
	$(APT_INSTALL) $(DEPS)
test-deps: deps
	$(APT_INSTALL) $(TEST_DEPS)
zoo-deps: deps
	$(APT_INSTALL) $(ZOO_DEPS)
lint-deps:
	$(APT_INSTALL) $(LINT_DEPS)

quickstart:
	$(MAKE) deps
	$(MAKE) -j$$(nproc)
	@server/quickstart.sh $(BUILD)/bpuhub

install: all
	install -D -m 755 $(BUILD)/bpuhub $(DESTDIR)$(PREFIX)/bin/bpuhub
	install -D -m 755 $(BUILD)/bpuhub-deliver $(DESTDIR)$(PREFIX)/bin/bpuhub-deliver

clean:
	rm -rf build build-*
.PHONY: all clean test test-zoo accuracy bench lint deps test-deps zoo-deps lint-deps quickstart install
.DELETE_ON_ERROR:
.SECONDARY:
