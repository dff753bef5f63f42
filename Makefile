# `make help` tells what there is.

.DEFAULT_GOAL := help
.PHONY: help demo test proof lint facts doc tools

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Without optimisation, which compiles in less than half the time (on two cores 2:40 instead of 6:15 from nothing) and is fast
# enough for one person. The product is `cargo build --release`.
demo: ## See it work: TLS, four kinds of RPC, a new certificate every 10 s (Ctrl-C ends it)
	@echo "compiling first: some minutes from nothing, a second the next time"
	cargo run --quiet --locked --package h2gate -- demo

test: ## What CI runs: lints, unit tests, the end-to-end suite with small counts; installs its tools into .tools/
	scripts/test

proof: ## The same with full counts on a release build (about half an hour); the log and the table of attacks stay in .proof/
	@mkdir -p .proof
	bash -o pipefail -c 'H2GATE_PROOF=1 scripts/test 2>&1 | tee .proof/proof.log'

lint: ## Formatting, clippy, documentation and dependencies, warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	scripts/deny

facts: ## Lines, names, comments and circles of modules, by crate
	scripts/facts

doc: ## The documentation of the crates, into target/doc
	cargo doc --workspace --no-deps --locked

tools: ## Only the outside test tools
	scripts/install-tools
