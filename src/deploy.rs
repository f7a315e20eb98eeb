//! Make one revision live on this machine, or go back to an earlier release.

mod farm;
mod in_place;
mod origin;
mod owner;
pub mod person;
mod prepare;
mod stage;
mod turn;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use owner::Owner;
pub use prepare::{Prepared, drop_prepared, fetch_missing};
pub use turn::Left;

use crate::config::{self, PostFailure, Repo, Site, SiteMode};
use crate::git;
use crate::name::{RepoName, Rev};
use crate::process::{self, Stop, User};
use crate::release::{self, Begun, Held, Part, Place, Record, ReleaseName, Step, Target};
use crate::script;
use crate::svn;
use crate::tree;
use origin::Wanted;

pub use farm::check_directories;
pub use origin::{Expected, Origin, Project};

/// Free space wanted beyond what the last release weighed: records, logs, the file system's own.
const SLACK: u64 = 1024 * 1024;

/// Why a deploy or rollback did not happen.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(transparent)]
    Release(#[from] release::Error),
    #[error(transparent)]
    Git(#[from] git::Error),
    #[error(transparent)]
    Svn(#[from] svn::remote::Error),
    #[error(transparent)]
    Reference(#[from] svn::reference::NoReference),
    #[error(transparent)]
    Farm(#[from] farm::Error),
    // Not transparent: its exit status is that of the configuration.
    #[error("{0}")]
    Config(#[from] config::Error),
    #[error(transparent)]
    Process(#[from] process::Error),
    #[error("there is no {reference} in {url}")]
    NoSuchLine { reference: String, url: String },
    #[error("{expected} was asked for, and this site's files come from {from}")]
    OtherOrigin { expected: Expected, from: String },
    #[error(
        "{reference:?} is no tag, no branch of the remote and no full commit id in {}; `failcake fetch {repo}` gets what is \
         new", path.display()
    )]
    NoSuchRef { reference: String, repo: String, path: PathBuf },
    #[error("{reference:?} was {expected} when this was asked for, and is {found} here: ask again")]
    Moved { reference: String, expected: Rev, found: Rev },
    #[error("branch {reference:?} is {found} here, which does not contain {expected}: was the branch rewritten?")]
    NotContained { reference: String, expected: Rev, found: Rev },
    #[error(
        "{} has {free} bytes and {free_files} files left, and the last release weighs {bytes} bytes and {files} files: free \
         some space first", path.display()
    )]
    NoSpace { path: PathBuf, free: u64, free_files: u64, bytes: u64, files: u64 },
    #[error("{step} failed: {why}. {}{}", serving(.live.as_ref()), log_place(log.as_deref()))]
    Step { step: Step, why: String, live: Option<ReleaseName>, log: Option<PathBuf> },
    #[error("release {release} is live, but that could not be recorded: {source}. The next run records it")]
    Unrecorded { release: ReleaseName, source: release::Error },
    #[error("rolled back to release {to}, but its post-deploy failed: {why}.{}", log_place(Some(.log)))]
    AfterRollback { to: ReleaseName, why: String, log: PathBuf },
    #[error("{why}. current/ may hold a mixture of two commits now: deploy or roll back again")]
    CheckOut { why: String },
    #[error("post-deploy failed: {why}. Release {release} is live all the same (on-post-failure: keep){}", log_place(Some(.log)))]
    Kept { release: ReleaseName, why: String, log: PathBuf },
    #[error("{} is live, which this plan did not make live: somebody deployed since", live.as_ref().map_or("nothing".to_owned(), |live| format!("release {live}")))]
    NotOurs { live: Option<ReleaseName> },
    #[error("can't prepare {} for user {user}: {source}", path.display())]
    Prepare { path: PathBuf, user: String, source: std::io::Error },
}

fn serving(live: Option<&ReleaseName>) -> String {
    live.map_or_else(|| "No release is live".into(), |live| format!("Release {live} serves on"))
}

fn log_place(log: Option<&Path>) -> String {
    log.filter(|log| log.exists()).map_or_else(String::new, |log| format!(" (what it said: {})", log.display()))
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// A tag, a branch of the remote or a full commit id.
    pub reference: String,
    /// What `reference` was where this was asked for.
    pub expected: Option<Expected>,
    /// Who asks.
    pub who: String,
    /// The request's id, for scripts and records.
    pub id: String,
    /// Wait for a deploy that is under way, instead of giving up.
    pub wait: bool,
    /// This host is the first of several.
    pub canary: bool,
    /// 1, and more when it is tried again.
    pub attempt: u32,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Done {
    /// The site.
    pub site: String,
    /// The release that is live now.
    pub release: ReleaseName,
    /// The tag, branch or commit it was deployed as.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its commit, or the [`Revision::id`](release::Revision::id) of what is no commit.
    pub commit: Option<String>,
    /// The parts of a link farm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The release that was live before.
    pub previous: Option<ReleaseName>,
    /// Releases that were removed.
    pub removed: Vec<ReleaseName>,
}

/// What would be done.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// The site.
    pub site: String,
    /// The tag, branch or commit.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Its commit, or the [`Revision::id`](release::Revision::id) of what is no commit.
    pub commit: String,
    /// The parts of a link farm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The release that would be gone back to; `None`: a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseName>,
    /// The live release.
    pub previous: Option<ReleaseName>,
    /// Its commit.
    pub previous_commit: Option<String>,
    /// `STATUS<tab>NAME` for each file that differs; empty when that can't be known.
    pub changes: Vec<String>,
}

/// What is told on the way.
#[derive(Debug, Clone, Copy)]
pub enum Said<'a> {
    /// What happens now.
    Step(&'a str),
    /// A line of a script, or of what takes the site out of its load balancer.
    Script(&'a str, &'a str),
    /// It has ended, with this exit status; `None`: it was killed, or could not be run.
    Ran(&'a str, Option<i32>),
}

/// Who is told.
pub type Tell<'a> = &'a mut dyn FnMut(Said<'_>);

/// A site on this machine, and all that a deploy needs to know of it.
#[derive(Debug, Clone, Copy)]
pub struct Here<'a> {
    /// The site.
    pub site: &'a Site,
    /// Where its files come from.
    pub repo: &'a Origin<'a>,
    /// All repositories of git: submodules come from their clones.
    pub repos: &'a BTreeMap<RepoName, Repo>,
    /// This machine's name.
    pub host: &'a str,
    /// From [`become_owner`].
    pub user: Option<&'a User>,
    /// Ends git and scripts early; the site is then as if a script had failed.
    pub stop: Option<&'a Stop>,
}

/// As root, makes the folder of a site whose user may not make it: one level, where its parent is. To be called before
/// [`become_owner`], by what is going to write there. Killed between the two steps, it leaves an empty folder of root's,
/// which the next call hands over.
///
/// # Errors
/// There is no such user, or the disk says no.
pub fn make_folder(site: &Site) -> Result<(), Error> {
    let Some(user) = User::find(site.user.as_deref())? else { return Ok(()) };
    let prepare = |source| Error::Prepare { path: site.path.clone(), user: user.name.clone(), source };
    match std::fs::create_dir(&site.path) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
            return Err(prepare(e));
        }
        _ => {}
    }
    // By descriptor, and never through a link: somebody may be exchanging the path for another meanwhile.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let Ok(folder) = OpenOptions::new().read(true).custom_flags(flags).open(&site.path) else { return Ok(()) };
    let is_roots = folder.metadata().is_ok_and(|meta| meta.uid() == 0);
    let is_empty = std::fs::read_dir(&site.path).is_ok_and(|mut names| names.next().is_none());
    if is_roots && is_empty {
        std::os::unix::fs::fchown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(prepare)?;
    }
    Ok(())
}

/// Makes this process the site's user's, for good, so that root never writes where that user could lay links.
///
/// # Errors
/// There is no such user, or this runs neither as that user nor as root.
pub fn become_owner(site: &Site) -> Result<Option<User>, Error> {
    let Some(user) = User::find(site.user.as_deref())? else { return Ok(None) };
    let prepare = |source| Error::Prepare { path: site.path.clone(), user: user.name.clone(), source };
    user.switch().map_err(prepare)?;
    Ok(Some(user))
}

/// The site's folders.
pub fn place(site: &Site) -> Place {
    match site.mode {
        SiteMode::Releases => Place::new(&site.path, site.name.as_str()),
        SiteMode::InPlace => Place::in_place(&site.path, site.name.as_str()),
    }
}

impl Here<'_> {
    /// Makes `request.reference` live. Killed at any moment, the site serves the old release or the new one, and the next
    /// run clears the rest.
    ///
    /// # Errors
    /// The old release serves on, whatever failed before the switch or in `post-deploy`.
    pub fn deploy(&self, request: &Request, tell: Tell<'_>) -> Result<Done, Error> {
        let place = place(self.site);
        let what = format!("deploy {}", request.reference.escape_debug());
        if !self.site.path.exists() {
            // A mistyped name makes no site.
            self.resolve(request)?;
            place.make()?;
        }
        let held = place.lock(&request.who, &what, request.wait, self.stop)?;
        let wanted = self.resolve(request)?;
        if let (SiteMode::InPlace, Origin::Git(repo)) = (self.site.mode, self.repo) {
            return self.deploy_in_place(&held, repo, &wanted.revision(), request, tell);
        }
        held.check_shared(&self.site.shared)?;
        check_directories(self.site)?;
        self.check_space(&held)?;
        let way_back = held.current_target()?;

        let mut record = match held.staged(&request.id)?.filter(|staged| wanted.is(staged)) {
            Some(mut staged) => {
                held.take_up(&mut staged)?;
                staged
            }
            None => self.stage(&held, &wanted, request, tell)?,
        };
        self.build(&held, &mut record, request, tell)?;
        self.go_live(&held, &mut record, way_back.as_deref(), request, tell)?;

        self.record_live(&held, &mut record, None)?;
        tell(Said::Step("live"));
        Ok(self.done(&record, record.previous.clone(), self.prune(&held, tell)))
    }

    /// Records that the release is live, and with `failed`, that its `post-deploy` failed.
    fn record_live(&self, held: &Held, record: &mut Record, failed: Option<&str>) -> Result<(), Error> {
        let recorded = (|| {
            if let Some(previous) = &record.previous {
                held.record_left(previous)?;
            }
            held.append(&release::deployed_line(record))?;
            match failed {
                None => held.record_live(record),
                Some(why) => held.record_kept(record, why),
            }
        })();
        recorded.map_err(|source| Error::Unrecorded { release: record.release.clone(), source })
    }

    fn prune(&self, held: &Held, tell: Tell<'_>) -> Vec<ReleaseName> {
        let pruned = held.prune(self.site.keep, self.site.grace);
        let pruned = pruned.and_then(|removed| held.prune_trees().map(|()| removed));
        pruned.unwrap_or_else(|error| {
            tell(Said::Step(&format!("old releases were not removed: {error}")));
            Vec::new()
        })
    }

    /// What [`deploy`](Self::deploy) would do. Touches nothing.
    ///
    /// # Errors
    /// What would be refused.
    pub fn plan(&self, request: &Request) -> Result<Plan, Error> {
        let place = place(self.site);
        let previous = place.current()?;
        place.check_hold()?;
        let wanted = self.resolve(request)?;
        place.check_shared(&self.site.shared)?;
        check_directories(self.site)?;
        let previous_commit = previous.as_ref().and_then(|name| place.commit(name));
        let changes = previous.as_ref().map(|from| self.changes(&place, from, &wanted)).unwrap_or_default();
        Ok(Plan {
            site: self.site.name.to_string(),
            reference: wanted.reference(request),
            commit: wanted.revision().id(),
            parts: if let Wanted::Farm { parts, .. } = wanted { parts } else { Vec::new() },
            release: None,
            previous,
            previous_commit,
            changes: changes.lines().map(str::to_owned).collect(),
        })
    }

    /// Switches back to `to`, or to the last release that was live and is good. Of the scripts, only `post-deploy` of that
    /// release runs.
    ///
    /// # Errors
    /// There is nothing to go back to; or it was gone back to, but its `post-deploy` failed.
    pub fn rollback(&self, to: Option<&Target>, request: &Request, tell: Tell<'_>) -> Result<Done, Error> {
        let held = place(self.site).lock(&request.who, "rollback", request.wait, self.stop)?;
        let current = held.current()?.ok_or(release::Error::NothingBefore)?;
        let to = to.map(|to| held.meant(&current, to)).transpose()?;
        self.go_back_from(&held, current, to.as_ref(), request, tell)
    }

    fn go_back_from(
        &self,
        held: &Held,
        current: ReleaseName,
        to: Option<&ReleaseName>,
        request: &Request,
        tell: Tell<'_>,
    ) -> Result<Done, Error> {
        let mut target = held.rollback_target(&current, to)?;
        if let (SiteMode::InPlace, Origin::Git(repo)) = (self.site.mode, self.repo) {
            self.check_out(held, repo, &target, tell).map_err(|why| Error::CheckOut { why })?;
            held.record_rolled_back(&current, &request.who, &target)?;
        } else {
            held.record_rolled_back(&current, &request.who, &target)?;
            held.switch(&target.release)?;
        }
        let line = release::rolled_back_line(&request.who, &target.release);
        let recorded = held.append(&line).and_then(|()| held.record_live(&mut target));
        recorded.map_err(|source| Error::Unrecorded { release: target.release.clone(), source })?;
        tell(Said::Step(&format!("release {} ({}) is live again", target.release, target.reference)));
        let scene = Scene { record: Some(&target), previous: Some(&current), rollback: true, request };
        if let Err(why) = self.run_script(held, &scene, Step::PostDeploy, self.stop, tell) {
            let (to, log) = (target.release.clone(), held.log(&target.release));
            return Err(Error::AfterRollback { to, why: why.to_string(), log });
        }
        Ok(self.done(&target, Some(current), Vec::new()))
    }

    fn done(&self, record: &Record, previous: Option<ReleaseName>, removed: Vec<ReleaseName>) -> Done {
        Done {
            site: self.site.name.to_string(),
            release: record.release.clone(),
            reference: record.reference.clone(),
            commit: record.commit.clone(),
            parts: record.parts.clone(),
            previous,
            removed,
        }
    }

    /// Room for another release like the last one? What turns out not to fit all the same fails while it is staged.
    fn check_space(&self, held: &Held) -> Result<(), Error> {
        let last = held.current()?.and_then(|name| held.record(&name));
        let (Some(last), false) = (last, held.has_spare()) else { return Ok(()) };
        let Some((free, free_files)) = tree::free(&self.site.path) else { return Ok(()) };
        let (bytes, files) = (last.bytes, last.files);
        if last.bytes > 0 && (free < bytes + SLACK || free_files < files) {
            return Err(Error::NoSpace { path: self.site.path.clone(), free, free_files, bytes, files });
        }
        Ok(())
    }

    /// From an empty folder to all the files of a release. What fails leaves `current` alone.
    fn stage(&self, held: &Held, wanted: &Wanted, request: &Request, tell: Tell<'_>) -> Result<Record, Error> {
        let (revision, reference) = (wanted.revision(), wanted.reference(request));
        let Begun { mut record, from_spare } = held.begin(&revision, &reference, &request.who, &request.id)?;
        tell(Said::Step(&format!("release {} of {reference} ({})", record.release, record.commits())));
        let written = self.write_files(held, &mut record, wanted, from_spare, tell);
        written.map_err(|why| self.failed_to_build(held, &mut record, Step::Stage, why, tell))?;
        Ok(record)
    }

    /// From a staged release to one that is prepared and durable. What fails leaves `current` alone.
    fn build(&self, held: &Held, record: &mut Record, request: &Request, tell: Tell<'_>) -> Result<(), Error> {
        let mut step = Step::Shared;
        let mut built = || -> Result<(), String> {
            held.link_shared(&record.release, &self.site.shared).map_err(text)?;
            for script in [Step::PreDeploy, Step::PreLink, Step::PostDeploy] {
                // All of them are looked at before the first one runs.
                step = script;
                self.find_script(held, &record.release, script)?;
            }
            for script in [Step::PreDeploy, Step::PreLink] {
                step = script;
                let scene =
                    Scene { record: Some(record), previous: record.previous.as_ref(), rollback: false, request };
                self.run_script(held, &scene, script, self.stop, tell).map_err(text)?;
                held.whole(&record.release).map_err(text)?;
            }
            step = Step::Switch;
            if self.stop.is_some_and(Stop::is_set) {
                return Err(release::Error::Stopped.to_string());
            }
            held.make_durable(record).map_err(text)?;
            // Again: somebody may have frozen the site while the scripts ran.
            held.check_hold().map_err(text)
        };
        built().map_err(|why| self.failed_to_build(held, record, step, why, tell))
    }

    fn failed_to_build(&self, held: &Held, record: &mut Record, step: Step, mut why: String, tell: Tell<'_>) -> Error {
        // git does not say why it could not write a file.
        if tree::free(&self.site.path).is_some_and(|(bytes, _)| bytes < SLACK / 4) {
            why.push_str(" (the disk is full: free some space)");
        }
        if matches!(step, Step::Stage | Step::Shared) {
            // Half a tree helps nobody, and a full disk needs the room.
            let _ = held.discard_staged(&record.release).and_then(|()| held.prune_trees());
        }
        self.failed(held, record, step, why, tell)
    }

    /// Switches, and runs `post-deploy`; if that fails, switches back.
    fn go_live(
        &self,
        held: &Held,
        record: &mut Record,
        way_back: Option<&Path>,
        request: &Request,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        if let Err(error) = held.switch(&record.release) {
            return Err(self.failed(held, record, Step::Switch, error.to_string(), tell));
        }
        tell(Said::Step("switched"));
        let scene = Scene { record: Some(record), previous: record.previous.as_ref(), rollback: false, request };
        let posted = self.run_script(held, &scene, Step::PostDeploy, self.stop, tell).map_err(text);
        let Err(why) = posted.and_then(|()| held.whole(&record.release).map_err(text)) else { return Ok(()) };

        if self.site.on_post_failure == PostFailure::Keep && held.whole(&record.release).is_ok() {
            self.record_live(held, record, Some(&why))?;
            return Err(Error::Kept { release: record.release.clone(), why, log: held.log(&record.release) });
        }
        // Marked first: killed before the switch back, the next run knows that the live release is bad.
        let error = self.failed(held, record, Step::PostDeploy, why, tell);
        held.switch_back(way_back)?;
        let Some(previous) = record.previous.as_ref().and_then(|name| held.record(name)) else { return Err(error) };
        tell(Said::Step(&format!("switched back to release {}", previous.release)));
        let scene = Scene { record: Some(&previous), previous: Some(&record.release), rollback: true, request };
        // Not to be stopped: it mends what the stopped one may have broken.
        if let Err(why) = self.run_script(held, &scene, Step::PostDeploy, None, tell) {
            tell(Said::Step(&format!("post-deploy of release {} failed too: {why}", previous.release)));
        }
        Err(error)
    }

    /// Records a failure; gives the error to tell.
    fn failed(&self, held: &Held, record: &mut Record, step: Step, why: String, tell: Tell<'_>) -> Error {
        if let Err(error) = held.record_failure(record, step, &why) {
            // The full disk that made it fail, most likely. The next run finds the record as it was, and clears all.
            tell(Said::Step(&format!("the failure could not be recorded: {error}")));
        }
        let scripted = matches!(step, Step::PreDeploy | Step::PreLink | Step::PostDeploy);
        let log = scripted.then(|| held.log(&record.release));
        Error::Step { step, why, live: record.previous.clone(), log }
    }

    /// A script that is missing is an error only if the site requires it.
    fn find_script(&self, held: &Held, release: &ReleaseName, step: Step) -> Result<(), String> {
        let inside = [held.release(release), held.trees()];
        let found = script::find(&self.site.scripts, &inside, step.as_str()).map_err(text)?;
        let is_required = self.site.required.iter().any(|script| script == step.as_str());
        if found.is_none() && is_required {
            let folder = held.release(release).join(&self.site.scripts);
            return Err(format!("it is required, and {} has no {step} or {step}.sh", folder.display()));
        }
        Ok(())
    }

    fn run_script(
        &self,
        held: &Held,
        scene: &Scene<'_>,
        step: Step,
        stop: Option<&Stop>,
        tell: Tell<'_>,
    ) -> Result<(), script::Error> {
        let Some(record) = scene.record else { return Ok(()) };
        let release = held.release(&record.release);
        let inside = [release.clone(), held.trees()];
        let Some(program) = script::find(&self.site.scripts, &inside, step.as_str())? else { return Ok(()) };
        let call = script::Call {
            program: &program,
            folder: &release,
            args: &["-t", scene.reference()],
            env: &self.environment(held, scene),
            log: Some(&held.log(&record.release)),
            user: self.user,
            timeout: self.site.timeout,
            stop,
        };
        run(&call, step.as_str(), tell)
    }

    fn environment(&self, place: &Place, scene: &Scene<'_>) -> Vec<(&'static str, OsString)> {
        let flag = |set: bool| OsString::from(if set { "1" } else { "0" });
        // Of a farm, scripts are told of the repository that is deployed: what else is in it stands in REVISION.
        let part = scene.record.and_then(|record| record.asked().first().copied());
        let commit_of = |name: &ReleaseName| match part {
            Some(part) => {
                let was = place.parts(name).into_iter().find(|was| was.repo == part.repo);
                was.map(|was| was.commit.to_string())
            }
            None => place.commit(name),
        };
        let previous_commit = scene.previous.and_then(commit_of);
        let commit = match part {
            Some(part) => Some(part.commit.to_string()),
            None => scene.record.and_then(|record| record.commit.clone()),
        };
        let folder = |name: Option<&ReleaseName>| name.map(|name| place.release(name).into()).unwrap_or_default();
        let parts = scene.record.filter(|_| part.is_some()).map(|it| ("FAILCAKE_PARTS", it.reference.clone().into()));
        let env = vec![
            ("FAILCAKE_SITE", self.site.name.as_str().into()),
            ("FAILCAKE_REF", scene.reference().into()),
            ("FAILCAKE_COMMIT", commit.unwrap_or_default().into()),
            ("FAILCAKE_PREVIOUS_COMMIT", previous_commit.unwrap_or_default().into()),
            ("FAILCAKE_RELEASE", folder(scene.record.map(|record| &record.release))),
            ("FAILCAKE_PREVIOUS_RELEASE", folder(scene.previous)),
            ("FAILCAKE_CURRENT", place.current_link().into()),
            ("FAILCAKE_SHARED", place.shared().into()),
            ("FAILCAKE_REPO", self.repo_for_scripts(part)),
            ("FAILCAKE_REQUEST_ID", scene.request.id.clone().into()),
            ("FAILCAKE_WHO", scene.request.who.clone().into()),
            ("FAILCAKE_HOST", self.host.into()),
            ("FAILCAKE_CANARY", flag(scene.request.canary)),
            ("FAILCAKE_ROLLBACK", flag(scene.rollback)),
            ("FAILCAKE_ATTEMPT", scene.request.attempt.to_string().into()),
        ];
        env.into_iter().chain(parts).collect()
    }
}

/// Runs a script and tells how it ended.
fn run(call: &script::Call<'_>, name: &str, tell: Tell<'_>) -> Result<(), script::Error> {
    let ran = call.run(&mut |line| tell(Said::Script(name, line)));
    tell(Said::Ran(name, ran.as_ref().map_or_else(script::Error::exit, |()| Some(0))));
    ran
}

/// What a script is told of.
struct Scene<'a> {
    /// Its release; `None`: there is none yet.
    record: Option<&'a Record>,
    previous: Option<&'a ReleaseName>,
    rollback: bool,
    request: &'a Request,
}

impl Scene<'_> {
    /// Of a farm, the tag alone, as scripts always knew it.
    fn reference(&self) -> &str {
        match self.record {
            Some(record) => record.asked().first().map_or(&record.reference, |part| &part.reference),
            None => &self.request.reference,
        }
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
