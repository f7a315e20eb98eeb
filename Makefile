# make            the binary: target/release/failcake
# make demo       a push becomes a deployed release, here and now
# make test       all tests, against real ActiveMQ and RabbitMQ
# make sweep     a deploy or a publication killed, or refused by the disk, at every system call that touches it
# make booted    the units under a real systemd, in a container of this machine's own files; as root
# make bench      side by side with what people would pick instead; ONLY=hook for one group
# make lint       format, clippy, licences
# make generated  man/ and completions/ from the command line's definition
# make install    PREFIX=/usr/local DESTDIR=
PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

bindir = $(DESTDIR)$(PREFIX)/bin
datadir = $(DESTDIR)$(PREFIX)/share
unitdir = $(DESTDIR)$(PREFIX)/lib/systemd/system
sysusersdir = $(DESTDIR)$(PREFIX)/lib/sysusers.d

.PHONY: build demo test sweep booted bench lint generated install

build:
	@tests/prepare build
	$(CARGO) build --release --locked

demo:
	@tests/prepare demo
	$(CARGO) build --release --locked
	@target/release/failcake demo

test:
	@tests/prepare test
	@tests/run

sweep:
	@tests/prepare test
	$(CARGO) test --locked --test it sweep:: -- --include-ignored --nocapture --test-threads=1

booted: build
	@tests/prepare booted
	@tests/booted

bench:
	@tests/prepare bench
	$(CARGO) bench --locked --bench side_by_side -- $(ONLY)

lint:
	@tests/prepare lint
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@tests/deny

generated:
	$(CARGO) build --locked
	rm -rf man completions && mkdir -p completions
	target/debug/failcake man --dir man
	target/debug/failcake completions bash >completions/failcake.bash
	target/debug/failcake completions zsh >completions/_failcake
	target/debug/failcake completions fish >completions/failcake.fish

# Installs what `make` built, so that `sudo make install` compiles nothing as root.
install:
	@test -x target/release/failcake || { echo 'run make first: target/release/failcake is missing' >&2; exit 1; }
	install -d $(bindir) $(datadir)/man/man1 $(datadir)/bash-completion/completions \
	  $(datadir)/zsh/site-functions $(datadir)/fish/vendor_completions.d $(datadir)/failcake/hooks
	install -m 755 target/release/failcake $(bindir)/failcake
	install -m 644 man/*.1 $(datadir)/man/man1/
	install -m 644 completions/failcake.bash $(datadir)/bash-completion/completions/failcake
	install -m 644 completions/_failcake $(datadir)/zsh/site-functions/_failcake
	install -m 644 completions/failcake.fish $(datadir)/fish/vendor_completions.d/failcake.fish
	install -m 755 hooks/* $(datadir)/failcake/hooks/
	# systemd's folders below the same prefix, with the path that the program has there.
	install -d $(unitdir) $(sysusersdir)
	for unit in systemd/*.service systemd/*.timer; do \
	  sed 's|/usr/local/bin/|$(PREFIX)/bin/|' $$unit >$(unitdir)/$${unit#systemd/} || exit 1; \
	  chmod 644 $(unitdir)/$${unit#systemd/} || exit 1; \
	done
	install -m 644 systemd/failcake.sysusers $(sysusersdir)/failcake.conf
	install -m 644 cron/failcake $(datadir)/failcake/cron
	# Each user's spool is a folder of its own in here: sticky and open, like /tmp.
	install -d -m 1777 $(DESTDIR)/var/spool/failcake
