//! Packages are taken in here, one run at a time: take, include, (the caller tells the bus), close.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::folder::{Folder, with_end};
use super::incoming::{self, Found, Shelf};
use super::job::{State, Work};
use super::upload::{Not, Stamp, Upload, is_changes};
use super::{Error, Facts, Repository, at, named, one_line};
use crate::config::Packages;
use crate::name::Distribution;
use crate::process::Stop;

pub use super::job::{Item, Job};

/// How long a run waits for another's end.
const TURN: Duration = Duration::from_secs(10);
/// Jobs that are given to reprepro, and told, at a time.
const BATCH: usize = 100;

/// The right to take packages in.
#[derive(Debug)]
pub struct Desk<'a> {
    packages: &'a Packages,
    repository: Repository<'a>,
    work: Work,
    stop: &'a Stop,
}

/// Why something was not taken.
#[derive(Debug)]
pub enum Trouble {
    /// It is not whole yet.
    Waits {
        /// Which.
        file: String,
        /// Where.
        distribution: Distribution,
        /// What is missing.
        why: String,
    },
    /// It never will be.
    Refused(Refusal),
    /// The disk or the machine says no; it is where it was.
    Failed(Error),
}

/// Something that is no upload.
#[derive(Debug)]
pub struct Refusal {
    /// Which.
    pub file: String,
    /// Where it was to go.
    pub distribution: Distribution,
    /// Why not.
    pub why: String,
    /// The same for the same file, however often it is looked at.
    pub identity: String,
    /// Where it lies, and what goes with it.
    place: Option<(Folder, Vec<OsString>)>,
}

/// What became of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The distribution has it.
    Served,
    /// The distribution had it, and has a newer one that came with it.
    Replaced,
    /// The distribution has it not, and why.
    Refused(String),
}

/// What became of a job.
#[derive(Debug)]
pub struct Verdict {
    /// Which.
    pub job: Job,
    /// Its packages, in the job's order.
    pub fates: Vec<Fate>,
    /// Why all of it was refused.
    pub refused: Option<String>,
}

impl Verdict {
    /// Its packages, each with what became of it.
    pub fn packages(&self) -> impl Iterator<Item = (&Item, &Facts, &Fate)> {
        self.job.packages().zip(&self.fates).map(|((item, facts), fate)| (item, facts, fate))
    }

    /// Why nothing of it was taken, in one line; `None`: something was.
    pub fn reason(&self) -> Option<String> {
        let why = |fate: &Fate| match fate {
            Fate::Refused(why) => Some(why.clone()),
            _ => None,
        };
        if self.refused.is_some() || self.fates.is_empty() {
            return self.refused.clone();
        }
        Some(self.fates.iter().map(why).collect::<Option<Vec<_>>>()?.join("; "))
    }
}

impl<'a> Desk<'a> {
    /// Waits a moment for its turn; `None`: another has it, and takes what is there.
    ///
    /// # Errors
    /// [`Error::Io`]: the repository is not there, or may not be written to.
    pub fn open(packages: &'a Packages, base: &Path, stop: &'a Stop) -> Result<Option<Desk<'a>>, Error> {
        let Some(work) = Work::open(base, TURN, stop)? else { return Ok(None) };
        let (running, timeout) = (work.path("running"), packages.timeout);
        let repository = Repository { base: base.to_owned(), running, timeout, stop };
        repository.clear_stale_lock()?;
        Ok(Some(Desk { packages, repository, work, stop }))
    }

    /// Finishes what an earlier run had begun to put away; why some of it could not be.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn tidy(&self) -> Result<Vec<Error>, Error> {
        // Before anything is taken, or an upload would be taken twice.
        let taken = self.work.jobs(State::Taken)?.into_iter().map(|job| self.work.remove_originals(&job));
        let told = self.work.jobs(State::Told)?.into_iter().map(|job| self.archive(&job).map(drop));
        let refused = self.work.jobs(State::Refused)?.into_iter().map(|job| self.give_back(&job).map(drop));
        Ok(taken.chain(told).chain(refused).filter_map(Result::err).collect())
    }

    /// Takes files that somebody named: copies, the files stay theirs. What is wrong with those that it does not take.
    ///
    /// # Errors
    /// There is no such distribution, or the repository has to be seen to.
    pub fn take_named(&self, distribution: &Distribution, files: &[PathBuf]) -> Result<Vec<Trouble>, Error> {
        self.repository.probe(distribution)?;
        let take = |file: &PathBuf| {
            let taken = named::open(file).and_then(|upload| self.fill(upload, distribution, None));
            match taken.err()? {
                Not::Now(error) => Some(Trouble::Failed(error)),
                Not::Yet(why) | Not::Ever(why) => Some(Trouble::Refused(Refusal {
                    file: one_line(&file.to_string_lossy(), 300),
                    distribution: distribution.clone(),
                    why,
                    identity: uuid::Uuid::now_v7().to_string(),
                    place: None,
                })),
            }
        };
        Ok(files.iter().filter_map(take).collect())
    }

    /// Takes what lies in `INCOMING/DIST/` and is whole.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn take_incoming(&self, incoming: &Path) -> Result<Vec<Trouble>, Error> {
        let (shelves, errors) = incoming::look(incoming, self.packages.rest, self.stop)?;
        let mut troubles: Vec<Trouble> = errors.into_iter().map(Trouble::Failed).collect();
        for shelf in shelves {
            // What can't go any further is left where people see it.
            let open = || {
                self.repository.probe(&shelf.distribution)?;
                self.archive_of(&shelf.distribution, Some(&shelf.folder), false)
            };
            if shelf.found.is_empty() {
                continue;
            }
            let archive = match open() {
                Ok(archive) => archive,
                Err(Error::Stopped) => return Err(Error::Stopped),
                Err(error) => {
                    troubles.push(Trouble::Failed(error));
                    continue;
                }
            };
            for found in &shelf.found {
                if shelf.spoken_for.contains(&found.name) {
                    continue;
                }
                match self.take_found(incoming, &shelf, found, archive.as_ref()) {
                    Ok(()) => {}
                    Err(Not::Now(Error::Stopped)) => return Err(Error::Stopped),
                    Err(not) => troubles.push(self.trouble(&shelf, found, not)?),
                }
            }
        }
        Ok(troubles)
    }

    fn take_found(&self, incoming: &Path, shelf: &Shelf, found: &Found, archive: Option<&Folder>) -> Result<(), Not> {
        if found.is_odd {
            return Err(Not::Ever("it is a link or a folder, no file: put the file itself there".to_owned()));
        }
        let upload = Upload::open(&shelf.folder, &found.name, archive)?;
        if upload.parts[0].stamp != found.stamp {
            return Err(Not::Yet("it changed a moment ago".to_owned()));
        }
        let job = self.fill(upload, &shelf.distribution, Some(incoming))?;
        self.work.remove_originals(&job).map_err(|error| {
            // It would be taken again and again. Its first file is the first to be removed.
            if Stamp::at(&shelf.folder, &found.name).is_some_and(|stamp| stamp.is_same(&found.stamp)) {
                let _ = self.work.forget(&job, State::Taken);
            }
            Not::Now(error)
        })
    }

    fn fill(&self, upload: Upload, distribution: &Distribution, incoming: Option<&Path>) -> Result<Job, Not> {
        self.work.fill(upload, distribution, incoming, self.packages.timeout, self.stop)
    }

    /// What is not whole for too long never will be.
    fn trouble(&self, shelf: &Shelf, found: &Found, not: Not) -> Result<Trouble, Error> {
        let file = one_line(&found.name.to_string_lossy(), 300);
        let age = SystemTime::now().duration_since(found.stamp.changed()).unwrap_or_default();
        let why = match not {
            Not::Now(error) => return Ok(Trouble::Failed(error)),
            Not::Yet(why) if age < self.packages.patience => {
                return Ok(Trouble::Waits { file, distribution: shelf.distribution.clone(), why });
            }
            Not::Yet(why) => format!("not whole for {} s: {why}", age.as_secs()),
            Not::Ever(why) => why,
        };
        let mut names = vec![found.name.clone()];
        if !found.is_odd && is_changes(&found.name) {
            names.extend(incoming::named_in(&shelf.folder, &found.name));
        }
        let folder = Folder::open(&shelf.folder.path).map_err(at("open", &shelf.folder.path))?;
        let identity = format!("{:?} {:?}", found.name, found.stamp);
        Ok(Trouble::Refused(Refusal {
            file,
            distribution: shelf.distribution.clone(),
            why,
            identity,
            place: Some((folder, names)),
        }))
    }

    /// Puts what is no upload out of the way, with the reason beside it.
    ///
    /// # Errors
    /// [`Error::Io`]; it is where it was.
    pub fn set_aside(&self, refusal: &Refusal) -> Result<(), Error> {
        let Some((folder, names)) = &refusal.place else { return Ok(()) };
        put_refused(folder, folder, names, &refusal.why)
    }

    /// What was taken, by distribution, in batches.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn batches(&self) -> Result<Vec<(Distribution, Vec<Job>)>, Error> {
        let mut all: BTreeMap<Distribution, Vec<Job>> = BTreeMap::new();
        for job in self.work.jobs(State::Taken)? {
            all.entry(job.distribution().clone()).or_default().push(job);
        }
        let mut batches = Vec::new();
        for (distribution, mut jobs) in all {
            while !jobs.is_empty() {
                let rest = jobs.split_off(jobs.len().min(BATCH));
                batches.push((distribution.clone(), std::mem::replace(&mut jobs, rest)));
            }
        }
        Ok(batches)
    }

    /// Gives jobs of one distribution to reprepro; what became of each. It is to be told, and then to be
    /// [closed](Self::close).
    ///
    /// # Errors
    /// The repository or the machine has to be seen to; the jobs wait for the next run.
    pub fn include(&self, distribution: &Distribution, jobs: Vec<Job>) -> Result<Vec<Verdict>, Error> {
        if jobs.iter().any(|job| job.is_old) {
            self.repository.probe(distribution)?;
        }
        let mut including = Including { desk: self, distribution, said: String::new(), failed: BTreeMap::new() };
        including.debs(&jobs)?;
        including.changes(&jobs)?;
        let Including { said, failed, .. } = including;
        // After a failure the database may have what the indices have not; the same of an earlier run that was killed, or
        // could not sign: to that reprepro says "Skipping", and nothing is wrong in its eyes. And when it can't be
        // exported, the packages were not at fault: nothing is said of them.
        if !failed.is_empty() || said.contains("Skipping inclusion") || jobs.iter().any(|job| job.is_old) {
            self.repository.export(distribution)?;
        }
        let mut names: Vec<_> = jobs.iter().flat_map(Job::packages).map(|(_, facts)| &facts.name).collect();
        names.sort_unstable();
        names.dedup();
        let served = self.repository.served(distribution, &names)?;
        let brought: Vec<String> = jobs
            .iter()
            .flat_map(Job::packages)
            .map(|(item, facts)| format!("{} {}", facts.name, item.sha256))
            .collect();
        let fate = |item: &Item, facts: &Facts| {
            let mut found = served.iter().filter(|served| served.name == facts.name.as_str());
            if found.clone().any(|served| served.version == facts.version.as_str() && served.sha256 == item.sha256) {
                return Fate::Served;
            }
            if found.any(|served| brought.contains(&format!("{} {}", served.name, served.sha256))) {
                return Fate::Replaced;
            }
            let begin = format!("Skipping inclusion of '{}' '{}' ", facts.name, facts.version);
            let line = said.lines().find(|line| line.starts_with(&begin));
            Fate::Refused(
                line.map_or_else(|| format!("reprepro took it, and {distribution} has it not"), str::to_owned),
            )
        };
        let verdict = |job: Job| {
            let refused = failed.get(job.id()).cloned();
            let judge = |(item, facts): (&Item, &Facts)| match &refused {
                Some(why) => Fate::Refused(why.clone()),
                None => fate(item, facts),
            };
            Verdict { fates: job.packages().map(judge).collect(), refused, job }
        };
        Ok(jobs.into_iter().map(verdict).collect())
    }

    /// After the bus was told: puts its files where they belong; that folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`tidy`](Self::tidy) of the next run does it then. It is not told again.
    pub fn close(&self, verdict: &Verdict) -> Result<Option<PathBuf>, Error> {
        match verdict.reason() {
            None => {
                self.work.step(&verdict.job, State::Told, None)?;
                self.archive(&verdict.job)
            }
            Some(reason) => {
                self.work.step(&verdict.job, State::Refused, Some(&reason))?;
                self.give_back(&verdict.job)
            }
        }
    }

    fn archive(&self, job: &Job) -> Result<Option<PathBuf>, Error> {
        let origin = job.origin().transpose()?;
        let archive = self.archive_of(job.distribution(), origin.as_ref(), true)?;
        if let Some(archive) = &archive {
            let copies = self.work.copies(job, State::Told)?;
            for name in copies.names().map_err(at("list", &copies.path))? {
                if !job.lies_in_archive(&name) {
                    copies.move_to(&name, archive, &name).map_err(at("move a file to", &archive.path))?;
                }
            }
        }
        self.work.forget(job, State::Told)?;
        Ok(archive.map(|folder| folder.path))
    }

    /// The folder that the distribution's archive is; `None`: there is none, or not yet.
    fn archive_of(
        &self,
        distribution: &Distribution,
        origin: Option<&Folder>,
        make: bool,
    ) -> Result<Option<Folder>, Error> {
        let (above, name) = match (&self.packages.archive, origin) {
            (Some(archive), _) => (Folder::open(archive).map_err(at("open", archive))?, distribution.as_str()),
            (None, Some(origin)) => (Folder::open(&origin.path).map_err(at("open", &origin.path))?, "archive"),
            (None, None) => return Ok(None),
        };
        let path = above.path.join(name);
        let found = if make { above.make_below(OsStr::new(name)) } else { above.below(OsStr::new(name)) };
        match found {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if !make && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("open", &path)(error)),
        }
    }

    /// Refused files go back to where they came from; of what somebody named there is nothing to give back.
    fn give_back(&self, job: &Job) -> Result<Option<PathBuf>, Error> {
        let mut place = None;
        if let Some(origin) = job.origin().transpose()? {
            let copies = self.work.copies(job, State::Refused)?;
            let names = copies.names().map_err(at("list", &copies.path))?;
            // The one that the reason stands beside comes first.
            let main = OsString::from(job.file().as_str());
            let (mut first, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == main);
            first.extend(others);
            put_refused(&copies, &origin, &first, self.work.reason(job)?.trim_end())?;
            place = Some(origin.path.join("refused"));
        }
        self.work.forget(job, State::Refused)?;
        Ok(place)
    }
}

/// Moves files from `from` to the folder `refused` of `origin`, the first with the reason beside it. That is written
/// before: killed between the two, the next call finds it there and goes on.
fn put_refused(from: &Folder, origin: &Folder, names: &[OsString], reason: &str) -> Result<(), Error> {
    let folder = origin.make_below(OsStr::new("refused")).map_err(at("make", &origin.path.join("refused")))?;
    let text = format!("{}\n", one_line(reason, 4000));
    for (place, name) in names.iter().enumerate() {
        if from.stat(name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            continue;
        }
        let to = match place {
            0 => explain(&folder, name, &text).map_err(at("write a reason in", &folder.path))?,
            _ => name.clone(),
        };
        from.move_to(name, &folder, &to).map_err(at("move a file to", &folder.path))?;
    }
    Ok(())
}

/// Writes `NAME.reason`, or `NAME.1.reason` where there is such a file already; the file's name then.
fn explain(folder: &Folder, name: &OsStr, text: &str) -> io::Result<OsString> {
    let mut to = name.to_owned();
    for number in 1.. {
        let reason = with_end(&to, ".reason");
        let said = folder.read(&reason).and_then(io::read_to_string).ok();
        if folder.stat(&to).is_err() && said.as_deref().is_none_or(|said| said == text) {
            if said.is_none() {
                folder.put(&reason, |file| io::Write::write_all(file, text.as_bytes()))?;
            }
            break;
        }
        to = with_end(name, &format!(".{number}"));
    }
    Ok(to)
}

/// One batch on its way through reprepro.
struct Including<'a> {
    desk: &'a Desk<'a>,
    distribution: &'a Distribution,
    /// Its words of success.
    said: String,
    /// By the job: why it was refused.
    failed: BTreeMap<String, String>,
}

impl Including<'_> {
    /// Packages of a kind all at once, so that the indices are written and signed once; if that fails, one by one, to know
    /// which it was.
    fn debs(&mut self, jobs: &[Job]) -> Result<(), Error> {
        for is_udeb in [false, true] {
            let of_kind = |job: &&Job| !job.is_changes() && job.file().as_str().ends_with(".udeb") == is_udeb;
            let jobs: Vec<&Job> = jobs.iter().filter(of_kind).collect();
            let include = |files: &[PathBuf]| match is_udeb {
                true => self.desk.repository.include_udebs(self.distribution, files),
                false => self.desk.repository.include_debs(self.distribution, files),
            };
            let files: Vec<PathBuf> = jobs.iter().map(|job| self.desk.work.file(job, &job.items()[0])).collect();
            if files.is_empty() {
                continue;
            }
            match include(&files) {
                Ok(said) => self.said.push_str(&said),
                Err(error) if !error.is_of_the_package() => return Err(error),
                Err(_) => {
                    let each: Vec<_> = files.iter().map(|file| include(std::slice::from_ref(file))).collect();
                    for (job, included) in jobs.iter().zip(each) {
                        self.note(job, included)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn changes(&mut self, jobs: &[Job]) -> Result<(), Error> {
        for job in jobs.iter().filter(|job| job.is_changes()) {
            let file = self.desk.work.file(job, &job.items()[0]);
            self.note(job, self.desk.repository.include_changes(self.distribution, &file))?;
        }
        Ok(())
    }

    fn note(&mut self, job: &Job, included: Result<String, Error>) -> Result<(), Error> {
        match included {
            Ok(said) => self.said.push_str(&said),
            Err(error) if error.is_of_the_package() => {
                // The file's name is enough for people.
                let file = self.desk.work.file(job, &job.items()[0]);
                let folder = format!("{}/", file.parent().unwrap_or(&file).display());
                self.failed.insert(job.id().to_owned(), error.to_string().replace(&folder, ""));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
