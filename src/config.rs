//! The configuration: the one reader of files and environment.
//!
//! [`Source`] knows which file counts; [`Source::bus`] reads what an emitter needs from the main file alone, however
//! many drop-ins there are; [`Source::load`] reads everything. A drop-in can therefore not hold the keys of [`Bus`].
//!
//! Which files: `-c FILE` or `$FAILCAKE_CONFIG` and then nothing else; else, for anyone but root, a person's own
//! `$XDG_CONFIG_HOME/failcake/failcake.yaml`; else `/etc/failcake/failcake.yaml` and `/etc/failcake/conf.d/*.yaml` in
//! the order of their names. No file at all is no mistake: the defaults are a broker on this machine.
//!
//! Such a file may also be one of the Ruby daemons' of 2012: `config/legacy.rs` knows them.
//!
//! How drop-ins merge: of a single value the later file's counts; entries of `repos:`, `sites:`, `inventory:`,
//! `access:` and `jenkins: projects:` are joined by name, and of one name in two files the later file's keys count, key
//! by key; the lists `allow:`, `keepalive:` and `packages: interest:` grow.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{Distribution, Glob, NodeName, RepoName, SiteName};
use crate::stomp::url::BrokerUrl;

mod effective;
mod facts;
mod farm;
mod file;
mod jenkins;
mod legacy;
mod mistake;
mod show;
mod svn;
#[cfg(test)]
mod tests;
mod trust;
mod word;

pub use effective::DEFAULT_SPOOL;
pub use farm::{Directory, Farm, Placed};
pub use jenkins::{Jenkins, JobName, Pattern, Project, Template, Word};
pub use legacy::{Import, WriteError, import};
pub use svn::{Externals, SvnRepo};
pub use trust::{Allow, Signing};
pub use word::{nearest, parse_duration, parse_size};

/// Which files make the configuration. Nothing is read before [`bus`](Self::bus) or [`load`](Self::load).
#[derive(Debug, Clone)]
pub struct Source {
    /// `-c FILE`.
    pub file: Option<PathBuf>,
}

/// The environment, so that tests can have one of their own. An empty variable is an unset one.
type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where the machine's own configuration is.
const MACHINE: &str = "/etc/failcake";

impl Source {
    /// What an emitter needs, from the main file and the environment. A mistake in a part of the file that it does not
    /// need (a site's, a repository's) is left for [`load`](Self::load) to tell: it costs no hook its event.
    ///
    /// # Errors
    /// The file can't be read or says something that is not allowed; file and line are in the message.
    pub fn bus(&self) -> Result<Bus, Error> {
        self.bus_in(&process_env, Path::new(MACHINE))
    }

    /// Everything, drop-ins included.
    ///
    /// # Errors
    /// As [`bus`](Self::bus).
    pub fn load(&self) -> Result<Config, Error> {
        self.load_in(&process_env, Path::new(MACHINE))
    }

    fn bus_in(&self, env: Env, machine: &Path) -> Result<Bus, Error> {
        let mut main = match self.main_file(env, machine)?.path {
            Some(path) => file::File::<false>::read(&path)?,
            None => file::File::default(),
        };
        main.bus(env)
    }

    fn load_in(&self, env: Env, machine: &Path) -> Result<Config, Error> {
        let main = self.main_file(env, machine)?;
        let mut all = file::File::<true>::default();
        let mut files = Vec::new();
        if let Some(path) = main.path {
            all = file::File::read(&path)?;
            files.push(path);
        }
        for path in main.drop_ins.map(|folder| drop_ins(&folder)).transpose()?.unwrap_or_default() {
            all.merge(file::File::read_drop_in(&path)?);
            files.push(path);
        }
        all.config(env, files)
    }

    /// Which file is the main one, if any, and which folder's drop-ins count.
    fn main_file(&self, env: Env, machine: &Path) -> Result<Main, Error> {
        if let Some(path) = self.file.clone().or_else(|| env("FAILCAKE_CONFIG").map(PathBuf::from)) {
            return Ok(Main { path: Some(path), drop_ins: None });
        }
        if !nix::unistd::geteuid().is_root() {
            // The XDG specification: a relative path is to be ignored.
            let folder = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
            let folder = folder.or_else(|| home(env).map(|home| home.join(".config")));
            if let Some(path) = folder.map(|folder| folder.join("failcake/failcake.yaml"))
                && exists(&path)?
            {
                return Ok(Main { path: Some(path), drop_ins: None });
            }
        }
        let path = machine.join("failcake.yaml");
        Ok(Main { path: exists(&path)?.then_some(path), drop_ins: Some(machine.join("conf.d")) })
    }
}

struct Main {
    path: Option<PathBuf>,
    drop_ins: Option<PathBuf>,
}

/// A file that is there and can't be looked at is an error: to go on without it would mean other settings than asked.
fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| Error(format!("can't look for the configuration {}: {error}", path.display())))
}

fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |error| Error(format!("can't list the drop-ins in {}: {error}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        // Hidden ones are an editor's or a package manager's half-written files.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "yaml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// `$HOME`, or what passwd says where a hook is run without it.
fn home(env: Env) -> Option<PathBuf> {
    env("HOME").map(PathBuf::from).or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten()?;
        Some(user.dir)
    })
}

/// What is wrong with the configuration, where, and what to do. Exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// How to reach the bus and what its topics are called: all that an emitter needs.
#[derive(Debug, Clone)]
pub struct Bus {
    /// `$FAILCAKE_BROKER` or `broker:`; default `stomp://localhost:61613`.
    pub broker: BrokerUrl,
    /// Trust and verification for `stomp+ssl://`.
    pub tls: Tls,
    /// `$FAILCAKE_PASSCODE`, `passcode-file:` or `passcode:`; used for hosts whose URL has none.
    pub passcode: Option<Secret>,
    /// `vhost:`, for hosts whose URL has none; default `/`.
    pub vhost: String,
    /// `heart-beat:`; default 10 s.
    pub heart_beat: Duration,
    /// `budget:` one emission may take for all hosts together; default 2 s.
    pub budget: Duration,
    /// `prefix:` and `topics:`.
    pub topics: Topics,
    /// `$FAILCAKE_SPOOL` or `spool:`, where events wait.
    pub spool: SpoolPlace,
}

/// Trust for TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// `ca-file:` PEM; only these roots count then. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// `tls-verify: false` turns verification off (`insecure` in messages).
    pub verify: bool,
}

/// Text that no message, log or `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file that holds a [`Secret`]. It is opened by whoever needs it: others may not even be allowed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFile(pub PathBuf);

impl SecretFile {
    /// The secret, without a trailing newline.
    ///
    /// # Errors
    /// It can't be read, is empty, or is no text.
    pub fn read(&self) -> Result<Secret, Error> {
        let text = file::read_text(&self.0, "secret file")?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err(Error(format!("the secret file {} is empty: write the secret into it", self.0.display())));
        }
        Ok(Secret(text.to_owned()))
    }
}

/// A [`Secret`] in a file of its own or, from an old configuration, in the configuration itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file.
    File(SecretFile),
    /// Here.
    Here(Secret),
}

impl SecretPlace {
    /// The secret.
    ///
    /// # Errors
    /// As [`SecretFile::read`].
    pub fn read(&self) -> Result<Secret, Error> {
        match self {
            SecretPlace::File(file) => file.read(),
            SecretPlace::Here(secret) => Ok(secret.clone()),
        }
    }
}

/// Where the spool is and how much it may hold.
#[derive(Debug, Clone)]
pub struct SpoolPlace {
    /// The parent of the folders per uid; default `/var/spool/failcake`. Where it is missing, [`crate::spool`] takes
    /// the user's own state folder.
    pub parent: PathBuf,
    /// `spool-max-count:` entries of one user; default 10,000.
    pub max_count: usize,
    /// `spool-max-bytes:` of one user; default 256 MiB.
    pub max_bytes: u64,
}

/// The destinations, after `prefix:` and `topics:`.
#[derive(Debug, Clone)]
pub struct Topics {
    /// `prefix:`, default `failcake`.
    pub prefix: String,
    /// `topics:` by key, as configured.
    pub renamed: BTreeMap<String, String>,
}

impl Topics {
    /// Every key with what follows `/topic/PREFIX.` by default.
    pub const KEYS: [(&str, &str); 16] = [
        ("commits", "git.commits"),
        ("jenkins-started", "jenkins.started"),
        ("jenkins-success", "jenkins.success"),
        ("jenkins-failure", "jenkins.failure"),
        ("packages", "package.updates"),
        ("access", "access.stage"),
        ("deploy-requests", "deploy.requests"),
        ("deploy-replies", "deploy.replies"),
        ("events-git", "events.gitolite"),
        ("events-svn", "events.svnserver"),
        ("events-webhook", "events.gitlab"),
        ("events-jenkins", "events.jenkins"),
        ("events-repository", "events.repository"),
        ("events-fetch", "events.stomp-git"),
        ("events-access", "events.stageaccess"),
        ("events-deploys", "events.deploys"),
    ];

    /// The destination for a key of [`KEYS`](Self::KEYS) (`commits`, `jenkins-success`, `events-git`, …).
    ///
    /// # Panics
    /// On a key that the table does not have: keys are literals in this program.
    pub fn get(&self, key: &str) -> String {
        if let Some(renamed) = self.renamed.get(key) {
            return renamed.clone();
        }
        match Topics::KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, rest)) => format!("/topic/{}.{rest}", self.prefix),
            None => panic!("no topic is called {key:?}"),
        }
    }
}

/// Everything.
#[derive(Debug, Clone)]
pub struct Config {
    /// What emitters need too.
    pub bus: Bus,
    /// `durable:` subscriptions; default false.
    pub durable: bool,
    /// `reconcile:`; default 5 min.
    pub reconcile: Duration,
    /// `repos:` of git.
    pub repos: BTreeMap<RepoName, Repo>,
    /// `repos:` of Subversion.
    pub svn: BTreeMap<RepoName, SvnRepo>,
    /// `sites:`.
    pub sites: BTreeMap<SiteName, Site>,
    /// `node:`; default the host name up to its first dot.
    pub node: NodeName,
    /// `inventory:`.
    pub inventory: BTreeMap<NodeName, Machine>,
    /// `signing:`.
    pub signing: Signing,
    /// `facts-file:` YAML or JSON, names and values that `--on` can ask for.
    pub facts_file: Option<PathBuf>,
    /// `allow:`; nobody may deploy or grant access over the bus when it is empty.
    pub allow: Vec<Allow>,
    /// `keepalive:`.
    pub keepalive: Vec<Keepalive>,
    /// `webhook:`.
    pub webhook: Webhook,
    /// `access:`.
    pub access: BTreeMap<SiteName, Access>,
    /// `packages:`.
    pub packages: Packages,
    /// `jenkins:`.
    pub jenkins: Jenkins,
    /// The files that were read, in order.
    pub files: Vec<PathBuf>,
}

/// One of `repos:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Repo {
    /// Name on the bus.
    pub name: RepoName,
    /// `path:` of the clone, absolute.
    pub path: PathBuf,
    /// `url:` to clone from when there is none; where webhooks find the name.
    pub url: Option<String>,
    /// `user:` who owns the clone.
    pub user: Option<String>,
    /// `mode:`; default `fetch`.
    pub mode: Mode,
    /// `target:` of modes that publish; there when [`Mode::has_target`].
    pub target: Option<PathBuf>,
    /// `branch:` for mode `branch` and `in-place`.
    pub branch: Option<String>,
    /// `listen:` topic key; default `commits`.
    pub listen: String,
    /// `timeout:` of one git call; default 10 min.
    pub timeout: Duration,
    /// `secret-file:` for webhooks of this repository.
    pub webhook_secret: Option<SecretFile>,
    /// `only:` patterns of branches or tags that are published; empty: all.
    pub only: Vec<Glob>,
    /// `ignore:` patterns of those that are not.
    pub ignore: Vec<Glob>,
    /// `prefix:` of the published directories' names; default none.
    pub prefix: String,
    /// `names:`.
    pub names: DirNames,
    /// `force:` mode `in-place` overwrites local changes; default false.
    pub force: bool,
    /// `grace:` for a replaced tree; default 60 s.
    pub grace: Duration,
    /// `exec:` around each publication.
    pub exec: Exec,
}

/// Which characters a published directory's name may have; others become `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DirNames {
    /// Letters, digits and `.`, `_`, `-`, `+`, `@`, `=`, `,`, with none of `.` and `-` in front.
    #[default]
    Plain,
    /// `A-Z`, `a-z`, `0-9` and `_`, as Puppet wants its environments.
    Puppet,
}

/// `exec:` of a repository: programs that are run around the publication of each directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// `before:` program and arguments; a failure keeps the old directory.
    pub before: Vec<String>,
    /// `after:` program and arguments.
    pub after: Vec<String>,
    /// `timeout:` of one run; default 5 min.
    pub timeout: Duration,
    /// `retries:` of one that failed, with a growing wait between them; default 2.
    pub retries: u32,
}

/// What `fetch` does with a repository beside fetching it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing more (old name `normal`).
    Fetch,
    /// One branch to `target` (old name `trusting`: the default branch).
    Branch,
    /// `git checkout -f` in the work tree (old name `dangerous`).
    InPlace,
    /// Each branch to `target/<branch>` (old name `puppetmaster`).
    Branches,
    /// Each branch to `target_<branch>` (old name `atomic`).
    BranchesFlat,
    /// Each tag to `target/<tag>`.
    Tags,
}

impl Mode {
    /// Does it publish to `target:`?
    pub fn has_target(self) -> bool {
        matches!(self, Mode::Branch | Mode::Branches | Mode::BranchesFlat | Mode::Tags)
    }
}

/// One of `sites:`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Site {
    /// Name.
    pub name: SiteName,
    /// `repo:`, one of `repos:`; of a farm, its first one.
    pub repo: RepoName,
    /// `farm:`, instead of one repository.
    pub farm: Option<Farm>,
    /// `path:` that holds `releases/`, `current`, `shared/`, `revisions.log`; absolute.
    pub path: PathBuf,
    /// `user:` who owns the releases and runs the scripts.
    pub user: Option<String>,
    /// `keep:` good releases; default 5.
    pub keep: usize,
    /// `shared:` paths linked from `shared/`; relative, checked.
    pub shared: Vec<PathBuf>,
    /// `scripts:` folder; default `deploy/`, relative to the release or absolute.
    pub scripts: PathBuf,
    /// `grace:`; default 60 s.
    pub grace: Duration,
    /// `timeout:` of one script; default 10 min.
    pub timeout: Duration,
    /// `mode:`; default `releases`.
    pub mode: SiteMode,
    /// `required:` scripts, of [`SCRIPTS`], without which nothing is deployed.
    pub required: Vec<String>,
    /// `on-post-failure:`; default `switch-back`.
    pub on_post_failure: PostFailure,
    /// `drain:` program and arguments, run before the host's turn in a deploy on several hosts.
    pub drain: Vec<String>,
    /// `undrain:` program and arguments, run after it, whatever happened.
    pub undrain: Vec<String>,
}

/// How a site is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SiteMode {
    /// A folder for each release, and a link that is switched.
    Releases,
    /// `git checkout -f` into the one folder that is served: whoever looks meanwhile sees a mixture.
    InPlace,
}

/// What a `post-deploy` that fails leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PostFailure {
    /// The release before is live again.
    SwitchBack,
    /// The new one stays live, marked as failed.
    Keep,
}

/// The scripts of a deploy, in their order.
pub const SCRIPTS: [&str; 3] = ["pre-deploy", "pre-link", "post-deploy"];

/// One of `inventory:`: a machine that is expected on the bus.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// `groups:` for `--on`.
    pub groups: Vec<String>,
    /// `facts:` for `--on`.
    pub facts: BTreeMap<String, String>,
}

/// One of `keepalive:`.
#[derive(Debug, Clone)]
pub struct Keepalive {
    /// Where the beat goes.
    pub destination: String,
    /// `broker:` of its own.
    pub broker: Option<BrokerUrl>,
    /// `passcode-file:` of its own.
    pub passcode: Option<SecretFile>,
}

/// `webhook:`.
#[derive(Debug, Clone, Default)]
pub struct Webhook {
    /// `secret-file:` for all repositories without their own.
    pub secret: Option<SecretFile>,
}

/// One of `access:`: a file of temporary logins.
#[derive(Debug, Clone)]
pub struct Access {
    /// `type:`.
    pub kind: AccessKind,
    /// `file:`, absolute.
    pub file: PathBuf,
    /// `check:` program and arguments that say whether a new file is good; `{file}` is the new one before it counts.
    pub check: Vec<String>,
    /// `reload:` program and arguments that make a new file count.
    pub reload: Vec<String>,
    /// `accept-cleartext:` logins that nobody signed, as the old tools send them; default false.
    pub accept_cleartext: bool,
}

/// Whose format an [`Access`] file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKind {
    /// `auth_basic_user_file`.
    Nginx,
    /// A `userlist`.
    Haproxy,
}

/// `packages:`.
#[derive(Debug, Clone)]
pub struct Packages {
    /// `repository:` reprepro's base, absolute.
    pub repository: Option<PathBuf>,
    /// `incoming:` folder of `DIST/*.deb`, absolute.
    pub incoming: Option<PathBuf>,
    /// `archive:` folder where `DIST/FILE` is kept of what was taken, absolute; `None`: `incoming/DIST/archive`.
    pub archive: Option<PathBuf>,
    /// `user:` who owns the repository.
    pub user: Option<String>,
    /// `rest:` so long must an upload that came just now lie untouched; default 2 s.
    pub rest: Duration,
    /// `patience:` with an upload that is not whole; default 1 h.
    pub patience: Duration,
    /// `timeout:` of one call of reprepro or apt-get; default 10 min.
    pub timeout: Duration,
    /// `splay:` from an event to the `apt-get update`, at most; default 5 s.
    pub splay: Duration,
    /// `interest:` what an `apt-update` waits for.
    pub interest: Vec<Interest>,
}

/// One of `packages: interest:`.
#[derive(Debug, Clone)]
pub struct Interest {
    /// `name:` pattern of packages.
    pub name: Glob,
    /// `distribution:`; `None`: any.
    pub distribution: Option<Distribution>,
    /// `list:` the one sources list to update, absolute; `None`: all.
    pub list: Option<PathBuf>,
}
