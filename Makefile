# The two commands of the README: `make demo` and `make test`. What a machine lacks is said first, in one sentence.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench fuzz tools test-tools

help:  ## what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: tools  ## trucks drive, rules are broken, alerts go out and people answer: all in one process
	@test -x target/release/muckwatch || echo "building muckwatch: the first build takes about a quarter of an hour on two cores, later ones a minute"
	cargo build --release --bin muckwatch
	target/release/muckwatch demo

test: tools test-tools  ## everything that must hold: form, lints, tests, rule tests
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings
	cargo build --bin muckwatch
	target/debug/muckwatch rules check rules
	target/debug/muckwatch rules test rules
	cargo test --no-fail-fast

check: tools  ## only the quick part: form and lints
	cargo fmt --check
	cargo clippy --all-targets --quiet -- -D warnings

bench: tools  ## figures for this machine, as ratios side by side
	cargo bench

fuzz: tools  ## a minute of fuzzing for each decoder and file reader (needs a nightly toolchain and cargo-fuzz)
	tools/fuzz

tools:
	@tools/need

test-tools:
	@tools/need-for-tests
