//! `access grant` and `access revoke`: signed, and sent now or not at all.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};

use crate::access::{LONGEST, Password};
use crate::bus::{self, Publisher, Target};
use crate::command::complain;
use crate::config::{self, Config};
use crate::message::access::{Action, NAMESPACE, Order};
use crate::message::signed::Document as _;
use crate::message::{Event, EventId};
use crate::name::{LoginName, Principal, SiteName};
use crate::signature::{self, Key, PATIENCE};
use crate::stomp::Frame;

/// A person waits: longer than a hook would, and not for long.
const BUDGET: Duration = Duration::from_secs(10);

pub(super) fn grant(
    config: &Config,
    site: SiteName,
    user: LoginName,
    lasts: Duration,
    within: Duration,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let who = who(config)?;
    let password = Password::generate()?;
    let issued = Timestamp::now();
    // Whole seconds: people read it.
    let expires = Timestamp::from_second((issued + SignedDuration::try_from(lasts)?).as_second())?;
    let action = Action::Grant { hash: password.hash()?, expires };
    let not_after = expires.min(issued + SignedDuration::try_from(within)?);
    let order = Order { id: EventId::new(), site, user, action, who, issued, not_after };
    send(config, &order)?;
    let mut stdout = std::io::stdout().lock();
    let Order { site, user, .. } = &order;
    let printed = if json {
        let value = serde_json::json!({
            "site": site, "user": user, "password": password.as_str(), "expires": expires.to_string(),
        });
        writeln!(stdout, "{value}")
    } else {
        writeln!(stdout, "site      {site}\nuser      {user}\npassword  {}\nexpires   {expires}", password.as_str())
    };
    printed.and_then(|()| stdout.flush()).with_context(|| {
        format!("the password could not be shown and nobody has it: failcake access revoke {site} {user}")
    })?;
    if !json {
        complain(&format!("the password is kept nowhere; nodes may take this until {not_after:.0}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn revoke(config: &Config, site: SiteName, user: LoginName, json: bool) -> anyhow::Result<ExitCode> {
    let who = who(config)?;
    let issued = Timestamp::now();
    let not_after = issued + LONGEST;
    let order = Order { id: EventId::new(), site, user, action: Action::Revoke, who, issued, not_after };
    send(config, &order)?;
    let mut stdout = std::io::stdout().lock();
    let Order { site, user, .. } = &order;
    if json {
        writeln!(stdout, "{}", serde_json::json!({ "site": site, "user": user }))?;
    } else {
        writeln!(stdout, "revoked: {user} at {site}, on every node that hears it")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn key(config: &Config) -> Key {
    Key::from(config.signing.key.as_deref())
}

fn signers(config: &Config) -> Option<&Path> {
    config.signing.allowed_signers.as_deref()
}

/// Who gives the order: as configured, or whose key it is.
fn who(config: &Config) -> anyhow::Result<Principal> {
    if let Some(principal) = &config.signing.principal {
        return Ok(principal.clone());
    }
    let signers = signers(config).ok_or_else(|| {
        let text = "who are you? Say `signing: principal:`, or name the `allowed-signers:` file that knows your key";
        config::Error(text.to_owned())
    })?;
    signature::principal_of(&key(config), NAMESPACE, signers, PATIENCE)
        .with_context(|| format!("can't tell whose key {} is", key(config)))
}

fn send(config: &Config, order: &Order) -> anyhow::Result<()> {
    let document = order.to_text();
    let signature = signature::sign(document.as_bytes(), NAMESPACE, &key(config), PATIENCE)?;
    // Nodes have the same file: what does not hold here does not hold there.
    if let Some(signers) = signers(config) {
        signature::verify(document.as_bytes(), &signature, NAMESPACE, signers, &order.who)
            .context("no node would take it")?;
    }
    let frame = |topic, event: Event| Frame::send(&config.bus.topics.get(topic), event.headers, event.body.into_bytes());
    let human = Event::human(order.issued, &order.subject());
    let frames = vec![frame("access", order.event(signature)), frame("events-access", human)];
    let deadline = Instant::now() + BUDGET;
    let mut publisher = Publisher::connect(&Target::from(&config.bus), deadline)
        .context("nothing was sent, nothing has changed, and nothing is tried later")?;
    let sent = publisher.publish(frames, deadline);
    if matches!(sent, Err(bus::Error::Lost(_) | bus::Error::TimedOut(_))) {
        sent.context("nobody knows whether the broker took it: say it again, or revoke it, when the broker is back")?;
    } else {
        sent.context("nothing was taken, and nothing has changed")?;
        publisher.close();
    }
    Ok(())
}
