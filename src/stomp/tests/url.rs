//! Broker URLs, old and new.

use proptest::prelude::*;

use super::super::url::{BrokerUrl, Host, Reconnect};
use super::*;

fn parse(text: &str) -> BrokerUrl {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn error(text: &str) -> String {
    text.parse::<BrokerUrl>().expect_err(text).to_string()
}

fn host(tls: bool, host: &str, port: u16, login: Option<&str>, passcode: Option<&str>, vhost: Option<&str>) -> Host {
    let own = |text: Option<&str>| text.map(str::to_owned);
    Host { tls, host: host.to_owned(), port, login: own(login), passcode: own(passcode), vhost: own(vhost) }
}

#[test]
fn one_broker() {
    let table = [
        ("stomp://broker01", host(false, "broker01", 61613, None, None, None)),
        (" STOMP://broker01:1 ", host(false, "broker01", 1, None, None, None)),
        ("stomp+ssl://broker01", host(true, "broker01", 61614, None, None, None)),
        ("stomp+tls://b:61612", host(true, "b", 61612, None, None, None)),
        ("ssl://b", host(true, "b", 61614, None, None, None)),
        ("stomps://b/", host(true, "b", 61614, None, None, None)),
        ("stomp://git@b", host(false, "b", 61613, Some("git"), None, None)),
        ("stomp://git:@b", host(false, "b", 61613, Some("git"), None, None)),
        ("stomp://:pw@b", host(false, "b", 61613, None, Some("pw"), None)),
        ("stomp://git:p%40s%3A%2Fs%2c%e2%82%ac@b", host(false, "b", 61613, Some("git"), Some("p@s:/s,€"), None)),
        ("stomp://git:p@s:/s,?#)%@b:2/v", host(false, "b", 2, Some("git"), Some("p@s:/s,?#)%"), Some("v"))),
        ("stomp://b/%2F", host(false, "b", 61613, None, None, Some("/"))),
        ("stomp://b/a/b%20c", host(false, "b", 61613, None, None, Some("a/b c"))),
        ("stomp://[::1]:61613", host(false, "::1", 61613, None, None, None)),
        ("stomp+ssl://u:p@[fe80::1%eth0]/v", host(true, "fe80::1%eth0", 61614, Some("u"), Some("p"), Some("v"))),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text).hosts, [expected], "{text}");
    }
}

#[test]
fn a_failover_list_the_old_way_and_the_new() {
    let hosts = [
        host(false, "broker01", 61613, Some("user"), Some("pa,ss"), None),
        host(true, "broker02", 61614, Some("user"), Some("p)w"), None),
    ];
    for text in [
        "failover:(stomp://user:pa,ss@broker01:61613,stomp+ssl://user:p)w@broker02)",
        "failover://(stomp://user:pa,ss@broker01:61613, stomp+ssl://user:p)w@broker02:61614)?",
        "FailOver:( stomp://user:pa%2Css@broker01 ,ssl://user:p%29w@broker02:61614 )?randomize=false&Backup=true",
    ] {
        assert_eq!(parse(text), BrokerUrl { hosts: hosts.to_vec(), reconnect: Reconnect::default() }, "{text}");
    }
    assert_eq!(parse("failover:(stomp://a)").hosts.len(), 1);
}

#[test]
fn the_old_options_in_any_case_and_in_seconds() {
    let mut reconnect = Reconnect::default();
    reconnect
        .apply(
            "initialReconnectDelay=0.25&randomize=TRUE&useExponentialBackOff=false&MaxReconnectDelay=60\
             &BackOffMultiplier=1.5&MaxReconnectAttempts=7&Backup=false&Timeout=2.5",
        )
        .unwrap();
    let all = Reconnect {
        initial_delay: Duration::from_millis(250),
        max_delay: Duration::from_secs(60),
        exponential: false,
        multiplier: 1.5,
        max_attempts: Some(7),
        randomize: true,
        timeout: Some(Duration::from_millis(2500)),
    };
    assert_eq!(reconnect, all);
    reconnect.apply("?max_reconnect_attempts=-1&connect-timeout=-1").unwrap();
    assert_eq!(reconnect, Reconnect { max_attempts: None, timeout: None, ..all.clone() }, "what is not named stays");
    let mut defaults = Reconnect::default();
    let old = "initialReconnectDelay=0.01&randomize=false&useExponentialBackOff=true&MaxReconnectDelay=30\
               &BackOffMultiplier=2&MaxReconnectAttempts=0&Backup=false&Timeout=-1";
    defaults.apply(old).unwrap();
    assert_eq!(defaults, Reconnect::default());
    let url = format!("failover:(stomp://a,stomp://b)?{old}&timeout=2.5");
    assert_eq!(parse(&url).reconnect.timeout, Some(Duration::from_millis(2500)), "the last one counts");
    assert_eq!(parse("stomp://a?timeout=3").reconnect.timeout, Some(Duration::from_secs(3)));
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let table = [
        ("", "the broker URL: no scheme; write stomp://HOST:61613 or stomp+ssl://HOST:61614"),
        ("broker01:61613", "the broker URL: no scheme; write stomp://HOST:61613 or stomp+ssl://HOST:61614"),
        ("tcp://b", "the broker URL: the scheme is none of stomp://, stomp+ssl:// (for TLS) and failover:(…)"),
        ("stomp://", "the broker URL: no host name; write stomp://HOST:61613"),
        ("stomp://u:p@:61613", "the broker URL: no host name; write stomp://HOST:61613"),
        ("stomp://b:0", "the broker URL: the port is no number from 1 to 65535"),
        ("stomp://b:", "the broker URL: the port is no number from 1 to 65535"),
        ("stomp://b:65536", "the broker URL: the port is no number from 1 to 65535"),
        ("stomp://::1", "the broker URL: an IPv6 address is written in brackets, as in stomp://[::1]:61613"),
        ("stomp://[::1", "the broker URL: the bracket of the IPv6 address is not closed"),
        ("stomp://[b]", "the broker URL: in the brackets is no IPv6 address"),
        ("stomp://[::1]61613", "the broker URL: behind the brackets only a :PORT may stand"),
        (
            "stomp://u:a%0Ab@h",
            "the broker URL: the passcode holds a control character, which STOMP can't carry at login",
        ),
        ("stomp://%ff@h", "the broker URL: the login is not UTF-8"),
        (
            "stomp://a b",
            "the broker URL: the host name holds a character that host names don't have; in a login or passcode, write %XX for it",
        ),
        (
            "stomp://a:1,stomp://b:2",
            "the broker URL: several brokers are written failover:(stomp://a,stomp://b), each with its scheme",
        ),
        (
            "failover:(stomp://a,b)",
            "broker 1 of 1 in the failover URL: several brokers are written failover:(stomp://a,stomp://b), each with its scheme",
        ),
        (
            "failover:(stomp://a,stomp://b:x)",
            "broker 2 of 2 in the failover URL: the port is no number from 1 to 65535",
        ),
        (
            "failover:()",
            "broker 1 of 1 in the failover URL: no scheme; write stomp://HOST:61613 or stomp+ssl://HOST:61614",
        ),
        (
            "failover:(stomp://a?timeout=1,stomp://b)",
            "broker 1 of 2 in the failover URL: options go behind the closing parenthesis, for all brokers",
        ),
        (
            "failover:stomp://a,stomp://b",
            "a failover URL is written failover:(stomp://a:61613,stomp://b:61613)?options",
        ),
        ("stomp://a?tiemout=1", "the broker URL's option tiemout is unknown; did you mean timeout?"),
        (
            "stomp://a?MaxReconectAttemps=1",
            "the broker URL's option MaxReconectAttemps is unknown; did you mean maxReconnectAttempts?",
        ),
        ("stomp://a?timeout", "broker URL option timeout=: a number is wanted"),
        ("stomp://a?timeout=NaN", "broker URL option timeout=NaN: a number is wanted"),
        ("stomp://a?randomize=maybe", "broker URL option randomize=maybe: true or false is wanted"),
        ("stomp://a?initialReconnectDelay=-1", "broker URL option initialReconnectDelay=-1: it can't be below zero"),
        (
            "stomp://a?maxReconnectDelay=30000",
            "broker URL option maxReconnectDelay=30000: that is over an hour; the number counts seconds, not milliseconds",
        ),
        ("stomp://a?backOffMultiplier=0.5", "broker URL option backOffMultiplier=0.5: 1 or more is wanted"),
        (
            "stomp://a?maxReconnectAttempts=99999999999",
            "broker URL option maxReconnectAttempts=99999999999: that is too large; 0 is for ever",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(error(text), expected, "{text}");
    }
    assert!(error("stomp://a?xyzzy=1").ends_with(
        "known are initialReconnectDelay, maxReconnectDelay, useExponentialBackOff, backOffMultiplier, \
         maxReconnectAttempts, randomize, timeout"
    ));
}

#[test]
fn shown_without_passcode_and_with_brackets() {
    let url = parse("failover:(stomp://git:S3cret@a,ssl://u%40x:S3cret@[::1]:5/%2F)?timeout=1.5&randomize=true");
    assert_eq!(
        url.to_string(),
        "failover:(stomp://git@a:61613,stomp+ssl://u%40x@[::1]:5/%2F)?randomize=true&timeout=1.5"
    );
    assert_eq!(url.hosts[1].address(), "[::1]:5");
    assert_eq!(url.hosts[0].address(), "a:61613");
    assert!(!format!("{url:?}").contains("S3cret"));
    assert!(format!("{url:?}").contains("a passcode"), "{url:?}");
    assert_eq!(parse("stomp://git:S3cret@a").to_string(), "stomp://git@a:61613");
}

fn any_host() -> impl Strategy<Value = Host> {
    let word = || proptest::option::of("[^\\pC]{1,6}");
    let name = prop_oneof!["[a-z0-9][a-z0-9.-]{0,8}", Just("::1".to_owned()), Just("fe80::2%eth0".to_owned())];
    (any::<bool>(), name, 1u16.., word(), word(), word()).prop_map(|(tls, host, port, login, passcode, vhost)| Host {
        tls,
        host,
        port,
        login,
        passcode,
        vhost,
    })
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(
        hosts in proptest::collection::vec(any_host(), 1..4),
        delays in (0u32..3_600_000, 0u32..3_600_000, proptest::option::of(1u32..3_600_000)),
        attempts in proptest::option::of(1u32..), exponential: bool, randomize: bool, multiplier in 1.0f64..100.0,
    ) {
        let millis = |n: u32| Duration::from_millis(u64::from(n));
        let url = BrokerUrl {
            hosts,
            reconnect: Reconnect {
                initial_delay: millis(delays.0), max_delay: millis(delays.1), timeout: delays.2.map(millis),
                max_attempts: attempts, exponential, randomize, multiplier,
            },
        };
        let mut again = parse(&url.to_string());
        for (again, host) in again.hosts.iter_mut().zip(&url.hosts) {
            prop_assert_eq!(&again.passcode, &None);
            again.passcode.clone_from(&host.passcode);
        }
        prop_assert_eq!(again, url);
    }

    #[test]
    fn no_message_holds_the_passcode(
        before in "[^\\pC]{0,4}", after in "[^\\pC]{0,4}", shape in 0usize..8, cut in any::<prop::sample::Index>(),
    ) {
        let passcode = format!("{before}S3cretS3cretS3cret{after}");
        let mut url = [
            "stomp://u:PASS@host:61613", "stomp://u:PASS", "stomp://PASS@:1", "failover:(stomp://u:PASS@a,stomp://u:PASS@b)?x=1",
            "failover:(stomp://u:PASS,b)", "stomp://u:PASS@h:port", "bogus://u:PASS@h", "failover://(stomp://u:PASS@h",
        ][shape].replace("PASS", &passcode);
        // And with one character missing anywhere.
        let at = cut.index(url.chars().count());
        for _ in 0..2 {
            if let Err(error) = url.parse::<BrokerUrl>() {
                prop_assert!(!error.to_string().contains("3cret"), "{}: {}", url, error);
            }
            url = url.chars().enumerate().filter(|(n, _)| *n != at).map(|(_, c)| c).collect();
        }
    }

    #[test]
    fn nothing_that_is_written_there_panics(text in "(failover:)?(//)?[(]?(stomp://)?[^\\pC]{0,20}[)]?[?]?[a-z=&]{0,8}") {
        let _ = text.parse::<BrokerUrl>();
    }
}
