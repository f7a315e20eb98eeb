//! `failcake check`, against the embedded broker and both real ones.

mod monitor;
mod topics;

use super::sandbox::brokers::{self, Kind};
use super::sandbox::{Said, Sandbox};

/// With the spool where the configuration says.
fn world() -> Sandbox {
    let world = Sandbox::new();
    std::fs::create_dir(world.path("spool")).unwrap();
    world
}

/// The finding about `about`.
fn finding(said: Said, about: &str) -> serde_json::Value {
    let all = said.json();
    let found = all.as_array().unwrap().iter().find(|finding| finding["about"] == about);
    found.unwrap_or_else(|| panic!("nothing about {about:?} in {all:#}")).clone()
}

#[test]
fn all_is_well_on_the_embedded_broker() {
    let world = world();
    let broker = world.broker();
    world.repository("spog");
    let folder = world.path("").display().to_string();
    world.write(
        "failcake.yaml",
        format!(
            "broker: {}\nrepos:\n  spog: {{ path: '{folder}/spog.git' }}\nsites:\n  www: {{ repo: spog, path: '{folder}/www' }}\n",
            broker.url
        ),
    );
    let text = world.failcake(["check", "--round-trip"]).run().success().stderr("").text();
    let starts: Vec<String> =
        text.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected =
        ["config", "broker", "topic", "topic", "spool", "repo", "site", "free"].map(|word| format!("ok {word}"));
    assert_eq!(starts, expected, "{text}");
    assert!(text.contains("topic commits") && text.contains("topic events-fetch"), "{text}");
    assert!(text.contains("STOMP 1.2"), "{text}");
    assert!(text.contains("nothing waits"), "{text}");
}

#[test]
fn each_real_broker_is_told_by_name_over_plain_and_tls() {
    for kind in [Kind::ActiveMq, Kind::RabbitMq] {
        let world = world();
        let real = brokers::shared(kind);
        let name = if kind == Kind::ActiveMq { "ActiveMQ/5." } else { "RabbitMQ/3." };
        for url in [&real.url, &real.tls_url] {
            world.write("failcake.yaml", format!("broker: {url}\nca-file: '{}'\n", real.ca.display()));
            let seen = finding(world.failcake(["check", "--round-trip", "--json"]).run().success(), "broker");
            let text = seen["text"].as_str().unwrap();
            assert!(text.contains(name) && text.contains("STOMP 1.2") && text.contains("as gituser"), "{text}");
            assert_eq!(text.contains("TLS"), url.contains("ssl"), "{text}");
        }
        world.write("failcake.yaml", format!("broker: {}\n", real.url.replace("gitpw", "wrong")));
        let seen = finding(world.failcake(["check", "--json"]).run().code(1), "broker");
        assert!(seen["text"].as_str().unwrap().contains("refused the login"), "{seen}");
        assert!(!seen.to_string().contains("wrong"), "the passcode is shown: {seen}");
        world.write("failcake.yaml", format!("broker: {}\n", real.tls_url));
        let seen = finding(world.failcake(["check", "--json"]).run().code(1), "broker");
        assert_eq!(seen["level"], "fail", "a root that nobody trusts: {seen}");
    }
}

#[test]
fn a_broker_that_crashed_and_came_back_is_told_both_times() {
    let world = world();
    let mut real = brokers::Real::start(Kind::ActiveMq);
    world.write("failcake.yaml", format!("broker: {}\n", real.url));
    real.stop("KILL");
    assert_eq!(finding(world.failcake(["check", "--json"]).run().code(1), "broker")["level"], "fail");
    real.restart();
    assert_eq!(finding(world.failcake(["check", "--json"]).run().success(), "broker")["level"], "ok");
}

#[test]
fn a_dead_broker_fails_and_one_dead_host_of_two_warns() {
    let world = world();
    let broker = world.broker();
    // Bound and never listening: refused, and nobody else can take it meanwhile.
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    use std::os::fd::AsRawFd as _;
    nix::sys::socket::bind(socket.as_raw_fd(), &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    let address: nix::sys::socket::SockaddrIn = nix::sys::socket::getsockname(socket.as_raw_fd()).unwrap();
    let dead = format!("stomp://127.0.0.1:{}", address.port());

    world.write("failcake.yaml", format!("broker: {dead}\n"));
    let seen = finding(world.failcake(["check", "--json"]).run().code(1), "broker");
    assert_eq!((&seen["level"], seen["remedy"].is_string()), (&"fail".into(), true), "{seen}");

    world.write("failcake.yaml", format!("broker: failover:({dead},{})\n", broker.url));
    let seen = finding(world.failcake(["check", "--json"]).run().success(), "broker");
    assert_eq!(seen["level"], "warn", "{seen}");
}

#[test]
fn places_that_are_wrong_fail_with_a_remedy_each() {
    let world = world();
    let broker = world.broker();
    world.write("file", "");
    world.write("www/current/index.html", "not a link");
    let folder = world.path("").display().to_string();
    world.write(
        "failcake.yaml",
        format!(
            "broker: {}\nrepos:\n  gone: {{ path: '{folder}/gone' }}\n  later: {{ path: '{folder}/later', url: /x }}\n  \
             odd: {{ path: '{folder}/file' }}\n  nobody: {{ path: '{folder}/x', user: no-such-user }}\n\
             sites:\n  www: {{ repo: odd, path: '{folder}/www' }}\n",
            broker.url
        ),
    );
    let all = world.failcake(["check", "--json"]).run().code(1).json();
    let level = |about: &str| {
        let found = all.as_array().unwrap().iter().find(|finding| finding["about"] == about).unwrap();
        assert!(found["remedy"].is_string(), "{found}");
        found["level"].as_str().unwrap().to_owned()
    };
    assert_eq!(level("repo gone"), "fail");
    assert_eq!(level("repo later"), "warn");
    assert_eq!(level("repo odd"), "fail");
    assert_eq!(level("repo nobody"), "fail");
    assert_eq!(level("site www"), "fail");
}

#[test]
fn a_wrong_configuration_is_a_line_and_the_way_out_is_still_looked_at() {
    let world = world();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\nsites: {{ www: {{ kep: 5 }} }}\n", broker.url));
    let all = world.failcake(["check", "--json"]).run().code(1).json();
    assert!(all[0]["text"].as_str().unwrap().ends_with("unknown key \"kep\": did you mean \"keep\"?"), "{all}");
    assert_eq!((&all[1]["about"], &all[1]["level"]), (&"broker".into(), &"ok".into()), "{all}");
}

#[test]
fn what_waits_in_the_spool_is_counted() {
    let world = world();
    let broker = world.broker();
    world.write("failcake.yaml", format!("broker: {}\n", broker.url));
    let unreachable =
        world.failcake(["publish", "/topic/failcake.x"]).stdin("hello").env("FAILCAKE_BROKER", "stomp://127.0.0.1:1");
    unreachable.run().success().stdout("");
    let seen = finding(world.failcake(["check", "--json"]).run().success(), "spool");
    assert!(seen["text"].as_str().unwrap().contains("1 wait, the oldest for"), "{seen}");
}

#[test]
fn messages_reach_those_who_listen() {
    let world = world();
    let broker = world.broker();
    let listener = brokers::Listener::open(&broker.url, &["/topic/failcake.x"]);
    let call = world.failcake(["publish", "/topic/failcake.x"]).stdin("hello").env("FAILCAKE_BROKER", &broker.url);
    call.run().success().stderr("");
    assert_eq!(listener.take(1)[0].body, b"hello");
    assert!(listener.within(std::time::Duration::from_millis(50)).is_empty(), "it came twice");
}

#[test]
fn what_deploys_over_the_bus_need_is_looked_at() {
    let world = world();
    let broker = world.broker();
    world.repository("spog");
    let at = |name: &str| world.path(name).display().to_string();
    let (node, other) = (at("node.key"), at("other.key"));
    for key in [&node, &other] {
        world.program("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", key]).run().success();
    }
    let line = |who: &str, key: &str| format!("{who} {}", world.read(format!("{key}.pub")));
    world.write("signers", line("ann", "other.key") + &line("web01", "node.key"));
    world.write("facts.yaml", "dc: lon\n");
    let base = format!(
        "broker: {}\nnode: web01\nrepos:\n  spog: {{ path: '{}' }}\nsites:\n  www: {{ repo: spog, path: '{}' }}\n",
        broker.url,
        at("spog.git"),
        at("www")
    );
    let look = |more: &str, code: i32| {
        world.write("failcake.yaml", format!("{base}{more}\n"));
        let found = world.failcake(["check", "--json"]).run().code(code).json();
        let wanted = ["signing", "allow", "facts"];
        let all: Vec<(String, String)> = found
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| wanted.contains(&finding["about"].as_str().unwrap()))
            .map(|finding| {
                (
                    finding["level"].as_str().unwrap().to_owned(),
                    finding["text"].as_str().unwrap().replace("[SANDBOX]/", ""),
                )
            })
            .collect();
        all
    };
    let all = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(level, text)| ((*level).to_owned(), (*text).to_owned())).collect()
    };
    assert_eq!(look("", 0), []);
    let allow = "allow: [ { who: ann, sites: ['www.*'], hosts: ['web*', db1] } ]";
    assert_eq!(
        look(allow, 1),
        all(&[
            ("fail", "allow: has entries, and no plan's signature can be checked"),
            ("ok", "ann may deploy www.* on web*, db1")
        ])
    );
    assert_eq!(
        look("signing: { allowed-signers: signers }", 0),
        all(&[("ok", "signers has 2 signers"), ("warn", "nobody may deploy here over the bus")])
    );
    let good =
        look(&format!("signing: {{ key: node.key, allowed-signers: signers }}\n{allow}\nfacts-file: facts.yaml"), 0);
    assert_eq!(good.iter().map(|(level, _)| level.as_str()).collect::<Vec<_>>(), ["ok"; 4], "{good:?}");
    assert!(good[2].1.starts_with("node.key signs as web01 (SHA256:") && good[3].1 == "facts.yaml has 1", "{good:?}");

    let bad = look(&format!("signing: {{ key: other.key, allowed-signers: signers }}\n{allow}"), 0);
    assert!(bad[2].0 == "warn" && bad[2].1.contains("no operator believes it"), "{bad:?}");
    // Who lets nobody deploy is no node: an operator, who is believed or not.
    let operator = "inventory: { web01: {} }\nsigning: { key: other.key, allowed-signers: signers }";
    let good = look(operator, 0);
    assert!(good.iter().all(|(level, _)| level == "ok") && good[2].1 == "other.key signs as ann", "{good:?}");
    world.write("signers", line("web01", "node.key"));
    let bad = look(operator, 0);
    assert!(bad[2].0 == "warn" && bad[2].1.starts_with("other.key signs, but no node believes it: "), "{bad:?}");
    let said = world.failcake(["check"]).run().success().text();
    let public = world.read("other.key.pub").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert!(said.contains(&format!("add `NAME namespaces=\"failcake-plan\" {public}` to ")), "{said}");

    let bad = look(&format!("signing: {{ key: facts.yaml, allowed-signers: nowhere }}\n{allow}"), 1);
    assert!(bad[0].1.contains("can't read nowhere") && bad[2].1.contains("can't sign with"), "{bad:?}");
    world.write("facts.yaml", "dc: [\n");
    assert_eq!(look("facts-file: facts.yaml", 1)[0].0, "fail");
    world.write("failcake.yaml", format!("{base}allow: [ {{ who: ann, sites: [''], hosts: ['*'] }} ]\n"));
    world.failcake(["check"]).run().code(1).stdout_has("is no pattern");
}

#[test]
fn a_spool_that_is_not_where_it_is_configured_warns() {
    let world = world();
    let broker = world.broker();
    let folder = world.path("").display().to_string();
    world.write("failcake.yaml", format!("broker: {}\nspool: {folder}/of-this-node\n", broker.url));
    let check = || {
        let said = world.failcake(["check", "--json"]).env_remove("FAILCAKE_SPOOL").run().success().json();
        let about_it = said.as_array().unwrap().iter().filter(|finding| finding["about"] == "spool");
        about_it.map(|finding| (finding["level"].to_string(), finding.to_string())).collect::<Vec<_>>()
    };
    let seen = check();
    let (_, text) = seen.iter().find(|(level, _)| level == "\"warn\"").unwrap_or_else(|| panic!("{seen:?}"));
    for words in ["of-this-node is not there", "/home/.local/state/failcake/spool/", "install -d -m 1777 ", "spool:"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    std::fs::create_dir(world.path("of-this-node")).unwrap();
    let seen = check();
    assert!(seen.len() == 1 && seen[0].0 == "\"ok\"" && seen[0].1.contains("/of-this-node/"), "{seen:?}");
}

#[test]
fn a_site_that_is_held_is_told_and_nobody_is_woken_for_it() {
    let world = world();
    let broker = world.broker();
    world.repository("spog");
    let folder = world.path("").display().to_string();
    let repo = format!("repos:\n  spog: {{ path: '{folder}/spog.git' }}\n");
    let site = format!("sites:\n  www: {{ repo: spog, path: '{folder}/www' }}\n");
    world.write("failcake.yaml", format!("broker: {}\n{repo}{site}", broker.url));
    world.failcake(["hold", "www", "--reason", "database migration"]).run().success();
    let said = world.failcake(["check"]).run().success().text();
    let line = said.lines().find(|line| line.contains("held by")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.starts_with("ok    site www") && line.contains(" since 2"), "{line}");
    assert!(line.ends_with(": database migration; failcake unhold www lifts that"), "{line}");
    world.failcake(["check", "--nagios"]).run().success();
    world.failcake(["unhold", "www"]).run().success();
    assert!(!world.failcake(["check"]).run().success().text().contains("held by"));
}
