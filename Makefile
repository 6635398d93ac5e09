# SPDX-License-Identifier: Apache-2.0
#
# The short way to everything; meson and ninja do the work.
#
#   make           build into build/
#   make check     run all tests; ends with "N passed, N failed, N skipped"
#   make demo      the main job on a real Linux guest, in two to three minutes
#   make bench     measure it and its peers; a table and JSON, in two hours
#   make soak      the long form of the tests, for HOURS hours
#   make install   install below DESTDIR
#   make clean     remove build/, but not the downloaded kernel
#
# Whatever is missing is installed by tools/install-deps, which says so.

BUILD := build
HOURS ?= 4

all: programs

deps:
	@tools/install-deps

# Without the kernel the tests of the guest are skipped, and say so.
check-deps:
	@tools/install-deps --kernel || tools/install-deps

guest-deps:
	@tools/install-deps --kernel

$(BUILD)/build.ninja: | deps
	@test -e $@ || meson setup $(MESON_ARGS) $(BUILD)

programs: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD)

check: check-deps programs
	@tools/run-tests $(BUILD)

demo: guest-deps programs
	@demo/demo

bench: deps programs
	@bench/bench --json $(BUILD)/bench.json

soak: guest-deps programs
	@tools/soak $(BUILD) $(HOURS)

install: programs
	meson install -C $(BUILD) --no-rebuild

clean:
	@if test -d $(BUILD); then \
		find $(BUILD) -mindepth 1 -maxdepth 1 ! -name guest \
			-exec rm -rf {} +; \
	fi

