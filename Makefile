# What people type. The work is in test/run, which says what it does.
.PHONY: check test nightly format generate build

# Rules, linters, race tests, generated files: needs no model and no browser.
check:
	go run ./test/run check

# Everything, real engine and real browser included. Installs what it needs.
test:
	go run ./test/run

# Campaigns of hours: a thousand faults, a hundred killed regions, rot, power cuts.
nightly:
	go run ./test/run nightly

# The binary of this machine, and nothing else.
build:
	go build -o bin/ ./cmd/parley

format:
	go run mvdan.cc/gofumpt@v0.12.0 -w client cmd internal test

# What is made from something else: the page, the package table, the licences.
generate:
	cd web && npm ci && npm run build
	go run ./test/arch/table
	go run ./test/licences
