# What people type. CMake does the work: see CMakePresets.json for its own commands.
#
#   make          build leco (build/release/leco)
#   make demo     erase red from the small model in models/shapes, and show it: out/demo.png
#   make test     everything that CI checks
#   make bench    time a full-size Stable Diffusion 1.5 U-Net on this machine
#   make asan     build with the address and undefined-behaviour sanitizers (build/asan)
#   make format   format the C sources
#   make install  copy leco, its library, man pages, docs and examples below PREFIX (default /usr/local; DESTDIR works)
#   make clean    remove build/ (results in out/ stay)
PREFIX ?= /usr/local

.PHONY: build compile demo test bench asan format install clean packages
build: compile
	@echo "Built build/release/leco. Next: make demo"

compile: packages
	@cmake --preset release >build.log 2>&1 || { cat build.log; exit 1; }
	@rm -f build.log
	@cmake --build build/release --target leco_install

demo: compile
	@scripts/demo

test: packages
	@scripts/test

bench: compile
	build/release/leco bench --preset sd15

asan: packages
	cmake --preset asan
	cmake --build build/asan

format:
	scripts/check-format --fix

# After a build by somebody else, root only copies: files of root's in their build folder would be in the way.
install:
	@if [ ! -e build/release/leco ] || [ -O build/release/leco ]; then $(MAKE) --no-print-directory compile; fi
	cmake --install build/release --prefix $(PREFIX)
	@rm -f build/release/install_manifest.txt
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig || true; fi # or libleco.so isn't found yet

clean:
	rm -rf build

packages:
	@scripts/install-packages --check || scripts/install-packages
