//! What became of packages, in the words of each who wants to know: the bus, people, programs.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::command::{FAILED, complain};
use crate::config::Config;
use crate::message::package::Package;
use crate::message::{Event, EventId};
use crate::name::{Distribution, PackageFile};
use crate::outbox::{Delivery, Outbox};
use crate::reprepro::desk::{Fate, Refusal, Verdict};
use crate::reprepro::{self, Facts, Seen};
use crate::stomp::Frame;

/// Tells, and remembers whether all was well.
pub(super) struct Telling {
    outbox: Outbox,
    packages: String,
    events: String,
    json: bool,
    failed: bool,
    /// Problems of this round, and of the one before: what goes on is told once.
    problems: [BTreeSet<String>; 2],
}

impl Telling {
    pub(super) fn new(config: &Config, json: bool) -> Telling {
        let topics = &config.bus.topics;
        Telling {
            outbox: Outbox::new(&config.bus),
            packages: topics.get("packages"),
            events: topics.get("events-repository"),
            json,
            failed: false,
            problems: Default::default(),
        }
    }

    /// Another round begins.
    pub(super) fn begin(&mut self) {
        self.problems.swap(0, 1);
        self.problems[0].clear();
    }

    pub(super) fn code(&self) -> ExitCode {
        if self.failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
    }

    /// Tells of packages that others see to, where no repository is configured.
    pub(super) fn only(
        &mut self,
        distribution: &Distribution,
        files: &[PathBuf],
        look_at: impl Fn(&Path) -> Result<Result<Seen, String>, reprepro::Error>,
    ) -> anyhow::Result<()> {
        let (mut frames, mut told) = (Vec::new(), Vec::new());
        for path in files {
            match look_at(path)? {
                Ok(Seen { file, facts, sha256 }) => {
                    let package = package(distribution, &file, &facts, &sha256);
                    let id = EventId::new();
                    frames.extend(self.frames(&package, &id.to_string()));
                    told.push(package);
                }
                Err(why) => {
                    self.failed = true;
                    let file = path.display().to_string().replace(char::is_control, " ");
                    complain(&format!("{file} is not told: {why}"));
                    self.print(json!({ "what": "refused", "file": file, "distribution": distribution, "why": why }), None);
                }
            }
        }
        self.emit(frames, &format!("packages for {distribution}: {}", told.len()))?;
        for package in &told {
            self.print(of("told", package), Some(format!("told: {} in {distribution}", package.file)));
        }
        Ok(())
    }

    /// Tells the bus what reprepro did, in one emission. Killed after it and before the jobs are closed: the next run tells
    /// the same again, under the same names.
    pub(super) fn verdicts(&mut self, distribution: &Distribution, verdicts: &[Verdict]) -> anyhow::Result<()> {
        let mut frames = Vec::new();
        for verdict in verdicts {
            for (item, facts, fate) in verdict.packages() {
                let identity = verdict.job.identity(item);
                match fate {
                    Fate::Served => {
                        frames.extend(self.frames(&package(distribution, &item.file, facts, &item.sha256), &identity));
                    }
                    Fate::Refused(why) if verdict.refused.is_none() => {
                        frames.push(self.refusal(distribution, item.file.as_str(), why, &identity));
                    }
                    Fate::Refused(_) | Fate::Replaced => {}
                }
            }
            if let Some(why) = &verdict.refused {
                let identity = verdict.job.identity(&verdict.job.items()[0]);
                frames.push(self.refusal(distribution, verdict.job.file().as_str(), why, &identity));
            }
            // Sources alone.
            if verdict.refused.is_none() && verdict.job.packages().next().is_none() {
                let line = format!("Package {} / {distribution} added to repository.", verdict.job.file());
                frames.push(self.human(&line, &verdict.job.identity(&verdict.job.items()[0])));
            }
        }
        self.emit(frames, &format!("packages for {distribution}: {}", verdicts.len()))
    }

    /// Tells people what became of it, and where it is.
    pub(super) fn closed(&mut self, verdict: &Verdict, place: Option<&Path>) {
        let distribution = verdict.job.distribution();
        for (item, facts, fate) in verdict.packages() {
            let mut value = of("taken", &package(distribution, &item.file, facts, &item.sha256));
            value["place"] = json!(place);
            match fate {
                Fate::Served => self.print(value, Some(format!("taken: {} into {distribution}", item.file))),
                Fate::Replaced => {
                    value["what"] = json!("replaced");
                    self.print(value, Some(format!("taken: {} into {distribution}, which has a newer one already", item.file)));
                }
                Fate::Refused(_) if verdict.refused.is_some() => {}
                Fate::Refused(why) => self.say_refused(distribution, item.file.as_str(), why, place),
            }
        }
        if let Some(why) = &verdict.refused {
            self.say_refused(distribution, verdict.job.file().as_str(), why, place);
        } else if verdict.job.packages().next().is_none() {
            let file = verdict.job.file();
            let value = json!({ "what": "taken", "file": file, "distribution": distribution, "place": place });
            self.print(value, Some(format!("taken: {file} into {distribution}")));
        }
    }

    /// Tells the bus and people of what reprepro was not even asked for.
    pub(super) fn refused(&mut self, refusals: &[&Refusal]) -> anyhow::Result<()> {
        let frame = |it: &&Refusal| self.refusal(&it.distribution, &it.file, &it.why, &it.identity);
        let frames = refusals.iter().map(frame).collect();
        self.emit(frames, &format!("refused: {}", refusals.len()))?;
        for it in refusals {
            self.say_refused(&it.distribution, &it.file, &it.why, None);
        }
        Ok(())
    }

    /// Something is not whole yet: no problem of anybody's so far.
    pub(super) fn waits(&self, distribution: &Distribution, file: &str, why: &str) {
        log::info!("{file} for {distribution} waits: {why}");
        self.print(json!({ "what": "waits", "file": file, "distribution": distribution, "why": why }), None);
    }

    /// The machine or the repository has to be seen to.
    pub(super) fn problem(&mut self, why: &str) {
        self.failed = true;
        self.problems[0].insert(why.to_owned());
        if !self.problems[1].contains(why) {
            complain(why);
            self.print(json!({ "what": "problem", "why": why }), None);
        }
    }

    fn say_refused(&mut self, distribution: &Distribution, file: &str, why: &str, place: Option<&Path>) {
        self.failed = true;
        complain(&format!("refused: {file} for {distribution}: {why}"));
        let value = json!({ "what": "refused", "file": file, "distribution": distribution, "why": why, "place": place });
        self.print(value, None);
    }

    fn frames(&self, package: &Package, identity: &str) -> [Frame; 2] {
        let event = package.event(name_of("package", identity), jiff::Timestamp::now());
        let frame = Frame::send(&self.packages, event.headers, event.body.into_bytes());
        [frame, self.human(&package.line(), identity)]
    }

    fn refusal(&self, distribution: &Distribution, file: &str, why: &str, identity: &str) -> Frame {
        self.human(&format!("Package {file} / {distribution} refused: {why}"), &format!("{identity} {why}"))
    }

    fn human(&self, line: &str, identity: &str) -> Frame {
        let event = Event::human_with(name_of("human", identity), jiff::Timestamp::now(), line);
        Frame::send(&self.events, event.headers, event.body.into_bytes())
    }

    fn emit(&mut self, frames: Vec<Frame>, label: &str) -> anyhow::Result<()> {
        if let Delivery::Refused { .. } = self.outbox.emit(frames, label)? {
            // The outbox has said so, and keeps it.
            self.failed = true;
        }
        Ok(())
    }

    /// A line for programs, or the one for people.
    fn print(&self, value: Value, line: Option<String>) {
        // Who stopped reading stops no package.
        let _ = match (self.json, line) {
            (true, _) => writeln!(std::io::stdout(), "{value}"),
            (false, Some(line)) => writeln!(std::io::stdout(), "{line}"),
            (false, None) => Ok(()),
        };
    }
}

/// The name of the event that something makes of `kind`, whenever it is told.
fn name_of(kind: &str, identity: &str) -> EventId {
    let mut seed = [0; 16];
    seed.copy_from_slice(&digest(&SHA256, format!("{kind} {identity}").as_bytes()).as_ref()[..16]);
    EventId::derived(seed)
}

fn package(distribution: &Distribution, file: &PackageFile, facts: &Facts, sha256: &str) -> Package {
    Package {
        file: file.clone(),
        name: facts.name.clone(),
        version: facts.version.clone(),
        architecture: facts.architecture.clone(),
        distribution: Some(distribution.clone()),
        sha256: Some(sha256.to_owned()),
    }
}

fn of(what: &str, package: &Package) -> Value {
    json!({
        "what": what, "file": package.file, "distribution": package.distribution, "name": package.name,
        "version": package.version, "architecture": package.architecture, "sha256": package.sha256,
    })
}
