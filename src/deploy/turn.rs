//! A host's turn in a plan that several hosts follow: what is run around it, how it is taken back, and what a killed one left.

use std::path::Path;

use super::{Done, Error, Here, Request, Scene, Tell, place, run};
use crate::release::{self, Place, Record, ReleaseName};
use crate::script;

/// What is left of a request whose run was killed.
#[derive(Debug, Clone)]
pub struct Left {
    /// The release that it made, if it came so far, with what became of it.
    pub record: Option<Record>,
    /// What is live now.
    pub current: Option<ReleaseName>,
}

impl Here<'_> {
    /// Runs `drain:` of the site. `target`: the release that is to be gone back to; `None`: a deploy.
    ///
    /// # Errors
    /// It failed: nothing else is to be run but [`undrain`](Self::undrain).
    pub fn drain(&self, request: &Request, target: Option<&ReleaseName>, tell: Tell<'_>) -> Result<(), script::Error> {
        self.run_around("drain", &self.site.drain, request, target, tell)
    }

    /// Runs `undrain:` of the site.
    ///
    /// # Errors
    /// It failed: the host may get no traffic.
    pub fn undrain(
        &self,
        request: &Request,
        target: Option<&ReleaseName>,
        tell: Tell<'_>,
    ) -> Result<(), script::Error> {
        self.run_around("undrain", &self.site.undrain, request, target, tell)
    }

    fn run_around(
        &self,
        name: &str,
        words: &[String],
        request: &Request,
        target: Option<&ReleaseName>,
        tell: Tell<'_>,
    ) -> Result<(), script::Error> {
        let Some((program, args)) = words.split_first() else { return Ok(()) };
        let place = place(self.site);
        let record = match target {
            Some(target) => place.record(target),
            None => of_request(&place, &request.id),
        };
        // What can't be read is the turn's to tell.
        let current = place.current().ok().flatten();
        let release = record.as_ref().map(|record| &record.release);
        let previous = if current.as_ref() == release { last_left(&place) } else { current };
        let scene = Scene { record: record.as_ref(), previous: previous.as_ref(), rollback: target.is_some(), request };
        let log = release.map(|release| place.log(release));
        // Killed in the middle of it, what it had started ends before the next of this kind runs. To run it matters more.
        let _turn = place
            .turn(&request.who, name, true, self.stop)
            .map_err(|error| log::warn!("{name}: what a killed run left may still run: {error}"));
        let mut env = self.environment(&place, &scene);
        env.push((release::AROUND, name.into()));
        let call = script::Call {
            program: Path::new(program),
            folder: if self.site.path.is_dir() { &self.site.path } else { Path::new("/") },
            args: &args.iter().map(String::as_str).collect::<Vec<_>>(),
            env: &env,
            log: log.as_deref(),
            user: self.user,
            timeout: self.site.timeout,
            stop: self.stop,
        };
        run(&call, name, tell)
    }

    /// The release that was live last and is no more.
    pub fn last_left(&self) -> Option<ReleaseName> {
        last_left(&place(self.site))
    }

    /// As [`rollback`](Self::rollback), but only from a release that `is_ours` knows: not from what somebody made live since.
    ///
    /// # Errors
    /// [`Error::NotOurs`], and as there.
    pub fn take_back(
        &self,
        is_ours: impl Fn(&Record) -> bool,
        to: Option<&ReleaseName>,
        request: &Request,
        tell: Tell<'_>,
    ) -> Result<Done, Error> {
        let held = place(self.site).lock(&request.who, "rollback", request.wait, self.stop)?;
        match held.current()? {
            Some(current) if held.record(&current).is_some_and(|record| is_ours(&record)) => {
                self.go_back_from(&held, current, to, request, tell)
            }
            live => Err(Error::NotOurs { live }),
        }
    }

    /// What a killed run of `request` left, after what it did not finish was put in order.
    ///
    /// # Errors
    /// The site can't be read.
    pub fn left_of(&self, request: &Request) -> Result<Left, Error> {
        let place = place(self.site);
        // On hold, or with no folder yet, nothing can be put in order; what is there can be read all the same.
        let held = match place.lock(&request.who, "look what a killed run left", true, self.stop) {
            Err(release::Error::Stopped) => return Err(release::Error::Stopped.into()),
            held => held.ok(),
        };
        let left = Left { record: of_request(&place, &request.id), current: place.current()? };
        drop(held);
        Ok(left)
    }
}

/// The release that a request made; of several the last.
fn of_request(place: &Place, request: &str) -> Option<Record> {
    place.history().unwrap_or_default().into_iter().rfind(|record| record.request_id == request)
}

fn last_left(place: &Place) -> Option<ReleaseName> {
    let history = place.history().unwrap_or_default();
    let left = history.into_iter().filter(|record| record.left.is_some() && record.live_since.is_some());
    left.max_by_key(|record| record.left).map(|record| record.release)
}
