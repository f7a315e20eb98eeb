//! Broker URLs: `stomp://`, `stomp+ssl://`, and `failover:` lists with the Ruby client's options.
//!
//! ```text
//! stomp://[LOGIN[:PASSCODE]@]HOST[:PORT][/VHOST][?OPTIONS]
//! failover:(URL,URL…)[?OPTIONS]      also failover://(…), the Ruby client's way
//! ```
//!
//! `%XX` stands for an octet in login, passcode and vhost; a `%` that no two hex digits follow stands for itself. A
//! passcode may hold `@`, `:`, `/` and `,` as they are, for old configurations do: the last `@` counts, and a list is cut
//! only where another `scheme://` follows. No message of this module holds any text that may be a passcode.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::time::Duration;

/// Where brokers are and how to come back to them. Parsed with [`str::parse`]; `Display` never shows a passcode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// In the order to try them; never empty.
    pub hosts: Vec<Host>,
    /// How to come back after a loss.
    pub reconnect: Reconnect,
}

/// One broker's address.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// `stomp+ssl://` (also `stomp+tls`, `ssl`, `stomps`): TLS.
    pub tls: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Default 61613, with TLS 61614.
    pub port: u16,
    /// User part, percent-decoded.
    pub login: Option<String>,
    /// Passcode part, percent-decoded.
    pub passcode: Option<String>,
    /// Path part, percent-decoded, without its first slash: RabbitMQ's vhost.
    pub vhost: Option<String>,
}

/// The `failover:` options, as the Ruby client names them (case does not matter).
#[derive(Debug, Clone, PartialEq)]
pub struct Reconnect {
    /// `initialReconnectDelay`, seconds; default 0.01.
    pub initial_delay: Duration,
    /// `maxReconnectDelay`, seconds; default 30.
    pub max_delay: Duration,
    /// `useExponentialBackOff`; default true.
    pub exponential: bool,
    /// `backOffMultiplier`; default 2, finite and at least 1.
    pub multiplier: f64,
    /// `maxReconnectAttempts`; `None` (0 or below) is for ever.
    pub max_attempts: Option<u32>,
    /// `randomize`: begin with a random host; default false.
    pub randomize: bool,
    /// `timeout`, seconds to connect and log in; `None` (0 or below) leaves the default.
    pub timeout: Option<Duration>,
}

/// `multiplier` is never NaN.
impl Eq for Reconnect {}

impl Default for Reconnect {
    fn default() -> Reconnect {
        Reconnect {
            initial_delay: Duration::from_millis(10),
            max_delay: Duration::from_secs(30),
            exponential: true,
            multiplier: 2.0,
            max_attempts: None,
            randomize: false,
            timeout: None,
        }
    }
}

/// What is wrong with a broker URL and what to write instead; never any text that may be a passcode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UrlError(String);

const SCHEMES: [(&str, bool); 5] =
    [("stomp", false), ("stomp+ssl", true), ("stomp+tls", true), ("ssl", true), ("stomps", true)];

const OPTIONS: [&str; 7] = [
    "initialReconnectDelay",
    "maxReconnectDelay",
    "useExponentialBackOff",
    "backOffMultiplier",
    "maxReconnectAttempts",
    "randomize",
    "timeout",
];

/// Options of the old clients that are read and have no effect, so that old configurations stay valid.
const IGNORED_OPTIONS: [&str; 5] = [
    // A second connection held open in reserve: connecting takes milliseconds here.
    "backup",
    // False gives up at the first loss: that is maxReconnectAttempts.
    "reliable",
    // Seconds for one frame to arrive: the heart-beat tells.
    "parseTimeout",
    // Several addresses of one name: all are tried always.
    "dmh",
    // Sends again what was not confirmed: the spool does.
    "trackMessages",
];

/// A longer delay was meant in milliseconds: ActiveMQ's own clients count so.
const LONGEST: Duration = Duration::from_secs(3600);

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<BrokerUrl, UrlError> {
        let text = text.trim();
        let list = text.get(..9).filter(|word| word.eq_ignore_ascii_case("failover:")).map(|word| &text[word.len()..]);
        let Some(list) = list else {
            let (host, options) = parse_host(text, "the broker URL")?;
            let mut reconnect = Reconnect::default();
            reconnect.apply(options.unwrap_or_default())?;
            return Ok(BrokerUrl { hosts: vec![host], reconnect });
        };
        let list = list.strip_prefix("//").unwrap_or(list);
        let (list, options) = list
            .strip_prefix('(')
            .and_then(|list| list.rsplit_once(')'))
            .filter(|(_, options)| options.is_empty() || options.starts_with('?'))
            .ok_or_else(|| wrong("a failover URL is written failover:(stomp://a:61613,stomp://b:61613)?options"))?;
        let parts = split_list(list);
        let mut hosts = Vec::with_capacity(parts.len());
        for (index, part) in parts.iter().enumerate() {
            let place = format!("broker {} of {} in the failover URL", index + 1, parts.len());
            let (host, options) = parse_host(part.trim(), &place)?;
            if options.is_some() {
                return Err(wrong(format!("{place}: options go behind the closing parenthesis, for all brokers")));
            }
            hosts.push(host);
        }
        let mut reconnect = Reconnect::default();
        reconnect.apply(options)?;
        Ok(BrokerUrl { hosts, reconnect })
    }
}

impl BrokerUrl {
    /// As `Display` has it, and with the passcodes: only for a file that nobody else can read.
    pub fn reveal(&self) -> String {
        self.text(Host::reveal)
    }

    fn text(&self, host: impl Fn(&Host) -> String) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(host).collect();
        match hosts.as_slice() {
            [host] => format!("{host}{}", self.reconnect),
            hosts => format!("failover:({}){}", hosts.join(","), self.reconnect),
        }
    }
}

impl fmt::Display for BrokerUrl {
    /// As it is parsed, without passcodes and without options that have their default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(Host::to_string))
    }
}

impl Host {
    /// `host:port`, with brackets around an IPv6 address: for people, and for a name look-up.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn reveal(&self) -> String {
        self.written(self.passcode.as_deref())
    }

    fn written(&self, passcode: Option<&str>) -> String {
        let mut text = if self.tls { "stomp+ssl://" } else { "stomp://" }.to_owned();
        if self.login.is_some() || passcode.is_some() {
            text += &percent_encode(self.login.as_deref().unwrap_or_default());
            if let Some(passcode) = passcode {
                text = text + ":" + &percent_encode(passcode);
            }
            text.push('@');
        }
        text += &self.address();
        if let Some(vhost) = &self.vhost {
            text = text + "/" + &percent_encode(vhost);
        }
        text
    }
}

impl fmt::Display for Host {
    /// Without the passcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written(None))
    }
}

impl fmt::Debug for Host {
    /// Without the passcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = if self.passcode.is_some() { " and a passcode" } else { "" };
        write!(f, "Host({self}{hint})")
    }
}

impl Reconnect {
    /// Applies options, `name=value` joined by `&`, as they stand behind a URL's `?` or in the old configuration's
    /// `stomp-options`. What is not named stays.
    ///
    /// # Errors
    /// An option that is unknown (with the nearest known one) or a value that makes no sense. Then some of the others
    /// may have been applied.
    pub fn apply(&mut self, options: &str) -> Result<(), UrlError> {
        for option in options.trim().trim_start_matches('?').split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            // The Ruby client's configuration files write initial_reconnect_delay.
            let plain = name.trim().replace(['_', '-'], "");
            let is = |known: &&&str| known.eq_ignore_ascii_case(&plain);
            if let Some(known) = OPTIONS.iter().find(is) {
                self.set(known, value.trim())?;
            } else if plain.eq_ignore_ascii_case("connectTimeout") {
                self.set("timeout", value.trim())?;
            } else if !IGNORED_OPTIONS.iter().any(|known| is(&known)) {
                return Err(unknown_option(&plain));
            }
        }
        Ok(())
    }

    /// `name` is one of [`OPTIONS`].
    fn set(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let bad = |wanted: &str| wrong(format!("broker URL option {name}={value}: {wanted}"));
        let number = || value.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or_else(|| bad("a number is wanted"));
        let seconds = || {
            let delay = Duration::try_from_secs_f64(number()?).map_err(|_| bad("it can't be below zero"))?;
            if delay > LONGEST {
                return Err(bad("that is over an hour; the number counts seconds, not milliseconds"));
            }
            Ok(delay)
        };
        let truth = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(bad("true or false is wanted")),
        };
        match name {
            "initialReconnectDelay" => self.initial_delay = seconds()?,
            "maxReconnectDelay" => self.max_delay = seconds()?,
            "useExponentialBackOff" => self.exponential = truth()?,
            "backOffMultiplier" => match number()? {
                multiplier if multiplier >= 1.0 => self.multiplier = multiplier,
                _ => return Err(bad("1 or more is wanted")),
            },
            "maxReconnectAttempts" => {
                let attempts = value.parse::<i64>().map_err(|_| bad("a whole number is wanted; 0 is for ever"))?;
                self.max_attempts = u32::try_from(attempts).ok().filter(|attempts| *attempts > 0);
                if self.max_attempts.is_none() && attempts > 0 {
                    return Err(bad("that is too large; 0 is for ever"));
                }
            }
            "randomize" => self.randomize = truth()?,
            "timeout" if number()? <= 0.0 => self.timeout = None,
            "timeout" => self.timeout = Some(seconds()?),
            other => return Err(unknown_option(other)),
        }
        Ok(())
    }
}

impl fmt::Display for Reconnect {
    /// What differs from the default, with its `?`; nothing if nothing does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Reconnect::default();
        let mut sign = '?';
        let mut option = |differs: bool, name: &str, value: String| {
            if !differs {
                return Ok(());
            }
            let written = write!(f, "{sign}{name}={value}");
            sign = '&';
            written
        };
        let seconds = |delay: Duration| delay.as_secs_f64().to_string();
        option(self.initial_delay != default.initial_delay, OPTIONS[0], seconds(self.initial_delay))?;
        option(self.max_delay != default.max_delay, OPTIONS[1], seconds(self.max_delay))?;
        option(self.exponential != default.exponential, OPTIONS[2], self.exponential.to_string())?;
        option(self.multiplier != default.multiplier, OPTIONS[3], self.multiplier.to_string())?;
        option(self.max_attempts.is_some(), OPTIONS[4], self.max_attempts.unwrap_or(0).to_string())?;
        option(self.randomize != default.randomize, OPTIONS[5], self.randomize.to_string())?;
        option(self.timeout.is_some(), OPTIONS[6], seconds(self.timeout.unwrap_or_default()))
    }
}

/// Cuts at the commas that another `scheme://` follows; a comma anywhere else may belong to a passcode.
fn split_list(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (comma, _) in list.match_indices(',') {
        let next = list[comma + 1..].trim_start();
        let scheme = next.find(|c: char| !c.is_ascii_alphanumeric() && c != '+').unwrap_or(0);
        if scheme > 0 && next[scheme..].starts_with("://") {
            parts.push(&list[from..comma]);
            from = comma + 1;
        }
    }
    parts.push(&list[from..]);
    parts
}

/// One broker and, behind `?`, its options. `place` says in errors which broker of a list it is.
fn parse_host<'a>(text: &'a str, place: &str) -> Result<(Host, Option<&'a str>), UrlError> {
    let bad = |what: &str| wrong(format!("{place}: {what}"));
    let (scheme, rest) =
        text.split_once("://").ok_or_else(|| bad("no scheme; write stomp://HOST:61613 or stomp+ssl://HOST:61614"))?;
    let scheme = scheme.to_ascii_lowercase();
    let Some((_, tls)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
        return Err(bad("the scheme is none of stomp://, stomp+ssl:// (for TLS) and failover:(…)"));
    };
    // The last `@`: old configurations have passcodes with one.
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    let (rest, options) = rest.split_once('?').map_or((rest, None), |(rest, options)| (rest, Some(options)));
    let (authority, vhost) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let (login, passcode) =
        user.map_or((None, None), |user| user.split_once(':').map_or((Some(user), None), |(l, p)| (Some(l), Some(p))));
    let decoded = |part: Option<&str>, name: &str| match part.filter(|part| !part.is_empty()) {
        None => Ok(None),
        Some(part) => {
            let text = percent_decode(part).ok_or_else(|| bad(&format!("the {name} is not UTF-8")))?;
            if text.contains(|c: char| c.is_control()) {
                return Err(bad(&format!("the {name} holds a control character, which STOMP can't carry at login")));
            }
            Ok(Some(text))
        }
    };
    let (host, port) = parse_address(authority).map_err(|what| bad(&what))?;
    let host = Host {
        tls: *tls,
        host: host.to_owned(),
        port: port.unwrap_or(if *tls { 61614 } else { 61613 }),
        login: decoded(login, "login")?,
        passcode: decoded(passcode, "passcode")?,
        vhost: decoded(vhost, "vhost")?,
    };
    Ok((host, options))
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. Errors hold nothing of the text: without an `@`, a passcode may
/// have got here.
fn parse_address(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
        // Behind % a link-local address names its interface.
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        address.parse::<Ipv6Addr>().map_err(|_| "in the brackets is no IPv6 address")?;
        match port.strip_prefix(':') {
            None if port.is_empty() => (host, None),
            None => return Err("behind the brackets only a :PORT may stand".to_owned()),
            port => (host, port),
        }
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        if text.contains(',') {
            return Err("several brokers are written failover:(stomp://a,stomp://b), each with its scheme".to_owned());
        }
        if port.is_some_and(|port| port.contains(':')) {
            return Err("an IPv6 address is written in brackets, as in stomp://[::1]:61613".to_owned());
        }
        (host, port)
    };
    if host.is_empty() {
        return Err("no host name; write stomp://HOST:61613".to_owned());
    }
    if !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b)) {
        return Err(
            "the host name holds a character that host names don't have; in a login or passcode, write %XX for \
                    it"
            .to_owned(),
        );
    }
    let port = match port {
        None => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("the port is no number from 1 to 65535".to_owned()),
        },
    };
    Ok((host, port))
}

fn unknown_option(name: &str) -> UrlError {
    // A name of another shape may be the rest of a passcode that held a `?`.
    if !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return wrong("the broker URL's options are written name=value, joined by &");
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let nearest = OPTIONS.iter().min_by_key(|known| distance(known)).filter(|known| distance(known) <= known.len() / 2);
    match nearest {
        Some(known) => wrong(format!("the broker URL's option {name} is unknown; did you mean {known}?")),
        None => wrong(format!("the broker URL's option {name} is unknown; known are {}", OPTIONS.join(", "))),
    }
}

fn wrong(text: impl Into<String>) -> UrlError {
    UrlError(text.into())
}

/// `None` when the octets are no UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let octet = match rest {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        out.push(octet.unwrap_or(*first));
        bytes = if octet.is_some() { &rest[2..] } else { rest };
    }
    String::from_utf8(out).ok()
}

fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
